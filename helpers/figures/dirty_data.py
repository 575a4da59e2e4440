"""The figures of the chapter on dirty data: steps, columns, errors with their floor, curves and suspicious digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from helpers.datasets.corruption import Dirty
from helpers.datasets.multivariate import ColumnFunction, Construction
from helpers.figures.drawings import draw_digit
from helpers.figures.picture import PAGE_WIDTH, Picture, new_figure
from helpers.figures.styles import style
from helpers.names import display


def plot_steps(toy: Construction) -> Picture:
    """Show the five steps of a small construction as tables whose shade is the value.

    Args:
        toy: with few rows and columns.

    Returns:
        The figure; its description gives the y of every row.
    """
    figure, axes = new_figure(1, 5, width=PAGE_WIDTH, height=2.6)
    tables = (toy.domain, toy.values, toy.shuffled, np.column_stack([toy.shuffled, toy.y]))
    titles = ("1: a domain", "2: functions of it", "3: columns shuffled", "4: y, the row's mean", "5: functions hidden")
    for ax, table, title in zip(axes, (*tables, np.column_stack([toy.x, toy.y])), titles, strict=True):
        n_columns = toy.x.shape[1]
        # Only the columns of x are shaded; y stands beside them.
        ax.imshow(table[:, :n_columns], cmap="Blues", aspect="auto", alpha=0.55)
        for (row, column), value in np.ndenumerate(table):
            weight = "bold" if column == n_columns else "normal"
            ax.text(column, row, f"{value:.4g}", ha="center", va="center", fontsize=9, weight=weight)
        ax.set(xlim=(-0.5, table.shape[1] - 0.5), xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
    figure.description = "Five tables, one for each step. The y of the rows at the end: " + (
        ", ".join(f"{value:.4g}" for value in toy.y) + "."
    )
    return figure


def plot_columns(construction: Construction, dirty: Dirty) -> Picture:
    """Plot what each column brings to y over what the network sees of it, clean rows and dirty ones.

    Args:
        construction: columns of numbers and what they bring to y; a panel bears the name of its function's family.
        dirty: a dirty version of its data.
    """
    names = [f.family if isinstance(f, ColumnFunction) else f"column {j}" for j, f in enumerate(construction.functions)]
    n_columns = construction.x.shape[1]
    width = min(n_columns, 5)
    figure, axes = new_figure(-(-n_columns // width), width, width=1.76 * width, height=1.8 * -(-n_columns // width))
    rows = dirty.rows.numpy()
    for j, ax in enumerate(axes[:n_columns]):
        moved, y_moved = dirty.data.x[rows, j].numpy(), construction.shuffled[rows, j]
        clean = construction.x[:, j], construction.shuffled[:, j], style("clean"), 1
        for label, (x, y, look, size) in {"clean": clean, "dirty": (moved, y_moved, style("noise"), 4)}.items():
            ax.scatter(x, y, s=size, c=look.colour, marker=look.marker, linewidths=0, label=label)
        ax.set_title(names[j], fontsize=9)
    for ax in axes[n_columns:]:
        ax.remove()
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=2, frameon=False, fontsize=9, markerscale=3)
    share = float(dirty.rows.double().mean())
    figure.description = (
        f"What each of {n_columns} columns brings to y over its standardised x, as hidden functions "
        f"{', '.join(names)}; {share:.0%} of the rows are moved sideways. Sines and cosines fill a band."
    )
    return figure


def draw_digits(axes: Sequence[Axes], dirty: Dirty, rows: Tensor) -> str:
    """Show pictures with their labels, those whose label is wrong in colour and with the true class.

    Args:
        axes: one for each picture.
        dirty: pictures ``[n, 1, side, side]`` and labels, with the record of what was changed.
        rows: numbers of the pictures, as many as axes.

    Returns:
        What is shown, in words.
    """
    for ax, row in zip(axes, rows.tolist(), strict=True):
        given, true, wrong = int(dirty.data.y[row]), int(dirty.clean.y[row]), bool(dirty.rows[row])
        title = f"{given}, truly {true}" if wrong else f"{given}"
        draw_digit(ax, dirty.data.x[row], title, colour=style("memorised").colour if wrong else "black")
    n_wrong = int(dirty.rows[rows].sum())
    return f"the labels of {n_wrong} of {len(rows)} digits are wrong"


def plot_labels(dirty: Dirty, rows: Tensor) -> Picture:
    """Show digits with their labels, those whose label is wrong in colour and with the true class.

    Args:
        dirty: pictures and labels, with the record of what was changed.
        rows: numbers of the pictures, in the order to show them in.
    """
    n, n_columns = len(rows), 10
    figure, axes = new_figure(-(-n // n_columns), n_columns, width=PAGE_WIDTH, height=1.25 * -(-n // n_columns))
    words = draw_digits(axes[:n], dirty, rows)
    for ax in axes[n:]:
        ax.remove()
    figure.description = f"Pictures with their labels: {words}."
    return figure


def plot_suspects(dirty: Dirty, suspicious: Tensor, *, n: int = 20) -> Picture:
    """Show the most suspicious digits, the most suspicious first, as `plot_labels` does.

    Args:
        dirty: pictures and labels, with the record of what was changed.
        suspicious: of each picture, from `label_errors.suspicion`.
        n: how many.
    """
    figure = plot_labels(dirty, suspicious.argsort(descending=True, stable=True)[:n])
    figure.description = f"The most suspicious first. {figure.description}"
    return figure


def draw_curves(ax: Axes, curves: Mapping[str, Tensor]) -> None:
    """Plot shares, 0 to 1, over epochs counted from 1.

    Args:
        ax: where to draw.
        curves: by name a share for each epoch, ``[n_epochs]``.
    """
    for name, curve in curves.items():
        ax.plot(range(1, len(curve) + 1), curve, **style(name).options(), markersize=4, label=display(name))
    ax.set(ylim=(-0.03, 1.03), xlabel="epoch")
    ax.legend(frameon=False, fontsize=9, loc="best")
