"""A data set whose every row obeys one rule: y is the mean of a hidden function of each column.

Five steps make it: a domain for each column, a function of each column, a shuffle of each column on its own, the
mean of each row as y, and the functions hidden. As many rows as wanted follow the same rule exactly, so whatever a
network does not learn is the network's doing, or the functions'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from helpers.checks import Choice, Integer, Real
from helpers.datasets.dataset import Dataset
from helpers.seeding import numpy_stream

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Family:
    """Functions that differ in their coefficients.

    Attributes:
        terms: what each coefficient is multiplied by, in words.
        basis: the same as functions.
        periodic: whether they repeat themselves, here hundreds of times over the domain.
    """

    terms: tuple[str, ...]
    basis: tuple[Function, ...]
    periodic: bool = False


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "sine": Family(("sin x",), (np.sin,), periodic=True),
        "cosine": Family(("cos x",), (np.cos,), periodic=True),
        "linear": Family(("x", ""), (lambda x: x, np.ones_like)),
        "quadratic": Family(("x²", "x", ""), (np.square, lambda x: x, np.ones_like)),
        "cubic": Family(("x³", "x²", "x", ""), (lambda x: x**3, np.square, lambda x: x, np.ones_like)),
    }
)


@dataclass(frozen=True)
class ColumnFunction:
    """A member of a family: x ↦ Σ coefficient · term.

    Attributes:
        family: a name of `FAMILIES`.
        coefficients: one for each of the family's terms.

    Raises:
        ValueError: there is no such family, or it has another number of terms.
    """

    family: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        Choice(tuple(FAMILIES))("family", self.family)
        n_terms = len(FAMILIES[self.family].terms)
        if len(self.coefficients) != n_terms:
            raise ValueError(f"coefficients must be {n_terms} numbers for {self.family}, got {len(self.coefficients)}.")

    def __call__(self, x: Array) -> Array:
        """Return the function's values, elementwise."""
        basis = FAMILIES[self.family].basis
        return np.asarray(sum(c * term(x) for c, term in zip(self.coefficients, basis, strict=True)))

    def __str__(self) -> str:
        terms = zip(self.coefficients, FAMILIES[self.family].terms, strict=True)
        return " + ".join(f"{c:.2f} {term}".strip() for c, term in terms).replace("+ -", "− ").replace("-", "−")


@dataclass(frozen=True)
class Construction:
    """The five steps, each as it stands after it was taken.

    Attributes:
        domain: step 1, the values of each column in order, ``[n_rows, n_columns]``.
        values: step 2, the column's function of them, standardised where asked.
        shuffled: step 3, each column of ``values`` in an order of its own.
        y: step 4, the mean of each row of ``shuffled``, ``[n_rows]``.
        x: step 5, what is left when the functions are hidden: the domain in the orders of step 3, standardised
            where asked.
        functions: what step 5 hides, one for each column, of the domain's own units.
    """

    domain: Array
    values: Array
    shuffled: Array
    y: Array
    x: Array
    functions: tuple[Function, ...]

    @property
    def data(self) -> Dataset:
        """What a network gets to see: x ``[n_rows, n_columns]`` and y ``[n_rows, 1]``."""
        return Dataset(torch.from_numpy(self.x).float(), torch.from_numpy(self.y).float()[:, None])

    @property
    def variances(self) -> Array:
        """Variance that each column brings to y, ``[n_columns]``.

        The columns are shuffled apart and so (but for chance) uncorrelated: the entries add up to the variance of y,
        and a network blind to some columns can at best reach a mean squared error of the sum of theirs.
        """
        return np.asarray((self.shuffled / self.shuffled.shape[1]).var(axis=0))

    @property
    def floor(self) -> float:
        """Variance of the columns whose functions are periodic: the error that is left without them."""
        return float(self.variances[[is_periodic(function) for function in self.functions]].sum())


def is_periodic(function: Function) -> bool:
    """Whether this is a function of a periodic family; of others nothing is known."""
    return isinstance(function, ColumnFunction) and FAMILIES[function.family].periodic


