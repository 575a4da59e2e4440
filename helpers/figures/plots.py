"""The two plots of labelled results: lines over one dimension, and dots with intervals in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from helpers.evidence.intervals import Interval, interval, interval_over
from helpers.figures.panels import (
    SCALE_NAME,
    STUDY,
    Reported,
    Scale,
    as_array,
    between,
    chosen,
    complete,
    draw_legend,
    draw_marks,
    listed,
    name_axes,
    new_panels,
    sentence,
    set_scale,
)
from helpers.figures.picture import Picture
from helpers.figures.styles import style, styles
from helpers.names import caption, display

# With no more seeds than these each is drawn: an interval of so few says little.
FEW_SEEDS = 5


def plot_lines(
    values: xr.DataArray,
    over: str,
    *,
    lines: str | None = None,
    panels: str | None = None,
    label: str,
    axis: str | None = None,
    at: xr.DataArray | None = None,
    scale: Scale = "linear",
    span: tuple[float, float] | None = None,
    percent: bool = False,
    reported: Reported | None = None,
    marks: Mapping[str, float] | None = None,
    tell: Sequence[float] | None = None,
) -> Picture:
    """Plot means over seeds along one dimension: of few seeds with each of them, of more with 95 % intervals as bands.

    Each name has its colour, marker and line in every figure (`styles.style`); numbers, such as layers and
    entanglements, go from dark to light. Entries without any value are left out.

    Args:
        values: dimensions ``over``, ``lines``, ``panels`` and seed; the last three where there are such.
        over: dimension of the horizontal axis, whose entries are numbers.
        lines: dimension that gets a line for each entry.
        panels: dimension that gets a panel for each entry.
        label: name of the vertical axis.
        axis: name of the horizontal axis, if not that of the dimension.
        at: places on the horizontal axis where they are not the entries of ``over``, of the same dimensions as the
            values; means over seeds are taken of both.
        scale: of the horizontal axis; ``"symlog"`` is logarithmic from 1 on.
        span: ends of the horizontal axis, if not those of the places.
        percent: show values, reported numbers and marks times 100, and say so in the label.
        reported: a study's numbers to draw beside them, by panel, line and place.
        marks: heights of lines to draw across, by name.
        tell: places whose means the description gives; by default the first and the last.

    Returns:
        The figure; its description gives means of every line.

    Raises:
        ValueError: the dimensions are others, ``over`` is not of numbers, or there is no such scale.
    """
    SCALE_NAME("scale", scale)
    dims, factor = [dim for dim in (panels, lines, over) if dim], 100 if percent else 1
    label, axis = f"{label}, %" if percent else label, axis or display(over)
    values = factor * complete(values, dims).sortby(over)
    if values[over].dtype.kind not in "iuf":
        raise ValueError(
            f"over must be a dimension of numbers, got {over} of {', '.join(map(str, values[over].values))}."
        )
    theirs = None if reported is None else factor * as_array(reported, dims)
    places = (values[over] if at is None else complete(at, dims).mean("seed").sortby(over)).astype(float)
    n_seeds, shown = values.sizes["seed"], list(values[panels].values) if panels else [None]
    means = interval_over(values) if n_seeds > 1 else xr.Dataset({"mean": values.isel(seed=0)})
    entries = list(values[lines].values) if lines else []
    looks = dict(zip(entries, styles(entries), strict=True))
    told = [float(places.min()), float(places.max())] if tell is None else tell
    words = [f"{label} over {axis} at {listed(told)}, " + ("means over seeds." if n_seeds > 1 else "one seed.")]
    beside = bool(lines or marks or theirs is not None)
    figure, axes = new_panels(shown, panels, height=3.2 if len(shown) < 5 else 2.4, legend=beside)
    others: dict[str, Line2D] = {}
    for panel, ax in axes.items():
        parts = []
        others |= draw_marks(ax.axhline, marks, factor)
        # A line that later ones cover stays visible as their rim.
        for entry, weight in zip(entries or [None], np.linspace(1.4, 1, max(len(entries), 1)), strict=True):
            where, look = {panels: panel, lines: entry}, looks.get(entry) or style(panel)
            x, line = chosen(places, where), chosen(means, where)
            every = -(-len(x) // 12)
            start = entries.index(entry) % every if entries else 0
            options = look.options() | {"linewidth": 1.6 * weight, "markersize": 4.5 * weight}
            (ours,) = ax.plot(x, line["mean"], markevery=(start, every), zorder=2.5, **options)
            if n_seeds > FEW_SEEDS:
                ax.fill_between(x, line["low"], line["high"], color=look.colour, alpha=0.15, linewidth=0)
            elif n_seeds > 1:
                each = chosen(values, where).transpose(over, "seed")
                ax.plot(x, each, color=look.colour, linestyle=look.line, linewidth=0.6, alpha=0.5)
            part = [caption(lines, entry)] if lines else []
            part.append(listed(between(told, x, line["mean"])))
            if theirs is not None and len(numbers := chosen(theirs, where).dropna(over)):
                (others["study"],) = ax.plot(numbers[over], numbers, **STUDY.options() | {"color": look.colour})
                part.append(f"(study {listed(between(told, numbers[over], numbers))})")
                others = others if lines else {"ours": ours} | others
            parts.append(" ".join(part))
        words.append(sentence(panels, panel, parts))
    first = axes[shown[0]]
    set_scale(first, scale, np.unique(places) if at is None else None)
    if span is not None:
        first.set_xlim(span)
    name_axes(axes.values(), axis, label)
    draw_legend(figure, lines, {entry: Line2D([], [], **look.options()) for entry, look in looks.items()}, others)
    figure.description = " ".join(words)
    return figure


def plot_dots(
    values: xr.DataArray | Mapping[str, Interval],
    rows: str = "row",
    *,
    dots: str | None = None,
    panels: str | None = None,
    label: str,
    percent: bool = False,
    reported: Reported | None = None,
    marks: Mapping[str, float] | None = None,
) -> Picture:
    """Plot means over seeds as dots with their intervals, a row for each entry; of few seeds each of them as well.

    Intervals are those of the tables and verdicts (`evidence.interval`), exact where the values are yes and no. Styles
    are those of `plot_lines`: of the dots where a row has several, else of the rows. Entries without any value are left
    out.

    Args:
        values: dimensions ``rows``, ``dots``, ``panels`` and seed, of which ``dots`` and ``panels`` may be missing; or
            intervals by the names of the rows.
        rows: dimension that gets a row for each entry, the first on top.
        dots: dimension that gets a dot in each row for each entry.
        panels: dimension that gets a panel for each entry.
        label: name of the horizontal axis.
        percent: show values, reported numbers and marks times 100, and say so in the label.
        reported: a study's numbers to draw beside them, by panel and row.
        marks: places of lines to draw across, by name.

    Returns:
        The figure; its description gives every interval.

    Raises:
        ValueError: the dimensions are others.
    """
    factor, label = (100, f"{label}, %") if percent else (1, label)
    cells = _cells(values, (panels, rows, dots))
    entries, names, of_row = (list(dict.fromkeys(key[k] for key in cells)) for k in range(3))
    looks = dict(zip(of_row, styles(of_row), strict=True)) if dots else {}
    theirs = None if reported is None else factor * as_array(reported, [dim for dim in (panels, rows) if dim])
    height = 0.8 + len(names) * max(0.28, 0.15 * len(of_row))
    figure, axes = new_panels(entries, panels, height=height, legend=bool(dots or marks or reported is not None))
    told: dict[Any, dict[Any, list[str]]] = {panel: {name: [] for name in names} for panel in entries}
    for (panel, name, entry), (cell, each) in cells.items():
        ax, look, cell = axes[panel], looks.get(entry) or style(name), cell.scaled(factor)
        y = names.index(name) + 0.8 * ((of_row.index(entry) + 0.5) / len(of_row) - 0.5)
        options = look.options() | {"linestyle": "", "markersize": 5, "capsize": 2}
        ax.errorbar(cell.mean, y, xerr=[[cell.mean - cell.low], [cell.high - cell.mean]], **options)
        if 1 < len(each) <= FEW_SEEDS:
            ax.plot(factor * each, [y] * len(each), ".", color=look.colour, alpha=0.5, markersize=4)
        told[panel][name].append(f"{caption(dots, entry)} {cell:.3g}" if dots else f"{cell:.3g}")
    others: dict[str, Line2D] = {}
    description = [f"{label}, means with 95 % intervals."]
    for panel, ax in axes.items():
        others |= draw_marks(ax.axvline, marks, factor)
        for row, name in enumerate(names):
            if dots and row % 2:
                ax.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
            if theirs is not None and (number := float(chosen(theirs, {panels: panel, rows: name}))) == number:
                ax.plot([number, number], [row - 0.4, row + 0.4], color="black", linewidth=2)
                others["study"] = Line2D([], [], color="black", marker="|", markersize=14, linestyle="")
                told[panel][name].append(f"study {listed([number])}")
        parts = [f"{caption(rows, name)} {', '.join(words)}" for name, words in told[panel].items()]
        description.append(sentence(panels, panel, parts, mark=";"))
    first = axes[entries[0]]
    first.set_yticks(range(len(names)), [caption(rows, name) for name in names])
    first.set_ylim(len(names) - 0.5, -0.5)
    name_axes(axes.values(), label, "")
    handles = {entry: Line2D([], [], **look.options() | {"linestyle": ""}) for entry, look in looks.items()}
    draw_legend(figure, dots, handles, others)
    figure.description = " ".join(description)
    return figure


def _cells(
    values: xr.DataArray | Mapping[str, Interval], dims: Sequence[str | None]
) -> dict[tuple[Any, ...], tuple[Interval, NDArray[Any]]]:
    """The interval and the values of all seeds by panel, row and dot, where there are values."""
    if isinstance(values, Mapping):
        return {(None, name, None): (cell, np.empty(0)) for name, cell in values.items()}
    values = complete(values, [dim for dim in dims if dim])
    cells = {}
    for key in product(*(list(values[dim].values) if dim else [None] for dim in dims)):
        each = chosen(values, dict(zip(dims, key, strict=True))).dropna("seed").values
        if len(each):
            cells[key] = (interval(each) if len(each) > 1 else Interval(each[0], each[0], each[0], 1), each)
    return cells
