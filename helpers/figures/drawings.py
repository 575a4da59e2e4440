"""Drawings of one thing in one pair of axes."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from helpers.datasets.dataset import Dataset
from helpers.figures.picture import CLASS_COLOURS, CLASS_MARKERS
from helpers.models.ensemble import Ensemble


def draw_spirals(ax: Axes, data: Dataset, *, size: float = 4) -> None:
    """Scatter the first two coordinates of the points, each class with its colour and marker."""
    for label, (colour, marker) in enumerate(zip(CLASS_COLOURS, CLASS_MARKERS, strict=True)):
        points = data.x[data.y == label]
        ax.scatter(points[:, 0], points[:, 1], s=size, c=colour, marker=marker, linewidths=0, label=f"class {label}")
    ax.set_aspect("equal")


def draw_mapping(
    ax: Axes, points: Tensor, y: Tensor, *, separator: tuple[Tensor, float] | None = None, reach: float | None = None
) -> None:
    """Show where a layer of two neurons sends the points of each class.

    Args:
        ax: where to draw.
        points: ``[n_points, 2]``.
        y: their classes, ``[n_points]``.
        separator: (w, b) of the line w·p + b = 0 at which the output layer is undecided.
        reach: largest coordinate in the picture; by default a little more than that of the points. Where no point has
            a negative coordinate to speak of, as behind a ReLU, the picture shows one quadrant.
    """
    reach = reach or 1.1 * max(float(points.abs().max()), 1e-6)
    if separator is not None:
        w, b = separator[0].double(), separator[1]
        foot, along = -b * w / w.square().sum(), torch.stack([-w[1], w[0]]) / w.norm()
        ends = torch.stack([foot - 4 * reach * along, foot + 4 * reach * along])
        ax.plot(ends[:, 0], ends[:, 1], color="black", linewidth=0.8)
    draw_spirals(ax, Dataset(points, y), size=3)
    low = -reach if float(points.min()) < -0.1 * reach else -0.1 * reach
    ax.set(xlim=(low, reach), ylim=(low, reach), xticks=[], yticks=[])


def draw_matrix(ax: Axes, weight: Tensor, *, numbers: bool = False) -> None:
    """Show a matrix as a heatmap, blue for negative and red for positive entries.

    Args:
        ax: where to draw.
        weight: ``[n_out, n_in]``.
        numbers: also print every entry with two decimals.
    """
    values = weight.detach().numpy()
    limit = float(np.abs(values).max()) or 1.0
    image = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xlabel="from neuron", ylabel="to neuron")
    if numbers:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="weight")


def draw_regions(ax: Axes, ensemble: Ensemble, member: int, data: Dataset, *, n_pixels: int = 120) -> None:
    """Show a member's probability of class 1 over the plane, with the points of a data set.

    Args:
        ax: where to draw.
        ensemble: networks with two inputs and two outputs.
        member: which of them.
        data: points in the plane.
        n_pixels: resolution of each side.
    """
    reach = 1.1 * float(data.x.abs().max())
    line = torch.linspace(-reach, reach, n_pixels)
    v, u = torch.meshgrid(line, line, indexing="ij")
    with torch.no_grad():
        logits = ensemble.select([member])(torch.stack([u.flatten(), v.flatten()], dim=1))[0]
    probability = logits.softmax(dim=1)[:, 1].view(n_pixels, n_pixels).numpy()
    colours = mpl.colors.LinearSegmentedColormap.from_list("classes", [CLASS_COLOURS[0], "white", CLASS_COLOURS[1]])
    box = (-reach, reach, -reach, reach)
    ax.imshow(probability, extent=box, origin="lower", cmap=colours, vmin=0, vmax=1, alpha=0.45)
    ax.contour(probability, [0.5], extent=box, colors="black", linewidths=0.8)
    draw_spirals(ax, data, size=1.5)
    ax.set_xticks([])
    ax.set_yticks([])


def draw_eigenvalues(ax: Axes, values: Tensor, *, radius: float | None = None) -> None:
    """Plot eigenvalues in the complex plane with the unit circle.

    Args:
        ax: where to draw.
        values: complex eigenvalues, ``[n]``.
        radius: half the side of the picture; by default a little more than the largest modulus.
    """
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color="0.6", linewidth=0.8)
    ax.scatter(values.real, values.imag, s=12, c="#009E73", edgecolors="black", linewidths=0.3)
    reach = radius or 1.15 * max(1.0, float(values.abs().max()))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="Re λ", ylabel="Im λ")
