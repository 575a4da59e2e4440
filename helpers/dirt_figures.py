"""The figures of the chapter on dirty data: steps, columns, errors with their floor, curves and suspicious digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from torch import Tensor

from helpers.corruption import Dirty
from helpers.figures import CLASS_COLOURS, Picture, new_figure
from helpers.multivariate import Construction
from helpers.statistics import interval_over

# Okabe and Ito's colours: cool for ReLU and its relatives, warm for those that saturate. Markers differ as well.
STYLES: Mapping[str, tuple[str, str]] = {
    "relu": ("#0072B2", "o"),
    "leaky_relu": ("#56B4E9", "v"),
    "prelu": ("#004466", "^"),
    "elu": ("#009E73", "D"),
    "gelu": ("#7F7F7F", "P"),
    "silu": ("#444444", "X"),
    "softsign": ("#CC79A7", "p"),
    "sigmoid": ("#D55E00", "s"),
    "tanh": ("#E69F00", "*"),
    "abs": ("#000000", "d"),
}
# The three curves of wrong labels keep their colours wherever they are drawn.
CURVE_STYLES: Mapping[str, tuple[str, str]] = {
    "validation accuracy": ("#000000", "o"),
    "right labels learned": ("#0072B2", "D"),
    "wrong labels memorised": ("#D55E00", "s"),
}
CYCLE = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "D"), ("#CC79A7", "v"), ("#E69F00", "^"), ("#56B4E9", "p")]


def _style(name: object, number: int) -> tuple[str, str]:
    return STYLES.get(str(name)) or CURVE_STYLES.get(str(name)) or CYCLE[number % len(CYCLE)]


def plot_steps(toy: Construction) -> Picture:
    """Show the five steps of a small construction as tables whose shade is the value.

    Args:
        toy: with few rows and columns.

    Returns:
        The figure; its description gives the y of every row.
    """
    figure, axes = new_figure(1, 5, width=11, height=2.9)
    tables = (toy.domain, toy.values, toy.shuffled, np.column_stack([toy.shuffled, toy.y]))
    titles = ("1: a domain", "2: functions of it", "3: columns shuffled", "4: y, the row's mean", "5: functions hidden")
    for ax, table, title in zip(axes, (*tables, np.column_stack([toy.x, toy.y])), titles, strict=True):
        n_columns = toy.x.shape[1]
        # Only the columns of x are shaded; y stands beside them.
        ax.imshow(table[:, :n_columns], cmap="Blues", aspect="auto", alpha=0.55)
        for (row, column), value in np.ndenumerate(table):
            weight = "bold" if column == n_columns else "normal"
            ax.text(column, row, f"{value:.4g}", ha="center", va="center", fontsize=8, weight=weight)
        ax.set(xlim=(-0.5, table.shape[1] - 0.5), xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
    figure.description = "Five tables, one for each step. The y of the rows at the end: " + (
        ", ".join(f"{value:.4g}" for value in toy.y) + "."
    )
    return figure


def plot_columns(made: Construction, dirty: Dirty, *, column_names: Sequence[str]) -> Picture:
    """Plot what each column brings to y over what the network sees of it, clean rows and dirty ones.

    Args:
        made: the construction.
        dirty: a dirty version of ``made.data``.
        column_names: titles of the panels.
    """
    n_columns = made.x.shape[1]
    width = min(n_columns, 5)
    figure, axes = new_figure(-(-n_columns // width), width, width=2.2 * width, height=2.0 * -(-n_columns // width))
    rows = dirty.rows.numpy()
    for j, ax in enumerate(axes[:n_columns]):
        ax.scatter(made.x[:, j], made.shuffled[:, j], s=1, c=CLASS_COLOURS[0], linewidths=0, label="clean")
        moved = dirty.data.x[rows, j].numpy()
        ax.scatter(moved, made.shuffled[rows, j], s=4, c=CLASS_COLOURS[1], marker="s", linewidths=0, label="dirty")
        ax.set_title(column_names[j], fontsize=9)
    for ax in axes[n_columns:]:
        ax.remove()
    axes[0].legend(frameon=False, fontsize=7, markerscale=3)
    share = float(dirty.rows.double().mean())
    figure.description = (
        f"What each of {n_columns} columns brings to y over its standardised x, as hidden functions "
        f"{', '.join(column_names)}; {share:.0%} of the rows are moved sideways. Sines and cosines fill a band."
    )
    return figure


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


def draw_digits(axes: Sequence[Axes], dirty: Dirty, rows: Tensor) -> str:
    """Show pictures with their labels, those whose label is wrong in vermilion with the true class.

    Args:
        axes: one for each picture.
        dirty: pictures ``[n, 1, side, side]`` and labels, with the record of what was changed.
        rows: numbers of the pictures, as many as axes.

    Returns:
        What is shown, in words.
    """
    for ax, row in zip(axes, rows.tolist(), strict=True):
        ax.imshow(dirty.data.x[row, 0].numpy(), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        given, true, wrong = int(dirty.data.y[row]), int(dirty.clean.y[row]), bool(dirty.rows[row])
        ax.set_title(
            f"{given}, truly {true}" if wrong else f"{given}", fontsize=8, color="#B34700" if wrong else "black"
        )
    n_wrong = int(dirty.rows[rows].sum())
    return f"the labels of {n_wrong} of the {len(rows)} most suspicious digits are wrong"


def plot_suspects(dirty: Dirty, suspicious: Tensor, *, n: int = 20) -> Picture:
    """Show the most suspicious digits, the most suspicious first.

    Args:
        dirty: see `draw_digits`.
        suspicious: of each picture, from `label_errors.suspicion`.
        n: how many.
    """
    n_columns = 10
    figure, axes = new_figure(-(-n // n_columns), n_columns, width=10, height=1.35 * -(-n // n_columns))
    rows = suspicious.argsort(descending=True, stable=True)[:n]
    words = draw_digits(axes[:n], dirty, rows)
    for ax in axes[n:]:
        ax.remove()
    figure.description = f"Pictures with their labels: {words}."
    return figure


def _check(values: xr.DataArray, wanted: set[str]) -> None:
    if set(values.dims) != wanted:
        raise ValueError(f"values must have dimensions {', '.join(sorted(wanted))}, got {values.dims}.")


def draw_curves(ax: Axes, curves: Mapping[str, Tensor]) -> None:
    """Plot shares, 0 to 1, over epochs counted from 1.

    Args:
        ax: where to draw.
        curves: by a name of `CURVE_STYLES` a share for each epoch, ``[n_epochs]``.
    """
    for name, curve in curves.items():
        colour, marker = CURVE_STYLES[name]
        ax.plot(range(1, len(curve) + 1), curve, color=colour, marker=marker, markersize=4, label=name)
    ax.set(ylim=(-0.03, 1.03), xlabel="epoch")
    ax.legend(frameon=False, fontsize=8, loc="center right")
