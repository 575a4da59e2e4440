"""Drawings of attacked networks: places at which the class of a point is lost, and digits before and after."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.datasets.dataset import Dataset
from helpers.figures.drawings import draw_digit, draw_regions
from helpers.figures.panels import listed
from helpers.figures.picture import PAGE_WIDTH, Picture, new_figure
from helpers.figures.styles import style
from helpers.models.ensemble import Ensemble
from helpers.names import display
from helpers.robustness.verification import Radii


def plot_lost(ensemble: Ensemble, x: Tensor, y: Tensor, radii: Radii) -> Picture:
    """Show the decisions of each network, with a cross at the nearest place at which a point loses its class.

    Args:
        ensemble: a few networks in the plane.
        x: points of each, ``[n_networks, n_points, 2]``.
        y: their classes, ``[n_networks, n_points]``.
        radii: of these points, from `robustness.verify`.

    Returns:
        The figure; titles and description count the points that are right, and those of them that are lost.
    """
    n, n_points = radii.broken.shape
    figure, axes = new_figure(1, n, width=PAGE_WIDTH, height=PAGE_WIDTH / n + 0.3)
    right, lost = radii.broken > 0, radii.broken <= radii.epsilon
    words = []
    for k, ax in enumerate(axes):
        draw_regions(ax, ensemble, k, Dataset(x[k], y[k]), size=8)
        crosses = radii.counterexample[k][right[k] & lost[k]]
        ax.scatter(crosses[:, 0], crosses[:, 1], s=30, c=style("exact").colour, marker="x", linewidths=1.2)
        counts = f"{int(right[k].sum())} of {n_points} right, {len(crosses)} of them lost within ε = {radii.epsilon:g}"
        words.append(f"{display(ensemble.activations[k])}: {counts}")
        ax.set_title(words[-1], fontsize=10)
    figure.description = f"The regions of {n} networks with their points. {'; '.join(words)}."
    return figure


def plot_moved_digits(ensemble: Ensemble, member: int, x: Tensor, moved: Tensor) -> Picture:
    """Show images of digits, and below them what an attack made of them, each with how a network reads it.

    Args:
        ensemble: networks for square images.
        member: which of them reads.
        x: its images, ``[n_points, n_in]``.
        moved: the same after the attack.

    Returns:
        The figure; its description says how each image is read before and after.
    """
    figure, axes = new_figure(2, len(x), width=1.3 * len(x), height=3.2)
    network, shown = ensemble.select([member]), torch.cat([x, moved])
    with torch.no_grad():
        read = network(shown)[0].argmax(dim=1).tolist()
    for ax, pixels, digit in zip(axes, shown, read, strict=True):
        draw_digit(ax, pixels, f"read as {digit}")
    before, after = listed(read[: len(x)]), listed(read[len(x) :])
    figure.description = f"{len(x)} digits, read as {before}; the same after an attack, read as {after}."
    return figure
