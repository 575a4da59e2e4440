"""Figures of constrained networks: curves, drop-offs, hidden values with the cut, digits, features in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from torch import Tensor

from helpers.datasets.dataset import Dataset
from helpers.evidence.intervals import interval_over
from helpers.figures.drawings import draw_regions
from helpers.figures.picture import CLASS_COLOURS, Picture, new_figure
from helpers.models.ensemble import Ensemble

# One colour for each activation, and one kind of line for what the output does.
ACTIVATION_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LINES = {"": "-", "2": "--", "2_neg": ":"}
# What was constrained away is drawn in this colour.
CUT_COLOUR = "#CC79A7"


def head_styles(heads: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return a colour and a kind of line for each head, by its activation and its ending."""
    styles: dict[str, tuple[str, str]] = {}
    families: list[str] = []
    for name in heads:
        ending = max((e for e in LINES if name.endswith(e)), key=len)
        family = name.removesuffix(ending)
        if family not in families:
            families.append(family)
        styles[name] = (ACTIVATION_COLOURS[families.index(family) % len(ACTIVATION_COLOURS)], LINES[ending])
    return styles


def plot_sensitivity(accuracy: xr.DataArray, *, label: str = "training accuracy, %") -> Picture:
    """Plot accuracy over the place of the clamp, mean over seeds with its 95 % interval, one panel for each side.

    Args:
        accuracy: dimensions side, percent, head and seed.
        label: name of the vertical axis.

    Returns:
        The figure; its description gives each head's mean at 10 and at 50 percent of the range.
    """
    sides = list(accuracy["side"].values)
    figure, axes = new_figure(1, len(sides), width=4.4 * len(sides), height=3.6)
    bands, styles = interval_over(accuracy), head_styles(list(accuracy["head"].values))
    words = [f"{label} over the place of the clamp in the range, in percent; means over seeds at 10 and 50 percent."]
    for ax, side in zip(axes, sides, strict=True):
        listed = []
        for name, (colour, line) in styles.items():
            band = bands.sel(side=side, head=name)
            ax.plot(band["percent"], band["mean"], color=colour, linestyle=line, label=name)
            ax.fill_between(band["percent"], band["low"], band["high"], color=colour, alpha=0.15, linewidth=0)
            low, middle = (float(band["mean"].sel(percent=p, method="nearest")) for p in (10, 50))
            listed.append(f"{name} {low:.0f} and {middle:.0f}")
        ax.set(title=f"clamped from {side}", xlabel="clamped at, % of the range", ylim=(0, 103))
        words.append(f"From {side}: {', '.join(listed)}.")
    axes[0].set_ylabel(label)
    axes[-1].legend(frameon=False, fontsize=8)
    figure.description = " ".join(words)
    return figure


