"""Drawings of one thing in one pair of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from helpers.datasets.dataset import Dataset
from helpers.figures.styles import CLASS_MARKERS, class_colours
from helpers.models.ensemble import Ensemble

Window = tuple[float, float, float, float]


def draw_spirals(ax: Axes, data: Dataset, *, size: float = 4) -> None:
    """Scatter the first two coordinates of the points, each class with its colour and marker."""
    for label, colour in enumerate(class_colours(int(data.y.max()) + 1)):
        points, marker = data.x[data.y == label], CLASS_MARKERS[label % len(CLASS_MARKERS)]
        ax.scatter(points[:, 0], points[:, 1], s=size, c=colour, marker=marker, linewidths=0, label=f"class {label}")
    ax.set_aspect("equal")


def draw_line(ax: Axes, w: Tensor, b: float, **options: Any) -> None:
    """Draw the line w · p + b = 0 of the plane across all that the axes may come to show.

    Args:
        ax: where to draw.
        w: normal of the line, ``[2]``.
        b: offset.
        **options: of a line, e.g. its ``color``.
    """
    w = w.detach().double()
    foot = -b * w / w.square().sum()
    (u, v), (along_u, along_v) = foot.tolist(), (torch.stack([-w[1], w[0]]) / w.norm()).tolist()
    ax.axline((u, v), (u + along_u, v + along_v), **options)


def draw_mapping(
    ax: Axes, points: Tensor, y: Tensor, *, separator: tuple[Tensor, float] | None = None, limit: float | None = None
) -> None:
    """Show where a layer of two neurons sends the points of each class.

    Args:
        ax: where to draw.
        points: ``[n_points, 2]``.
        y: their classes, ``[n_points]``.
        separator: (w, b) of the line w·p + b = 0 at which the output layer is undecided.
        limit: largest coordinate in the picture; by default a little more than that of the points. Where no point has
            a negative coordinate to speak of, as behind a ReLU, the picture shows one quadrant.
    """
    limit = limit or 1.1 * max(float(points.abs().max()), 1e-6)
    if separator is not None:
        draw_line(ax, *separator, color="black", linewidth=0.8)
    draw_spirals(ax, Dataset(points, y), size=3)
    low = -limit if float(points.min()) < -0.1 * limit else -0.1 * limit
    ax.set(xlim=(low, limit), ylim=(low, limit), xticks=[], yticks=[])


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
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="weight")


def draw_digit(ax: Axes, pixels: Tensor, title: str, *, colour: str = "black") -> None:
    """Show one square image of so many pixels in grey, dark ink on white paper, with a title of a colour."""
    side = round(pixels.numel() ** 0.5)
    ax.imshow(pixels.view(side, side).numpy(), cmap="gray_r")
    ax.set_title(title, fontsize=9, color=colour)
    ax.set_axis_off()


def draw_regions(
    ax: Axes,
    ensemble: Ensemble,
    member: int,
    data: Dataset,
    *,
    box: Window | None = None,
    n_pixels: int = 120,
    size: float = 1.5,
) -> None:
    """Show a member's decisions in a box of the plane, with the points of a data set.

    Each pixel has the colour of its most probable class, the paler the less it is preferred: with p the largest of k
    probabilities, white where p = 1/k, full where p = 1. Black lines part the classes.

    Args:
        ax: where to draw.
        ensemble: networks with two inputs and an output for each class, or one output for two classes.
        member: which of them.
        data: points in the plane.
        box: left, right, lower and upper end of the picture; by default a square around the origin that holds all
            points.
        n_pixels: resolution of each side.
        size: of a point.

    Raises:
        ValueError: the networks have another number of inputs.
    """
    if ensemble.layer_sizes[0] != 2:
        raise ValueError(f"ensemble must have 2 inputs to be drawn in the plane, got {ensemble.layer_sizes[0]}.")
    limit = 1.1 * float(data.x.abs().max())
    box = box or (-limit, limit, -limit, limit)
    v, u = torch.meshgrid(torch.linspace(*box[2:], n_pixels), torch.linspace(*box[:2], n_pixels), indexing="ij")
    with torch.no_grad():
        logits = ensemble.select([member])(torch.stack([u.flatten(), v.flatten()], dim=1))[0].double()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    probability = logits.softmax(dim=1).view(n_pixels, n_pixels, -1)
    n_classes = probability.shape[2]
    highest, chosen = probability.max(dim=2)
    strength = 0.45 * (n_classes * highest - 1).numpy()[..., None] / (n_classes - 1)
    colours = np.array([to_rgb(colour) for colour in class_colours(n_classes)])
    ax.imshow(1 - strength * (1 - colours[chosen.numpy()]), extent=box, origin="lower", interpolation="bilinear")
    for label in range(1, n_classes):
        others = torch.cat([probability[..., :label], probability[..., label + 1 :]], dim=2).max(dim=2).values
        lead = probability[..., label] - others
        if lead.min() < 0 < lead.max():
            ax.contour(lead.numpy(), [0.0], extent=box, colors="black", linewidths=0.8)
    draw_spirals(ax, data, size=size)
    ax.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[])


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
    limit = radius or 1.15 * max(1.0, float(values.abs().max()))
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="Re λ", ylabel="Im λ")