def draw_functions(n_columns: int, *, seed: int = 0) -> tuple[ColumnFunction, ...]:
    """Draw a function for each column: the families in turn once each, then at random; coefficients from U(−1, 1).

    Args:
        n_columns: how many, at least 1.
        seed: seed of the draws.
    """
    stream = numpy_stream(seed, "column functions")
    names = list(FAMILIES)
    n_columns = Integer(at_least=1)("n_columns", n_columns)
    drawn = [*names, *stream.choice(names, max(0, n_columns - len(names)))][:n_columns]
    return tuple(
        ColumnFunction(str(name), tuple(stream.uniform(-1, 1, len(FAMILIES[name].terms)).tolist())) for name in drawn
    )


def construct(
    domain: ArrayLike, functions: Sequence[Function], *, standardise: bool = True, seed: int = 0
) -> Construction:
    """Take the five steps.

    Args:
        domain: values of every column, ``[n_rows]``, or of each, ``[n_rows, n_columns]``; at least 2 rows.
        functions: one for each column, any function of an array that returns one of the same shape.
        standardise: whether every column of x and of f(x) gets mean 0 and variance 1; y is the mean of the latter.
        seed: seed of the shuffles.

    Raises:
        ValueError: the shapes do not fit, a function returns something else than a finite number for each value, or
            a column that is to be standardised is constant.

    References:
        Harrison (2023), slides "Creating the infinite multivariate dataset".
    """
    start = np.asarray(domain, dtype=float)
    if not functions:
        raise ValueError("functions must have at least one entry, got none.")
    if start.ndim == 1:
        start = np.repeat(start[:, None], len(functions), axis=1)
    if start.ndim != 2 or len(start) < 2 or start.shape[1] != len(functions) or not np.isfinite(start).all():
        raise ValueError(
            f"domain must hold at least 2 finite numbers, or as many for each of {len(functions)} columns, "
            f"got shape {list(np.shape(domain))}."
        )
    columns = []
    for j, function in enumerate(functions):
        column = np.asarray(function(start[:, j].copy()), dtype=float)
        if column.shape != (len(start),) or not np.isfinite(column).all():
            raise ValueError(f"functions[{j}] must return a finite number for each of {len(start)} values.")
        columns.append(column)
    values, x = np.stack(columns, axis=1), start
    if standardise:
        values, x = _standardised(values, "functions"), _standardised(start, "domain")
    stream = numpy_stream(seed, "column shuffles")
    order = np.stack([stream.permutation(len(start)) for _ in functions], axis=1)
    shuffled = np.take_along_axis(values, order, axis=0)
    return Construction(
        start, values, shuffled, shuffled.mean(axis=1), np.take_along_axis(x, order, axis=0), tuple(functions)
    )


def _standardised(columns: Array, name: str) -> Array:
    spread = columns.std(axis=0)
    if not (spread > 1e-12 * np.abs(columns).max(axis=0)).all():
        raise ValueError(f"{name} must give columns that are not constant to be standardised.")
    return np.asarray((columns - columns.mean(axis=0)) / spread)


def multivariate(
    n_rows: int = 7000,
    n_columns: int = 10,
    *,
    step: float = 0.25,
    functions: Sequence[Function] | None = None,
    seed: int = 0,
) -> Construction:
    """The study's data set, or one of other sizes and functions: n_rows values a column, evenly spaced about 0.

    Args:
        n_rows: how many, at least 2; 7000 are −875, −874.75, … 874.75.
        n_columns: how many, at least 1; ignored where functions are given.
        step: distance of neighbouring values, above 0.
        functions: of the columns; by default drawn (`draw_functions`).
        seed: seed of the draws and shuffles.

    Returns:
        All five steps; `Construction.data` is what a network may see.

    References:
        Harrison (2023).
    """
    n_rows = Integer(at_least=2)("n_rows", n_rows)
    domain = Real(above=0)("step", step) * (np.arange(n_rows) - n_rows // 2)
    return construct(domain, draw_functions(n_columns, seed=seed) if functions is None else functions, seed=seed)


TOY_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "x + 1": lambda x: x + 1,
        "x − 1": lambda x: x - 1,
        "x²": np.square,
        "2x": lambda x: 2 * x,
        "10 − x": lambda x: 10 - x,
    }
)


def toy_table(*, seed: int = 0) -> Construction:
    """The study's example of five rows and columns: the integers 1 to 5, nothing standardised."""
    return construct(np.arange(1, 6), list(TOY_FUNCTIONS.values()), standardise=False, seed=seed)
