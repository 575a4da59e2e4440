"""Dirt for data sets: noise, outliers and wrong labels, each with the record of the rows it changed.

A corruption is a frozen description; called with a data set and a seed it returns a dirty copy. It is handed the
training set alone, so that it cannot reach a validation set. With the same seed a larger share dirties the same rows
and more, so that a curve over the share is one of growing dirt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.checks import Choice, Real
from helpers.datasets.dataset import Dataset
from helpers.seeding import numpy_stream

SHARE = Real(at_least=0, at_most=1)
SIDES = ("x", "y", "both")
TAILS = ("gaussian", "heavy")
LABEL_NOISES = ("symmetric", "pairwise", "instance")

# Student's t with two degrees of freedom has no variance: now and then a row is moved very far.
HEAVY_DEGREES = 2
# How much likelier a label goes wrong where its point is nearer to another class.
AMBIGUITY_POWER = 10


@dataclass(frozen=True)
class Dirty:
    """A dirty copy with the record of what was changed.

    Attributes:
        data: the copy.
        clean: what it was made from.
        rows: whether each row differs from the clean one, ``[n_points]``, bool.
    """

    data: Dataset
    clean: Dataset
    rows: Tensor


class Corruption(Protocol):
    """What `Noise`, `Outliers` and `LabelNoise` have in common."""

    def __call__(self, data: Dataset, *, seed: int = 0) -> Dirty:
        """Return a dirty copy of a data set."""


@dataclass(frozen=True)
class Noise:
    """Independent noise on every number of some rows.

    Attributes:
        share: of the rows, from 0 to 1; ``round(share · n_points)`` of them are drawn.
        scale: standard deviation of the Gaussian; of the heavy tails, what a Student's t with two degrees of freedom
            is multiplied by. Data units, above 0.
        on: ``"x"``, ``"y"`` (numbers, not classes) or ``"both"``.
        tails: ``"gaussian"`` or ``"heavy"``.

    Raises:
        TypeError: an attribute has the wrong type; when called: on y, and y holds classes.
        ValueError: an attribute is outside its range.

    References:
        Harrison (2023): 10 % of the rows, N(0, 0.5²) on both.
    """

    share: float = 0.1
    scale: float = 0.5
    on: str = "both"
    tails: str = "gaussian"

    def __post_init__(self) -> None:
        SHARE("share", self.share)
        Real(above=0)("scale", self.scale)
        Choice(SIDES)("on", self.on)
        Choice(TAILS)("tails", self.tails)

    def __call__(self, data: Dataset, *, seed: int = 0) -> Dirty:
        """Return a dirty copy of a data set."""

        def moved(values: Tensor, name: str) -> Tensor:
            stream = numpy_stream(seed, f"noise on {name}")
            drawn = (
                stream.standard_normal(values.shape)
                if self.tails == "gaussian"
                else stream.standard_t(HEAVY_DEGREES, values.shape)
            )
            return values + self.scale * torch.from_numpy(drawn).to(values.dtype)

        rows = _drawn_rows(len(data), self.share, seed)
        return _replaced(data, rows, self.on, moved)


@dataclass(frozen=True)
class Outliers:
    """Outliers in the mathematical sense: every number of some rows lies far out, on a side drawn at random.

    A number becomes mean ± distance · s, with the column's mean and standard deviation s in the clean data; what the
    row said before is lost.

    Attributes:
        share: of the rows, from 0 to 1; ``round(share · n_points)`` of them are drawn.
        distance: from the column's mean in its standard deviations, above 0.
        on: ``"x"``, ``"y"`` (numbers, not classes) or ``"both"``.

    Raises:
        TypeError: an attribute has the wrong type; when called: on y, and y holds classes.
        ValueError: an attribute is outside its range.
    """

    share: float = 0.1
    distance: float = 10.0
    on: str = "both"

    def __post_init__(self) -> None:
        SHARE("share", self.share)
        Real(above=0)("distance", self.distance)
        Choice(SIDES)("on", self.on)

    def __call__(self, data: Dataset, *, seed: int = 0) -> Dirty:
        """Return a dirty copy of a data set."""

        def moved(values: Tensor, name: str) -> Tensor:
            side = numpy_stream(seed, f"side of the outliers in {name}").choice([-1.0, 1.0], values.shape)
            spread = values.std(dim=0, correction=0)
            return values.mean(dim=0) + self.distance * spread * torch.from_numpy(side).to(values.dtype)

        rows = _drawn_rows(len(data), self.share, seed)
        return _replaced(data, rows, self.on, moved)


@dataclass(frozen=True)
class LabelNoise:
    """Wrong labels: some points get the label of another class.

    Attributes:
        share: of the points, from 0 to 1; ``round(share · n_points)`` of them are drawn.
        kind: ``"symmetric"``: points are drawn at random, and each other class is equally likely;
            ``"pairwise"``: points are drawn at random, and the label becomes the next class, after the last the first;
            ``"instance"``: a point is drawn with a probability that grows with its ambiguity, (d / d')¹⁰, where d is
            its distance to the mean of its class and d' that to the nearest mean of another, which it is given to.

    Raises:
        TypeError: an attribute has the wrong type; when called: y does not hold classes.
        ValueError: an attribute is outside its range; when called: y holds fewer than two classes.

    References:
        Harrison (2023): 10 %, symmetric; Han et al. (2018) for pairwise noise; Menon et al. (2018) for noise that
        depends on the instance and grows towards the boundary of its class.
    """

    share: float = 0.1
    kind: str = "symmetric"

    def __post_init__(self) -> None:
        SHARE("share", self.share)
        Choice(LABEL_NOISES)("kind", self.kind)

    def __call__(self, data: Dataset, *, seed: int = 0) -> Dirty:
        """Return a dirty copy of a data set."""
        if data.y.is_floating_point():
            raise TypeError(f"y must hold classes, whole numbers, to be mislabelled, got {data.y.dtype}.")
        classes, index = np.unique(data.y.numpy(), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least two classes to confuse, got {classes.tolist()}.")
        rows = _drawn_rows(len(data), self.share, seed)
        if self.kind == "instance":
            own, other, nearest = _distances(data.x.flatten(1).double().numpy(), index)
            # The k largest of log-weight + Gumbel noise are k draws without replacement (Efraimidis & Spirakis 2006).
            keys = AMBIGUITY_POWER * np.log((own + 1e-12) / (other + 1e-12))
            keys += numpy_stream(seed, "mislabelled points").gumbel(size=len(index))
            rows = np.argsort(-keys)[: len(rows)]
            wrong = nearest
        elif self.kind == "pairwise":
            wrong = (index + 1) % len(classes)
        else:
            shift = numpy_stream(seed, "wrong classes").integers(1, len(classes), len(index))
            wrong = (index + shift) % len(classes)
        y = data.y.clone()
        y[rows] = torch.from_numpy(classes[wrong[rows]]).to(y.dtype)
        return Dirty(Dataset(data.x, y), data, y != data.y)  # the points, which may be many, are shared


def _drawn_rows(n_points: int, share: float, seed: int) -> NDArray[np.int64]:
    return numpy_stream(seed, "dirty rows").permutation(n_points)[: round(share * n_points)]


def _replaced(data: Dataset, rows: NDArray[np.int64], on: str, moved: Callable[[Tensor, str], Tensor]) -> Dirty:
    """Put what ``moved`` makes of x, of y or of both into these rows of a copy."""
    if on != "x" and not data.y.is_floating_point():
        raise TypeError(f"y must hold numbers to be moved, got {data.y.dtype}; use LabelNoise for classes.")
    x, y = data.x.clone(), data.y.clone()
    chosen = torch.from_numpy(rows)
    if on != "y":
        x[chosen] = moved(data.x, "x")[chosen]
    if on != "x":
        y[chosen] = moved(data.y, "y")[chosen]
    # The record is read off the result: a number that rounding left as it was has not been changed.
    changed = torch.stack([(new != old).reshape(len(data), -1).any(dim=1) for new, old in ((x, data.x), (y, data.y))])
    return Dirty(Dataset(x, y), data, changed.any(dim=0))


def _distances(
    x: NDArray[np.float64], index: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Distance of each point to its class's mean and to the nearest other one, and the number of that class."""
    means = np.stack([x[index == k].mean(axis=0) for k in range(index.max() + 1)])
    distance = np.stack([np.linalg.norm(x - mean, axis=1) for mean in means], axis=1)
    points = np.arange(len(x))
    own = distance[points, index]
    distance[points, index] = np.inf
    nearest = distance.argmin(axis=1)
    return own, distance[points, nearest], nearest
