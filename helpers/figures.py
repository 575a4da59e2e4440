"""Figures. They draw what they are given; none of them trains or measures a network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from helpers.datasets import Dataset
from helpers.models import Ensemble
from helpers.statistics import Interval, interval_over

# Okabe and Ito's blue and vermilion can be told apart with any colour vision, and by their lightness in grey.
CLASS_COLOURS = ("#0072B2", "#D55E00")
CLASS_MARKERS = ("o", "s")

# Further ones of theirs, for lines without an order; tanh and ReLU are the first two wherever both are drawn.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

# A palette of this size keeps lines and filled areas clean at a quarter of the weight of full colour.
N_COLOURS = 64
PIXELS_PER_INCH = 100


class Picture(Figure):
    """A figure that a notebook shows with a description for those who cannot see it.

    It belongs to no global state of pyplot, and is drawn when it is shown.

    Attributes:
        description: what it shows, in words.
    """

    description = ""

    def to_html(self, *, sharpness: float = 1.0) -> str:
        """Return an ``<img>`` with the description as alternative text and a palette PNG inside.

        Args:
            sharpness: dots for each pixel of the page.
        """
        raw, small = io.BytesIO(), io.BytesIO()
        self.savefig(raw, dpi=PIXELS_PER_INCH * sharpness)
        Image.open(raw).convert("RGB").quantize(N_COLOURS).save(small, format="PNG", optimize=True)
        data = base64.b64encode(small.getvalue()).decode()
        width = round(self.get_figwidth() * PIXELS_PER_INCH)
        return (
            f'<img class="frame" alt="{html.escape(self.description)}" width="{width}" '
            f'src="data:image/png;base64,{data}">'
        )

    def _repr_html_(self) -> str:
        return self.to_html(sharpness=2.0)


def layer_colours(n_layers: int) -> list[tuple[float, float, float, float]]:
    """Return one colour for each layer, dark for the first to light for the last."""
    return [mpl.colormaps["viridis"](0.9 * i / max(n_layers - 1, 1)) for i in range(n_layers)]


def new_figure(n_rows: int, n_columns: int, *, width: float, height: float) -> tuple[Picture, list[Axes]]:
    """Return a figure of so many inches with its axes, row by row."""
    figure = Picture(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


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