def plot_against_amount(
    accuracy: xr.DataArray, amount: xr.DataArray, *, amount_label: str, label: str = "training accuracy, %"
) -> Picture:
    """Plot accuracy over how much a clamp changes, means over seeds of both, one panel for each head.

    Args:
        accuracy: dimensions side, percent, head and seed.
        amount: what is changed, in percent, of the same dimensions.
        amount_label: name of the horizontal axis.
        label: name of the vertical axis.

    Returns:
        The figure; its description gives for each head the accuracy where half has been changed, from both sides.
    """
    heads = list(accuracy["head"].values)
    n_columns = min(3, len(heads))
    n_rows = -(-len(heads) // n_columns)
    figure, axes = new_figure(n_rows, n_columns, width=2.8 * n_columns, height=2.4 * n_rows)
    averages, changed = accuracy.mean("seed"), amount.mean("seed")
    words = [f"{label} over {amount_label}, at half of it from below and from above."]
    for ax, name in zip(axes, heads, strict=False):
        at_half = []
        for side, colour, line in zip(("below", "above"), CLASS_COLOURS, ("-", "--"), strict=True):
            x, y = (values.sel(side=side, head=name).values for values in (changed, averages))
            ax.plot(x, y, color=colour, linestyle=line, label=f"from {side}")
            order = np.argsort(x, kind="stable")
            at_half.append(float(np.interp(50, x[order], y[order])))
        ax.set(xlim=(0, 100), ylim=(0, 103), title=name)
        words.append(f"{name}: {at_half[0]:.0f} and {at_half[1]:.0f}.")
    for ax in axes[len(heads) :]:
        ax.remove()
    for ax in axes[: len(heads)][-n_columns:]:
        ax.set_xlabel(amount_label)
    axes[0].set_ylabel(label)
    axes[0].legend(frameon=False, fontsize=8)
    figure.description = " ".join(words)
    return figure


def plot_affine(accuracy: xr.DataArray, *, label: str = "test accuracy, %") -> Picture:
    """Plot accuracy under a smaller scale, a larger offset and a lower cutoff of each unit's range, a panel each.

    Args:
        accuracy: dimensions kind, amount, head and seed.
        label: name of the vertical axis.

    Returns:
        The figure; its description gives each head's mean at half the largest amount.
    """
    kinds = list(accuracy["kind"].values)
    figure, axes = new_figure(1, len(kinds), width=3.0 * len(kinds), height=3.2)
    bands, styles = interval_over(accuracy), head_styles(list(accuracy["head"].values))
    axis = {"scale": "taken from the scale, %", "offset": "offset, % of the range", "cutoff": "cut off at the top, %"}
    words = [f"{label} under affine constraints, means over seeds at 50 percent."]
    for ax, kind in zip(axes, kinds, strict=True):
        for name, (colour, line) in styles.items():
            band = bands.sel(kind=kind, head=name)
            ax.plot(band["amount"], band["mean"], color=colour, linestyle=line, label=name)
            ax.fill_between(band["amount"], band["low"], band["high"], color=colour, alpha=0.15, linewidth=0)
        ax.set(title=kind, xlabel=axis[kind], ylim=(0, 103))
        middle = bands["mean"].sel(kind=kind).sel(amount=50, method="nearest")
        words.append(f"{kind}: " + ", ".join(f"{name} {float(middle.sel(head=name)):.0f}" for name in styles) + ".")
    axes[0].set_ylabel(label)
    axes[-1].legend(frameon=False, fontsize=8)
    figure.description = " ".join(words)
    return figure


def plot_drop_offs(drop_off: xr.DataArray, reported: Mapping[str, Mapping[str, float]]) -> Picture:
    """Plot where accuracy has fallen by half, ours with 95 % intervals beside the study's, one panel for each side.

    Args:
        drop_off: dimensions training, side, head and seed, percent of the range.
        reported: for each side the study's number for each head.

    Returns:
        The figure; its description gives ours by the first protocol and the study's for each head.
    """
    figure, axes = new_figure(1, len(reported), width=4.4 * len(reported), height=3.4)
    protocols = list(drop_off["training"].values)
    bands = interval_over(drop_off)
    words = [f"Drop-off in percent of the range; ours ({protocols[0]}) and the study's."]
    for ax, (side, numbers) in zip(axes, reported.items(), strict=True):
        heads = list(numbers)
        for k, protocol in enumerate(protocols):
            band = bands.sel(training=protocol, side=side, head=heads)
            place = np.arange(len(heads)) + 0.16 * (k - (len(protocols) - 1) / 2)
            errors = [band["mean"] - band["low"], band["high"] - band["mean"]]
            ax.errorbar(
                band["mean"], place, xerr=errors, fmt="os^Dv"[k % 5], color=ACTIVATION_COLOURS[k % 5], markersize=4,
                capsize=2, linestyle="", label=protocol,
            )  # fmt: skip
        ax.plot(list(numbers.values()), range(len(heads)), "k|", markersize=16, markeredgewidth=2, label="study")
        ax.set(title=f"clamped from {side}", xlabel="drop-off, % of the range", yticks=range(len(heads)))
        ax.set_yticklabels(heads)
        ax.invert_yaxis()
        ours = bands["mean"].sel(training=protocols[0], side=side)
        listed = ", ".join(f"{name} {float(ours.sel(head=name)):.0f} and {numbers[name]:g}" for name in heads)
        words.append(f"From {side}: {listed}.")
    axes[-1].legend(frameon=False, fontsize=8)
    figure.description = " ".join(words)
    return figure


def draw_values(ax: Axes, values: Tensor, threshold: float, side: str, *, n_bins: int = 60) -> float:
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


def draw_digit(ax: Axes, pixels: Tensor, title: str) -> None:
    """Show one square image in grey, dark ink on white paper."""
    side = round(len(pixels) ** 0.5)
    ax.imshow(pixels.view(side, side).numpy(), cmap="gray_r")
    ax.set_title(title, fontsize=8)
    ax.set_xticks([])
    ax.set_yticks([])


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
    reach = 1.1 * float(data.x.abs().max())
    ends = torch.tensor([-2 * reach, 2 * reach])
    with torch.no_grad():
        weight, bias = ensemble.weights[0][member], ensemble.biases[0][member]
        strongest = set(harm.argsort(descending=True)[:n_strongest].tolist())
        for unit, (w, b) in enumerate(zip(weight, bias, strict=True)):
            # The points p with w · p = −b: one of them, and the direction along the line.
            foot, along = -b * w / w.square().sum(), torch.stack([-w[1], w[0]]) / w.norm()
            line = foot[:, None] + along[:, None] * ends
            strong = unit in strongest
            ax.plot(
                line[0], line[1], color=CUT_COLOUR if strong else "0.55", linewidth=1.8 if strong else 0.4,
                zorder=3 if strong else 1,
            )  # fmt: skip
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
