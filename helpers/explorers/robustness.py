"""An explorer of robustness: a point of a spiral, its ball, an attack's path, the worst point and what is proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.attacks.gradient import GradientAttack
from helpers.attacks.search import ExhaustiveSearch
from helpers.datasets.dataset import Dataset
from helpers.experiments.sweeps import Sweep
from helpers.explorers.controls import explore
from helpers.figures.drawings import draw_spirals
from helpers.figures.picture import CLASS_COLOURS, Picture, new_figure
from helpers.models.ensemble import Ensemble
from helpers.robustness.verification import verify

PATH_COLOUR, WORST_COLOUR, PROVED_COLOUR = "#000000", "#CC79A7", "#009E73"


def draw_neighbourhood(
    ax: Axes, ensemble: Ensemble, centre: Tensor, reach: float, data: Dataset, *, n_pixels: int = 90
) -> None:
    """Show one network's probability of class 1 in a square around a point, with the points of a data set there.

    Args:
        ax: where to draw.
        ensemble: one network with two inputs and two outputs.
        centre: the point, ``[2]``.
        reach: half the side of the square, data units.
        data: points in the plane.
        n_pixels: resolution of each side.
    """
    u0, v0 = centre.tolist()
    steps = torch.linspace(-reach, reach, n_pixels)
    v, u = torch.meshgrid(v0 + steps, u0 + steps, indexing="ij")
    with torch.no_grad():
        logits = ensemble(torch.stack([u.flatten(), v.flatten()], dim=1))[0]
    probability = logits.softmax(dim=1)[:, 1].view(n_pixels, n_pixels).numpy()
    colours = mpl.colors.LinearSegmentedColormap.from_list("classes", [CLASS_COLOURS[0], "white", CLASS_COLOURS[1]])
    box = (u0 - reach, u0 + reach, v0 - reach, v0 + reach)
    ax.imshow(probability, extent=box, origin="lower", cmap=colours, vmin=0, vmax=1, alpha=0.45)
    if probability.min() < 0.5 < probability.max():
        ax.contour(probability, [0.5], extent=box, colors="black", linewidths=0.8)
    near = ((data.x - centre).abs() < reach).all(dim=1)
    draw_spirals(ax, Dataset(data.x[near], data.y[near]), size=5)
    ax.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[])


def robustness_explorer(
    sweep: Sweep,
    *,
    entanglement: float,
    seed: int,
    epsilons: Sequence[float],
    activations: Sequence[str] = ("tanh", "relu"),
    n_places: int = 6,
    attack: GradientAttack | None = None,
) -> widgets.VBox:
    """Explore one point's ball: the path of an attack, the exact worst point and the box that is proved safe.

    Args:
        sweep: trained networks in the plane.
        entanglement: of the networks to show.
        seed: of the networks to show; all activations then saw the same points.
        epsilons: values of a slider, data units.
        activations: one panel each.
        n_places: values of another slider: places along the spiral of class 0, from the centre outwards.
        attack: whose path to draw; by default ten steps of 0.2 ε from the point itself, down the margin.
    """
    attack = replace(attack or GradientAttack(steps=10, step=0.2), record=True)
    widest = max(epsilons)
    numbers = [sweep.member(activation=name, entanglement=entanglement, seed=seed) for name in activations]
    networks = sweep.history.final.select(numbers)
    data = sweep.sets["test"][numbers[0]]
    first = data.x[data.y == 0]
    radius = first.norm(dim=1)
    wanted = torch.linspace(float(radius.min()), float(radius.max()), n_places)
    points = first[(radius - wanted[:, None]).abs().argmin(dim=1)]
    labels = torch.zeros(n_places, dtype=torch.int64)
    radii = verify(networks, points, labels, widest)
    ball = {epsilon: ExhaustiveSearch()(networks, points, labels, epsilon) for epsilon in epsilons}
    walk = {epsilon: attack(networks, points, labels, epsilon) for epsilon in epsilons}

    def draw(place: int, epsilon: float) -> Picture:
        figure, axes = new_figure(1, len(activations), width=4.4 * len(activations), height=4.6)
        point = points[place - 1]
        words = [f"Point {point[0]:.1f}, {point[1]:.1f} of class 0 and the box of ε = {epsilon:g} around it."]
        for k, (ax, name) in enumerate(zip(axes, activations, strict=True)):
            draw_neighbourhood(ax, networks.select([k]), point, 1.25 * widest, data)
            proved, broken = (float(values[k, place - 1]) for values in (radii.certified, radii.broken))
            _box(ax, point, epsilon, label="ε box", fill=False, edgecolor="black", linewidth=1.2)
            _box(ax, point, proved, label="proved", color=PROVED_COLOUR, alpha=0.25)
            path = walk[epsilon].path
            assert path is not None
            steps = path[:, k, place - 1]
            ax.plot(steps[:, 0], steps[:, 1], color=PATH_COLOUR, marker=".", markersize=4, linewidth=1, label="attack")
            worst = ball[epsilon].x[k, place - 1]
            ax.scatter(
                [worst[0]], [worst[1]], marker="X", s=70, c=WORST_COLOUR, edgecolors="white", label="worst point"
            )
            if broken <= widest:
                nearest = radii.counterexample[k, place - 1]
                ax.scatter([nearest[0]], [nearest[1]], marker="*", s=90, c="white", edgecolors="black", label="nearest")
            falls = f"falls at {broken:.2f}" if broken <= widest else f"holds to {widest:g}"
            by_attack = "breaks it" if not bool(walk[epsilon].robust[k, place - 1]) else "does not break it"
            ax.set_title(f"{name}: {falls}; the attack {by_attack}", fontsize=9)
            words.append(f"{name}: proved to {proved:.2f}, {falls}; the attack {by_attack}.")
        axes[0].legend(frameon=True, fontsize=7, loc="upper left")
        figure.description = " ".join(words)
        return figure

    middle = sorted(epsilons)[len(epsilons) // 2]
    return explore(draw, {"place": list(range(1, n_places + 1)), "epsilon": list(epsilons)}, start={"epsilon": middle})


def _box(ax: Axes, point: Tensor, half: float, **style: Any) -> None:
    u, v = point.tolist()
    ax.add_patch(Rectangle((u - half, v - half), 2 * half, 2 * half, **style))
