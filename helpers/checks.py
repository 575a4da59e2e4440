"""Refusing nonsense early: every rule answers bad input with one sentence that says what is allowed.

The same rules guard the arguments of functions, ``Integer(at_least=1)("n_networks", n_networks)``, and the
parameters of a notebook, ``run = check_parameters(n_networks=Integer(at_least=1))``.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Rule(Protocol):
    """What a value may be, in words (``allowed``) and as a check that returns the value."""

    @property
    def allowed(self) -> str:
        """The admissible values, to complete the sentence "… must be …"."""

    def __call__(self, name: str, value: Any) -> Any:
        """Return ``value``, or raise TypeError or ValueError in one sentence that names ``name``."""


def _refusal(name: str, allowed: str, value: object) -> str:
    hint = ""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):  # YAML 1.1 reads 1e-3 as text: it wants a dot in the mantissa
            plain = str(int(number)) if number.is_integer() else repr(number)
            plain = plain if "." in plain else plain.replace("e", ".0e")
            hint = f"; it came as text: in YAML write it as a plain number, e.g. {plain}"
    return f"{name} must be {allowed}, got {value!r} ({type(value).__name__}){hint}."


def _bounds(**bounds: float | None) -> str:
    parts = [f"{word.replace('_', ' ')} {bound:.10g}" for word, bound in bounds.items() if bound is not None]
    return " " + " and ".join(parts) if parts else ""


@dataclass(frozen=True, kw_only=True)
class Real:
    """A finite real number within optional bounds."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    @property
    def allowed(self) -> str:
        return "a finite number" + _bounds(
            above=self.above, at_least=self.at_least, below=self.below, at_most=self.at_most
        )

    def __call__(self, name: str, value: Any) -> float:
        if isinstance(value, bool | np.bool_ | str) or not hasattr(value, "__float__"):
            raise TypeError(_refusal(name, self.allowed, value))
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if (
            not math.isfinite(number)
            or (self.above is not None and number <= self.above)
            or (self.at_least is not None and number < self.at_least)
            or (self.below is not None and number >= self.below)
            or (self.at_most is not None and number > self.at_most)
        ):
            raise ValueError(_refusal(name, self.allowed, value))
        return number


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number within optional bounds; 3.0 is not taken for 3."""

    at_least: int | None = None
    at_most: int | None = None

    @property
    def allowed(self) -> str:
        return "a whole number" + _bounds(at_least=self.at_least, at_most=self.at_most)

    def __call__(self, name: str, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or isinstance(value, bool):
            raise TypeError(_refusal(name, self.allowed, value))
        if (self.at_least is not None and number < self.at_least) or (
            self.at_most is not None and number > self.at_most
        ):
            raise ValueError(_refusal(name, self.allowed, value))
        return number


@dataclass(frozen=True)
class Choice:
    """One of a few names."""

    options: Collection[str]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(sorted(self.options))

    def __call__(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(_refusal(name, self.allowed, value))
        if value not in self.options:
            raise ValueError(_refusal(name, self.allowed, value))
        return value


@dataclass(frozen=True)
class Flag:
    """True or False."""

    allowed: str = "true or false"

    def __call__(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError(_refusal(name, self.allowed, value))
        return value


@dataclass(frozen=True)
class Folder:
    """The path of a folder that exists; a relative one is read from where the notebook runs."""

    allowed: str = "the path of an existing folder"

    def __call__(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(_refusal(name, self.allowed, value))
        if not Path(value).is_dir():
            raise ValueError(_refusal(name, self.allowed, value))
        return value


@dataclass(frozen=True)
class ListOf:
    """A list without repetitions whose items all obey one rule.

    Attributes:
        item: what each item may be.
        including: items that must be among them.
        without: items that must not.
        at_least: how many there must be.
    """

    item: Rule
    _: KW_ONLY
    including: Sequence[Any] = ()
    without: Sequence[Any] = ()
    at_least: int = 1

    @property
    def allowed(self) -> str:
        size = "a non-empty list" if self.at_least == 1 else f"a list of at least {self.at_least} items,"
        among = f", with {_listed(self.including)} among them" if self.including else ""
        beside = f", without {_listed(self.without)}" if self.without else ""
        return f"{size} without repetitions, each item {self.item.allowed}{among}{beside}"

    def __call__(self, name: str, value: Any) -> list[Any]:
        if isinstance(value, str) or not isinstance(value, Sequence | range):
            raise TypeError(_refusal(name, self.allowed, value))
        items = [self.item(f"{name}[{i}]", item) for i, item in enumerate(value)]
        different = set(items)
        if (
            len(different) < len(items)
            or len(items) < self.at_least
            or not different.issuperset(self.including)
            or not different.isdisjoint(self.without)
        ):
            raise ValueError(_refusal(name, self.allowed, value))
        return items


def _listed(items: Sequence[Any]) -> str:
    """Items in words, "a, b and c"."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[:-1] else words)


class Parameters(Mapping[str, Any]):
    """A notebook's parameters as their rules returned them: ``run.epochs``, or a mapping of names to values."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Keep ``values``; names of methods are refused, because ``run.items`` would not be a parameter then."""
        for name in values:
            if hasattr(Parameters, name):
                raise ValueError(f"{name} cannot be the name of a parameter; it is a method of every mapping.")
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        values: dict[str, Any] = self.__dict__.get("_values", {})  # a copy asks before it has any
        try:
            return values[name]
        except KeyError:
            raise AttributeError(f"{name} is not a parameter of this notebook; it has {', '.join(values)}.") from None

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


def check_parameters(**rules: Rule) -> Parameters:
    """Check a notebook's parameters against their rules and return them; call it in the cell right after them.

    Values are read from the running notebook. Names injected by papermill that no rule knows are refused
    too: papermill itself only logs them and carries on with the default.

    Args:
        **rules: one rule for each declared parameter.

    Raises:
        TypeError: a parameter has the wrong type (YAML reads ``1e-3`` as text).
        ValueError: a parameter is unknown, missing, or outside what its rule allows.
        RuntimeError: called outside a notebook.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise RuntimeError("check_parameters reads a running notebook's parameters; there is none here.")
    return check_namespace(shell.user_ns, shell.user_ns.get("In", []), rules)


def check_namespace(namespace: Mapping[str, Any], cells: Sequence[str], rules: Mapping[str, Rule]) -> Parameters:
    """Do the work of `check_parameters` on plain data.

    Args:
        namespace: the notebook's variables.
        cells: the sources of the cells run so far; papermill's is the first whose first line is ``# Parameters``.
        rules: one rule for each declared parameter.

    Raises:
        TypeError: a parameter has the wrong type.
        ValueError: a parameter is unknown, missing, or outside what its rule allows.
    """
    injected = next((cell for cell in cells if cell.splitlines()[:1] == ["# Parameters"]), "")
    for statement in ast.parse(injected).body:
        for target in getattr(statement, "targets", []):
            if isinstance(target, ast.Name) and target.id not in rules:
                raise ValueError(f"{target.id} is not a parameter of this notebook; it takes {', '.join(rules)}.")
    for name, rule in rules.items():
        if name not in namespace:
            raise ValueError(f"{name} is missing; it must be {rule.allowed}.")
    return Parameters({name: rule(name, namespace[name]) for name, rule in rules.items()})
