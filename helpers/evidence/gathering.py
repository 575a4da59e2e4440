"""Many results of one notebook as one labelled data set: the parameters that were varied become dimensions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from helpers.evidence.results import made_by

COMBINATION = "combination"
"""The dimension along which listed combinations of parameters follow each other."""


@dataclass(frozen=True)
class Execution:
    """The results of one execution of a notebook.

    Attributes:
        chosen: the parameters that were varied, with its values.
        data: its results, from `results.load`.
        facts: what else is known of it, plain data for the provenance.
    """

    chosen: Mapping[str, Any]
    data: xr.Dataset
    facts: Mapping[str, Any] = field(default_factory=dict)


def gather(parts: Sequence[Execution], *, join: Mapping[str, str] | None = None, listed: bool = False) -> xr.Dataset:
    """Gather results into one data set.

    Each parameter becomes a dimension with its values, lists as JSON text. Where the parts have different values on a
    dimension of their own, the whole has all of them, and what a part lacks is missing (NaN, or an empty text). A
    parameter that shares its name with a variable or a dimension of the parts is called ``parameter_NAME``.

    Args:
        parts: all with the same parameters.
        join: parameters, e.g. ``first_seed``, that are no dimensions of their own, with the dimension along which their
            parts follow each other, e.g. ``seed``.
        listed: the parts are no complete grid; they follow each other along the dimension ``combination``.

    Returns:
        The data set, without attributes; `grid_provenance` says what made it.

    Raises:
        ValueError: the parts do not fit each other; the text names what does not.
    """
    join = dict(join or {})
    if not parts:
        raise ValueError("parts must be at least one result, got none.")
    names = list(parts[0].chosen)
    for part in parts:
        if list(part.chosen) != names:
            raise ValueError(f"parts must all have the parameters {names}, got {list(part.chosen)}.")
    _check_sizes(parts)
    pairs = [(dict(part.chosen), _fillable(part, parts)) for part in parts]
    if listed:
        whole = _concat([data for _, data in pairs], COMBINATION)
        columns = {_free(name, parts): (COMBINATION, [_label(chosen[name]) for chosen, _ in pairs]) for name in names}
        return whole.assign_coords({COMBINATION: range(len(parts)), **columns}).drop_attrs(deep=False)
    # The innermost first; what continues a dimension of the parts has to be put together before all others.
    for name in [*join, *(n for n in reversed(names) if n not in join)]:
        groups: dict[str, tuple[dict[str, Any], list[Any], list[xr.Dataset]]] = {}
        for chosen, data in pairs:
            rest = {other: value for other, value in chosen.items() if other != name}
            group = groups.setdefault(json.dumps(rest), (rest, [], []))
            group[1].append(_label(chosen[name]))
            group[2].append(data)
        if name in join:
            pairs = [(rest, _continued(datas, name, join[name])) for rest, _, datas in groups.values()]
        else:
            free = _free(name, parts)
            pairs = [
                (rest, _concat(datas, free).assign_coords({free: values})) for rest, values, datas in groups.values()
            ]
    ((_, whole),) = pairs
    return whole.drop_attrs(deep=False)


def grid_provenance(described: Mapping[str, Any], parts: Sequence[Execution]) -> dict[str, Any]:
    """Return what made a gathered data set, as plain data.

    Args:
        described: what was asked for.
        parts: what it was gathered from.

    Returns:
        ``grid``, what was asked for, and ``jobs``: for each part its values of the varied parameters, all that its own
        provenance says (parameters, seeds, versions, commit, machine, wall time, ...), and its facts.
    """
    jobs = [{"chosen": dict(part.chosen), **made_by(part.data), **part.facts} for part in parts]
    return {"grid": dict(described), "jobs": jobs}


def _label(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _free(name: str, parts: Sequence[Execution]) -> str:
    taken = {other for part in parts for other in [*part.data.variables, *part.data.dims]} | {COMBINATION}
    return f"parameter_{name}" if name in taken else name


def _check_sizes(parts: Sequence[Execution]) -> None:
    """Refuse dimensions without labels that differ in size: nothing says which entries belong together."""
    first: dict[str, tuple[int, Execution]] = {}
    for part in parts:
        for name, size in part.data.sizes.items():
            if name in part.data.indexes:
                continue
            known, other = first.setdefault(str(name), (size, part))
            if known != size:
                raise ValueError(
                    f"the dimension {name} has no labels, so it must have the same size in all parts, "
                    f"got {known} for {dict(other.chosen)} and {size} for {dict(part.chosen)}."
                )


def _fillable(part: Execution, parts: Sequence[Execution]) -> xr.Dataset:
    """The data of a part, true and false as 1 and 0 wherever an entry may turn out to be missing."""
    alike = all(
        set(other.data.variables) == set(part.data.variables)
        and all(index.equals(other.data.indexes.get(name)) for name, index in part.data.indexes.items())
        for other in parts
    )
    flags = [] if alike else [name for name, v in part.data.data_vars.items() if v.dtype == np.bool_]
    return part.data.assign({name: part.data[name].astype(float) for name in flags})


def _missing(datas: Sequence[xr.Dataset]) -> dict[Any, Any]:
    """What stands for a missing entry: an empty text among texts, NaN among numbers."""
    variables = {name: v for data in datas for name, v in data.variables.items()}
    return {name: "" if v.dtype.kind in "OUST" else np.nan for name, v in variables.items()}


def _concat(datas: Sequence[xr.Dataset], dimension: str) -> xr.Dataset:
    return xr.concat(
        datas,
        pd.RangeIndex(len(datas), name=dimension),
        data_vars="all",
        coords="different",
        compat="equals",
        join="outer",
        fill_value=_missing(datas),
    )


def _continued(datas: Sequence[xr.Dataset], name: str, dimension: str) -> xr.Dataset:
    """Data sets one after the other along a dimension that they have."""
    labels: list[Any] = []
    for data in datas:
        if dimension not in data.indexes:
            raise ValueError(f"{name} is to go on along {dimension}, which is no labelled dimension of the results.")
        labels += data.indexes[dimension].tolist()
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"{name} is to go on along {dimension}, but {dimension} {twice} occurs more than once.")
    try:
        return xr.concat(
            datas,
            dimension,
            data_vars="minimal",
            coords="minimal",
            compat="equals",
            join="outer",
            fill_value=_missing(datas),
        )
    except ValueError as error:
        raise ValueError(
            f"{name} is to go on along {dimension}, but what does not depend on {dimension} differs: {error}"
        ) from None
