"""Figures. They draw what they are given; none of them trains or measures a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from helpers.evidence.intervals import Interval, interval_over
from helpers.figures.picture import (
    CLASS_COLOURS,
    CURVE_STYLES,
    CYCLE,
    LINE_COLOURS,
    STYLES,
    Picture,
    layer_colours,
    new_figure,
)


def plot_over(
    values: xr.DataArray,
    along: str,
    *,
    panels: str = "activation",
    lines: str = "layer",
    label: str,
    height: float = 3.2,
) -> Picture:
    """Plot one line for each layer, mean over seeds with its 95 % interval, one panel for each activation.

    Args:
        values: dimensions ``along``, ``panels``, ``lines`` and ``seed``.
        along: dimension of the horizontal axis.
        panels: dimension that gets a panel for each entry.
        lines: dimension that gets a line for each entry.
        label: name of the vertical axis.
        height: of one row of panels, inches.

    Returns:
        The figure; its description gives each line's first and last mean.

    Raises:
        ValueError: the dimensions are others.
    """
    if set(values.dims) != {along, panels, lines, "seed"}:
        raise ValueError(f"values must have dimensions {along}, {panels}, {lines} and seed, got {values.dims}.")
    names = values[panels].values
    n_columns = min(len(names), 5)
    n_rows = -(-len(names) // n_columns)
    width = 4.0 if n_columns < 3 else 2.6
    figure, axes = new_figure(n_rows, n_columns, width=width * n_columns, height=height * n_rows)
    # A layer has a place in an order, and a colour that tells it; other lines have one of their own.
    ordered = lines == "layer"
    colours = layer_colours(values.sizes[lines]) if ordered else LINE_COLOURS
    prefix = "L" if ordered else ""
    bands = interval_over(values)
    for ax, name in zip(axes, names, strict=False):
        ax.sharey(axes[0])
        for colour, line in zip(colours, values[lines].values, strict=ordered):
            band = bands.sel({panels: name, lines: line})
            ax.plot(band[along], band["mean"], color=colour, marker="o", markersize=3, label=f"{prefix}{line}")
            ax.fill_between(band[along], band["low"], band["high"], color=colour, alpha=0.25, linewidth=0)
        ax.set_title(str(name))
        ax.set_xlabel(along)
        ax.set_xticks(values[along].values, [f"{value:g}" for value in values[along].values])
    for ax in axes[len(names) :]:
        ax.remove()
    axes[0].set_ylabel(label)
    axes[0].legend(frameon=False, fontsize=8)
    ends = values[along].values[[0, -1]]
    words = [f"{label} over {along}, means over seeds at {ends[0]} and {ends[1]}."]
    for name in names:
        first, last = (bands["mean"].sel({panels: name, along: end}) for end in ends)
        ends_of_lines = zip(values[lines].values, first.values, last.values, strict=True)
        words.append(f"{name}: " + ", ".join(f"{prefix}{k} {a:.3g} and {b:.3g}" for k, a, b in ends_of_lines) + ".")
    figure.description = " ".join(words)
    return figure


def plot_intervals(intervals: Mapping[str, Interval], *, label: str, mark: float | None = None) -> Picture:
    """Plot one mean with its interval a row.

    Args:
        intervals: by name, first row on top.
        label: name of the horizontal axis.
        mark: a value to compare with, drawn as a line.

    Returns:
        The figure; its description gives every interval.
    """
    figure, (ax,) = new_figure(1, 1, width=6.0, height=0.8 + 0.28 * len(intervals))
    rows = range(len(intervals))
    means = np.array([interval.mean for interval in intervals.values()])
    ends = np.array([[i.mean - i.low, i.high - i.mean] for i in intervals.values()]).T
    ax.errorbar(means, rows, xerr=ends, fmt="o", color=LINE_COLOURS[0], capsize=3, markersize=5)
    if mark is not None:
        ax.axvline(mark, color="0.5", linewidth=0.8, linestyle="--")
    ax.set_yticks(rows, list(intervals))
    ax.set_xlabel(label)
    ax.invert_yaxis()
    listed = "; ".join(f"{name} {interval:.2f}" for name, interval in intervals.items())
    figure.description = f"{label}, means and 95 % intervals: {listed}."
    return figure


def plot_against_reported(
    values: xr.DataArray, reported: Mapping[int, Sequence[float]], entanglements: Sequence[float], *, label: str
) -> Picture:
    """Plot ours (mean and 95 % interval over seeds) beside a study's single numbers, one panel a layer.

    Args:
        values: dimensions entanglement, layer and seed.
        reported: for each layer the study's numbers, in the order of ``entanglements``.
        entanglements: of the study's numbers.
        label: name of the vertical axis.

    Returns:
        The figure; its description gives both for each layer at the last entanglement.
    """
    figure, axes = new_figure(1, len(reported), width=2.3 * len(reported), height=3.0)
    bands, words = interval_over(values), [f"{label} at entanglement {entanglements[-1]}."]
    for ax, (layer, numbers) in zip(axes, reported.items(), strict=True):
        ax.sharey(axes[0])
        band = bands.sel(layer=layer)
        errors = [band["mean"] - band["low"], band["high"] - band["mean"]]
        ax.errorbar(
            band["entanglement"],
            band["mean"],
            errors,
            color=CLASS_COLOURS[0],
            marker="o",
            capsize=2,
            label="ours",
        )
        ax.plot(entanglements, numbers, color=CLASS_COLOURS[1], marker="s", linestyle="--", label="study")
        ax.set(title=f"L{layer}", xlabel="entanglement", xticks=entanglements)
        words.append(f"L{layer}: ours {float(band['mean'][-1]):.3g}, the study's {numbers[-1]:.3g}.")
    axes[0].set_ylabel(label)
    axes[0].legend(frameon=False, fontsize=8)
    figure.description = " ".join(words)
    return figure


def _style(name: object, number: int) -> tuple[str, str]:
    return STYLES.get(str(name)) or CURVE_STYLES.get(str(name)) or CYCLE[number % len(CYCLE)]


def plot_lines(
    values: xr.DataArray,
    along: str,
    *,
    lines: str = "activation",
    panels: str | None = None,
    label: str,
    axis: str = "",
) -> Picture:
    """Plot means over seeds with 95 % intervals as bands, one line for each entry of a dimension.

    Args:
        values: dimensions ``along``, ``lines``, ``seed`` and, if given, ``panels``.
        along: dimension of the horizontal axis.
        lines: dimension that gets a line for each entry.
        panels: dimension that gets a panel for each entry.
        label: name of the vertical axis.
        axis: name of the horizontal axis, if not that of the dimension.

    Returns:
        The figure; its description gives the last mean of every line.

    Raises:
        ValueError: the dimensions are others.
    """
    _check(values, {along, lines, "seed"} | ({panels} if panels else set()))
    names = values[panels].values if panels else [""]
    figure, axes = new_figure(1, len(names), width=max(5.2, min(3.6 * len(names), 10.5)), height=3.4)
    bands = interval_over(values)
    words = [f"{label} over {axis or along}; means over seeds at {values[along].values[-1]:.4g}."]
    for ax, panel in zip(axes, names, strict=True):
        ax.sharey(axes[0])
        chosen = bands.sel({panels: panel}) if panels else bands
        for number, name in enumerate(values[lines].values):
            band = chosen.sel({lines: name})
            colour, marker = _style(name, number)
            ax.plot(band[along], band["mean"], color=colour, marker=marker, markersize=4, label=str(name))
            ax.fill_between(band[along], band["low"], band["high"], color=colour, alpha=0.15, linewidth=0)
        ax.set(title=str(panel), xlabel=axis or along)
        ends = ", ".join(f"{name} {float(chosen['mean'].sel({lines: name})[-1]):.3g}" for name in values[lines].values)
        words.append(f"{panel}: {ends}." if panels else f"{ends}.")
    axes[0].set_ylabel(label)
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.description = " ".join(words)
    return figure


def plot_dots(
    values: xr.DataArray, *, dots: str, panels: str | None = None, label: str, lines: Mapping[str, float] | None = None
) -> Picture:
    """Plot means over seeds with 95 % intervals, activations side by side, a dot for each entry of a dimension.

    Args:
        values: dimensions activation, ``dots``, ``seed`` and, if given, ``panels``.
        dots: dimension that gets a dot for each entry.
        panels: dimension that gets a panel for each entry.
        label: name of the vertical axis.
        lines: horizontal lines to draw across, by name.

    Returns:
        The figure; its description gives the mean of every dot.

    Raises:
        ValueError: the dimensions are others.
    """
    _check(values, {"activation", dots, "seed"} | ({panels} if panels else set()))
    names = values[panels].values if panels else [""]
    figure, axes = new_figure(1, len(names), width=max(6.0, 4.6 * len(names)), height=3.6)
    bands, activations, entries = interval_over(values), values["activation"].values, values[dots].values
    words = [f"{label}, means over seeds."]
    for ax, panel in zip(axes, names, strict=True):
        ax.sharey(axes[0])
        chosen = bands.sel({panels: panel}) if panels else bands
        for number, entry in enumerate(entries):
            band = chosen.sel({dots: entry}).transpose("activation")
            place = np.arange(len(activations)) + 0.6 * ((number + 0.5) / len(entries) - 0.5)
            colour, marker = _style(entry, number)
            errors = [band["mean"] - band["low"], band["high"] - band["mean"]]
            ax.errorbar(place, band["mean"], errors, color=colour, marker=marker, linestyle="", capsize=2, label=entry)
            told = ", ".join(f"{name} {float(m):.3g}" for name, m in zip(activations, band["mean"], strict=True))
            words.append(f"{panel} {entry}: {told}.".strip())
        for name, height in (lines or {}).items():
            ax.axhline(height, color="0.4", linestyle="--", linewidth=1)
            ax.annotate(name, (0, height), xycoords=("axes fraction", "data"), fontsize=8, va="bottom", color="0.25")
            words.append(f"Across lies {name}, {height:.3g}.")
        ax.set_title(str(panel))
        ax.set_xticks(range(len(activations)), activations, rotation=30, ha="right")
    axes[0].set_ylabel(label)
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.description = " ".join(words)
    return figure


def _check(values: xr.DataArray, wanted: set[str]) -> None:
    if set(values.dims) != wanted:
        raise ValueError(f"values must have dimensions {', '.join(sorted(wanted))}, got {values.dims}.")
