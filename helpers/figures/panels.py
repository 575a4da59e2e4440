"""What the plots of labelled results share: entries by dimension, panels side by side, ticks, marks and a legend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from helpers.checks import Choice
from helpers.evidence.intervals import formatted
from helpers.figures.picture import PAGE_WIDTH, Picture, new_figure
from helpers.figures.styles import Style
from helpers.names import caption, display

Labelled = TypeVar("Labelled", xr.DataArray, xr.Dataset)
Scale = Literal["linear", "log", "symlog"]
SCALE_NAME = Choice(("linear", "log", "symlog"))
# A study's numbers by the entries of a plot's dimensions, panels outermost: {"below": {"relu": 9, "abs": 35}}.
Reported = xr.DataArray | Mapping[Any, Any]

STUDY = Style("#000000", "s", "--", "none")
MARK_LINES = ("--", ":", "-.")

# Inches: of one panel among so many side by side, of a legend beside them, and what two ticks are apart at least.
PANEL_WIDTHS, LEGEND_WIDTH, TICK_ROOM = (5.0, 3.7, 2.5, 1.9, 1.7), 1.4, 0.3


def complete(values: xr.DataArray, dims: Collection[str]) -> xr.DataArray:
    """Return the values with a dimension seed, without entries that have no value at all.

    Raises:
        ValueError: the dimensions are others than these, with or without seed.
    """
    if set(values.dims) - {"seed"} != set(dims):
        raise ValueError(
            f"values must have dimensions {', '.join(dims)} and seed, got {', '.join(map(str, values.dims))}."
        )
    values = values if "seed" in values.dims else values.expand_dims("seed")
    for dim in values.dims:
        values = values.dropna(dim, how="all")
    return values


def as_array(numbers: Reported | float, dims: Sequence[str]) -> xr.DataArray:
    """Return numbers that are mapped to by the entries of dimensions, the outermost first, as an array."""
    if isinstance(numbers, xr.DataArray):
        return numbers
    if not isinstance(numbers, Mapping):
        return xr.DataArray(float(numbers))
    parts = [as_array(part, dims[1:]) for part in numbers.values()]
    return xr.concat(parts, xr.Variable(dims[0], list(numbers)), join="outer")


def chosen(values: Labelled, where: Mapping[str | None, Any]) -> Labelled:
    """Return the values at these entries of the dimensions that they have, not a number where an entry is missing."""
    here = {dim: [entry] for dim, entry in where.items() if dim in values.dims}
    return values.reindex(here).isel(dict.fromkeys(here, 0))


def new_panels(
    entries: Sequence[Any], dimension: str | None, *, height: float, legend: bool
) -> tuple[Picture, dict[Any, Axes]]:
    """Return a figure with a panel for each entry, at most five side by side, that share their axes.

    Args:
        entries: of the dimension.
        dimension: what the panels are titled by; without one there is one panel.
        height: of a panel, inches.
        legend: whether room is left for a legend beside them.
    """
    n = len(entries)
    n_columns = n if n < 5 else -(-n // -(-n // 5))
    n_rows = -(-n // n_columns)
    width = min(n_columns * PANEL_WIDTHS[n_columns - 1] + LEGEND_WIDTH * legend, PAGE_WIDTH)
    figure, axes = new_figure(n_rows, n_columns, width=width, height=height * n_rows)
    for ax in axes[n:]:
        ax.remove()
    for k, ax in enumerate(axes[:n]):
        ax.tick_params(labelsize=9, labelleft=k % n_columns == 0, labelbottom=k + n_columns >= n)
        if k:
            ax.sharex(axes[0])
            ax.sharey(axes[0])
        if dimension:
            ax.set_title(caption(dimension, entries[k]), fontsize=10)
    return figure, dict(zip(entries, axes, strict=False))


def name_axes(axes: Collection[Axes], horizontal: str, vertical: str) -> None:
    """Name the horizontal axis below the lowest panels and the vertical one to the left of the first."""
    for ax in axes:
        if ax.xaxis.get_tick_params()["labelbottom"]:
            ax.set_xlabel(horizontal)
        if ax.yaxis.get_tick_params()["labelleft"]:
            ax.set_ylabel(vertical)


def set_scale(ax: Axes, scale: Scale, places: NDArray[Any] | None) -> None:
    """Scale the horizontal axis; with places, at most twelve if linear, ticks stand at those that have room."""
    ax.set_xscale(scale, **({"linthresh": 1} if scale == "symlog" else {}))
    if places is None or (scale == "linear" and len(places) > 12):
        return
    turned = {"linear": places, "log": np.log(np.maximum(places, 1e-12)), "symlog": np.arcsinh(places)}[scale]
    along = (turned - turned[0]) / max(turned[-1] - turned[0], 1e-12) * ax.bbox.width / ax.figure.dpi
    kept = [0, len(places) - 1]
    for k in range(1, len(places) - 1):
        if min(abs(along[k] - along[j]) for j in kept) >= TICK_ROOM:
            kept.append(k)
    ax.set_xticks([places[k] for k in kept], [f"{places[k]:g}" for k in kept])
    ax.minorticks_off()
    if scale == "symlog":
        ax.set_xlim(left=places[0] - 0.2)


def draw_marks(line: Callable[..., Line2D], marks: Mapping[str, float] | None, factor: float) -> dict[str, Line2D]:
    """Draw lines across a panel, at places times a factor; return them by name."""
    return {
        name: line(factor * place, color="0.4", linewidth=1, linestyle=MARK_LINES[k % len(MARK_LINES)], zorder=1)
        for k, (name, place) in enumerate((marks or {}).items())
    }


def draw_legend(
    figure: Picture, dimension: str | None, handles: Mapping[Any, Line2D], others: Mapping[str, Line2D]
) -> None:
    """Draw a legend beside the panels: entries of a dimension, under its name if they are numbers, then the others."""
    numbers = bool(handles) and dimension != "layer" and not any(isinstance(entry, str) for entry in handles)
    texts = [f"{entry:g}" if numbers else caption(dimension, entry) for entry in handles] + list(others)
    if texts:
        figure.legend(
            [*handles.values(), *others.values()], texts, title=display(dimension) if numbers else None, fontsize=9,
            title_fontsize=9, loc="outside right upper", frameon=False, handlelength=2.6,
        )  # fmt: skip


def listed(numbers: Iterable[float]) -> str:
    """Return numbers in words: 1, 2.5 and 3; none for what is not a number."""
    *texts, last = (formatted(number, ".3g") if number == number else "none" for number in numbers)
    return f"{', '.join(texts)} and {last}" if texts else last


def between(places: Sequence[float], x: ArrayLike, y: ArrayLike) -> list[float]:
    """Return the heights of a line at these places, not a number where it does not reach."""
    line = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    line = line[:, np.isfinite(line).all(axis=0)]
    line = line[:, line[0].argsort(kind="stable")]
    if not line.size:
        return [np.nan] * len(places)
    return list(np.interp(places, line[0], line[1], left=np.nan, right=np.nan))


def sentence(dimension: str | None, entry: Any, parts: Sequence[str], *, mark: str = ",") -> str:
    """Return the parts of one panel as a sentence of the description."""
    return (f"{caption(dimension, entry)}: " if dimension else "") + f"{mark} ".join(parts) + "."
