"""Drawings of constrained networks: hidden values with the cut, and features in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from helpers.datasets.dataset import Dataset
from helpers.figures.drawings import draw_digit, draw_line, draw_regions
from helpers.figures.picture import PAGE_WIDTH, Picture, new_figure
from helpers.models.constraints import Side
from helpers.models.ensemble import Ensemble
from helpers.names import caption, display

# What was constrained away is drawn in this colour.
CUT_COLOUR = "#CC79A7"


def plot_digits(data: Dataset) -> Picture:
    """Show the first image of each class.

    Args:
        data: square images ``[n_points, side²]`` with classes, of each at least one.
    """
    n_classes = int(data.y.max()) + 1
    figure, axes = new_figure(1, n_classes, width=PAGE_WIDTH, height=1.2)
    for digit, ax in enumerate(axes):
        draw_digit(ax, data.x[data.y == digit][0], str(digit))
    figure.description = f"The first image of each digit from 0 to {n_classes - 1}."
    return figure


def draw_values(ax: Axes, values: Tensor, threshold: float, side: Side, *, n_bins: int = 60) -> float:
    """Draw the histogram of hidden values with the cut, and colour what the clamp changes.

    Args:
        ax: where to draw.
        values: hidden values.
        threshold: where the clamp is.
        side: ``"below"`` if it raises smaller values, ``"above"`` if it lowers larger ones.
        n_bins: bars of the histogram.

    Returns:
        The share of the values that the clamp changes.
    """
    flat = values.flatten()
    edges = np.linspace(float(flat.min()), float(flat.max()) or 1.0, n_bins + 1)
    heights, _ = np.histogram(flat.numpy(), bins=edges)
    middles = (edges[:-1] + edges[1:]) / 2
    changed = middles < threshold if side == "below" else middles > threshold
    colours = np.where(changed, CUT_COLOUR, "#999999")
    ax.bar(middles, heights / len(flat), width=np.diff(edges), color=colours, edgecolor="white", linewidth=0.2)
    ax.axvline(threshold, color="black", linewidth=1.2)
    ax.set_yscale("log")
    ax.set(xlabel="hidden value", ylabel="share of the values")
    touched = flat < threshold if side == "below" else flat > threshold
    return float(touched.double().mean())


def plot_clamps(values: Tensor, fraction: float) -> Picture:
    """Show hidden values with a clamp at one place of their range, once from below and once from above.

    Args:
        values: hidden values.
        fraction: of the way from the smallest value to the largest.

    Returns:
        The figure; its titles and its description give the shares that the clamps change.
    """
    sides: tuple[Side, ...] = get_args(Side)
    figure, axes = new_figure(1, len(sides), width=PAGE_WIDTH, height=2.8)
    threshold = float(values.min()) * (1 - fraction) + float(values.max()) * fraction
    words = []
    for ax, side in zip(axes, sides, strict=True):
        share = draw_values(ax, values, threshold, side)
        words.append(f"clamped {caption('side', side)}: {share:.0%} of the values change")
        ax.set_title(words[-1], fontsize=10)
    figure.description = f"Histogram of hidden values; at {fraction:.0%} of their range {', '.join(words)}."
    return figure


def draw_features(ax: Axes, ensemble: Ensemble, member: int, data: Dataset, harm: Tensor, *, n_strongest: int) -> None:
    """Draw a network's decisions in the plane with the lines on which its first hidden units are at their kink.

    Args:
        ax: where to draw.
        ensemble: networks of points in the plane.
        member: which of them.
        data: points in the plane.
        harm: accuracy lost without each unit, ``[width]``; the strongest are drawn wide and in colour.
        n_strongest: how many.
    """
    draw_regions(ax, ensemble, member, data)
    strongest = set(harm.argsort(descending=True)[:n_strongest].tolist())
    weight, bias = ensemble.weights[0][member].detach(), ensemble.biases[0][member].detach()
    for unit, (w, b) in enumerate(zip(weight, bias, strict=True)):
        strong = unit in strongest
        options = {"linewidth": 1.8, "zorder": 3} if strong else {"linewidth": 0.4, "zorder": 1}
        draw_line(ax, w, float(b), color=CUT_COLOUR if strong else "0.55", **options)


def plot_features(
    ensemble: Ensemble, members: Sequence[int], sets: Sequence[Dataset], harm: Tensor, *, n_strongest: int = 5
) -> Picture:
    """Show some networks' decisions in the plane with the lines of their first hidden units, a panel for each.

    Args:
        ensemble: networks of points in the plane.
        members: which of them.
        sets: points in the plane, a set for each network of the ensemble.
        harm: accuracy lost without each unit, ``[n_networks, width]``.
        n_strongest: how many of the units whose loss costs most are drawn wide and in colour.

    Returns:
        The figure; its description gives what the loss of these units costs.
    """
    figure, axes = new_figure(1, len(members), width=4.2 * len(members), height=4.3)
    words = []
    for ax, k in zip(axes, members, strict=True):
        name, costs = display(ensemble.activations[k]), harm[k].sort(descending=True).values[:n_strongest]
        draw_features(ax, ensemble, k, sets[k], harm[k], n_strongest=n_strongest)
        ax.set_title(f"{name}: the {n_strongest} units it needs most", fontsize=10)
        words.append(f"{name}: {', '.join(f'{100 * cost:.1f}' for cost in costs.tolist())}.")
    figure.description = (
        "Decisions of networks in the plane with the lines of their first hidden units; "
        f"points of accuracy lost without one of the {n_strongest} in colour. {' '.join(words)}"
    )
    return figure
