"""Results to read: tables with a mean over seeds and its interval in each cell, and the same in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from helpers.evidence.intervals import formatted, interval
from helpers.names import caption, display

# The dimension that the names of several measures make up.
MEASURE = "measure"


def table(
    values: xr.DataArray | xr.Dataset | Mapping[str, Any],
    *,
    rows: str | Sequence[str],
    columns: str | Sequence[str] = (),
    digits: int | str | Mapping[str, int | str] = 2,
    scale: float | Mapping[str, float] = 1.0,
    words: Mapping[Any, str] | None = None,
) -> pd.DataFrame:
    """Return labelled values as a table of text.

    Values with a dimension ``seed`` become ``mean [low, high]``, as `interval` makes them: the exact interval where
    they are yes and no. Seeds at which a measure was never taken don't count; a cell with fewer seeds than its measure
    says how many. Values without seeds, e.g. the numbers that a study reports, stand as they are.

    Args:
        values: one measure, or several by name: a Dataset, or a mapping to arrays and numbers. They may lack some of
            the dimensions below.
        rows: the dimension, or dimensions, that go down the table, in this order; ``measure`` stands for the names of
            several measures.
        columns: those that go across. Several measures whose names go nowhere else come first here.
        digits: after the point, or a format like ``.1e``; or either by the name of the measure. Whole numbers without
            seeds have none.
        scale: what to multiply by, e.g. 100 for percent; or that by the name of the measure.
        words: what is shown for a measure, a label or a dimension, if not its display name.

    Returns:
        The table, without rows and columns in which there is no value; a cell without one holds a dash.

    Raises:
        ValueError: ``rows`` and ``columns`` don't name the dimensions of the values, each of them once.
    """
    several = not isinstance(values, xr.DataArray)
    named = {"": values} if isinstance(values, xr.DataArray) else values
    measures = {str(name): xr.DataArray(array) for name, array in named.items()}
    down, across = ((axis,) if isinstance(axis, str) else tuple(axis) for axis in (rows, columns))
    if several and MEASURE not in (*down, *across):
        across = (MEASURE, *across)
    labels = _labels(measures) | ({MEASURE: list(measures)} if several else {})
    if sorted((*down, *across)) != sorted(labels):
        raise ValueError(f"rows and columns must name each of {', '.join(labels)} once, got {down} and {across}.")
    cells: dict[tuple[Any, ...], dict[tuple[Any, ...], str]] = {}
    for name, array in measures.items():
        decimals = digits.get(name, 2) if isinstance(digits, Mapping) else digits
        factor = scale.get(name, 1.0) if isinstance(scale, Mapping) else scale
        for place, text in _cells(array, _spec(decimals), factor):
            where = {MEASURE: name, **place}
            cells.setdefault(tuple(map(where.get, down)), {})[tuple(map(where.get, across))] = text
    index = _in_order(cells, down, labels)
    heads = _in_order({head for row in cells.values() for head in row}, across, labels)
    usual = "mean [95 % interval]" if any("seed" in array.dims for array in measures.values()) else "value"
    return pd.DataFrame(
        [[cells[row].get(head, "–") for head in heads] for row in index],
        index=_shown(index, down, words or {}),
        columns=_shown(heads, across, words or {}) if across else [usual],
    )


def quoted(values: xr.DataArray, digits: int | str = 2, *, scale: float = 1.0, **where: Any) -> str:
    """Return a mean over seeds with its interval as text, ``mean [low, high]``, to stand in a sentence.

    Of several labels, ``activation=["relu", "tanh"]``, the intervals are listed by their names: ``ReLU 4.2 [3.9, 4.5]
    and tanh 2.1 [2.0, 2.2]``.

    Args:
        values: one measure.
        digits: after the point, or a format like ``.0%``.
        scale: what to multiply by, e.g. 100 for percent.
        **where: the label of each of its dimensions but the seed, or several labels of one of them.

    Raises:
        ValueError: a dimension is left over, or as `interval`.
        KeyError: there is no such label.
    """
    several = [dim for dim, labels in where.items() if isinstance(labels, list | tuple)]
    if several:
        dim, rest = several[0], {name: label for name, label in where.items() if name != several[0]}
        *texts, last = (
            f"{caption(dim, label)} {quoted(values, digits, scale=scale, **{dim: label}, **rest)}"
            for label in where[dim]
        )
        return f"{', '.join(texts)} and {last}" if texts else last
    return f"{interval(values.sel(where)).scaled(scale):{_spec(digits)}}"


def _spec(digits: int | str) -> str:
    return f".{digits}f" if isinstance(digits, int) else digits


def _labels(measures: Mapping[str, xr.DataArray]) -> dict[str, list[Any]]:
    """The labels of every dimension but the seed, in the order in which the measures have them."""
    labels: dict[str, dict[Any, None]] = {}
    for array in measures.values():
        for dim in array.dims:
            if dim != "seed":
                labels.setdefault(str(dim), {}).update(dict.fromkeys(array.get_index(dim).tolist()))
    return {dim: list(in_order) for dim, in_order in labels.items()}


def _cells(values: xr.DataArray, spec: str, scale: float) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a measure has values, and what is to be read there."""
    if "seed" in values.dims:
        values = values.dropna("seed", how="all")
    dims = [str(dim) for dim in values.dims if dim != "seed"]
    for numbers in np.ndindex(*(values.sizes[dim] for dim in dims)):
        cell = values.isel(dict(zip(dims, numbers, strict=True)))
        place = {dim: values.get_index(dim).tolist()[k] for dim, k in zip(dims, numbers, strict=True)}
        if bool(cell.isnull().all()):
            continue
        if "seed" in values.dims:
            mean = interval(cell).scaled(scale)
            yield place, f"{mean:{spec}}" + (f" (n = {mean.n})" if mean.n < values.sizes["seed"] else "")
        elif cell.dtype.kind in "iuf":
            whole = cell.dtype.kind in "iu" and scale == 1
            yield place, formatted(scale * cell.item(), ".0f" if whole else spec)
        else:
            yield place, display(cell.item())


def _in_order(
    keys: Iterable[tuple[Any, ...]], dims: Sequence[str], labels: Mapping[str, list[Any]]
) -> list[tuple[Any, ...]]:
    """Rows or columns in the order of the labels; what lacks a dimension comes first."""

    def number(key: tuple[Any, ...]) -> list[int]:
        return [-1 if label is None else labels[dim].index(label) for dim, label in zip(dims, key, strict=True)]

    return sorted(keys, key=number)


def _shown(keys: Sequence[tuple[Any, ...]], dims: Sequence[str], words: Mapping[Any, str]) -> pd.Index:
    """The labels as a reader sees them."""

    def text(label: Any, dim: str) -> str:
        if label is None:
            return ""
        # Beside the name of its dimension, at the head of the table, a number stands alone.
        alone = isinstance(label, int | float) and dim != "layer"
        return words.get(label) or (f"{label:g}" if alone else caption(dim, label))

    names = [words.get(dim) or ("" if dim == MEASURE else display(dim)) for dim in dims]
    shown = [tuple(text(label, dim) for label, dim in zip(key, dims, strict=True)) for key in keys]
    if len(dims) > 1:
        return pd.MultiIndex.from_tuples(shown, names=names)
    return pd.Index([label for (label,) in shown], name=names[0])
