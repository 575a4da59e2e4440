"""Drawings of constrained networks: hidden values with the cut, and features in the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from helpers.datasets.dataset import Dataset
from helpers.figures.drawings import draw_line, draw_regions
from helpers.models.constraints import Side
from helpers.models.ensemble import Ensemble

# What was constrained away is drawn in this colour.
CUT_COLOUR = "#CC79A7"


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
