"""An explorer of robustness: a point of a spiral, its ball, an attack's path, the worst point and what is proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.attacks.gradient import GradientAttack
from helpers.attacks.search import ExhaustiveSearch
from helpers.experiments.sweeps import Sweep
from helpers.explorers.controls import explore
from helpers.figures.drawings import draw_regions
from helpers.figures.picture import Picture, new_figure
from helpers.figures.styles import style
from helpers.robustness.verification import verify


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
    half = 1.25 * widest
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
        point = u, v = points[place - 1]
        words = [f"Point {point[0]:.1f}, {point[1]:.1f} of class 0 and the box of ε = {epsilon:g} around it."]
        for k, (ax, name) in enumerate(zip(axes, activations, strict=True)):
            box = (float(u) - half, float(u) + half, float(v) - half, float(v) + half)
            draw_regions(ax, networks, k, data, box=box, n_pixels=90, size=5)
            proved, broken = (float(values[k, place - 1]) for values in (radii.certified, radii.broken))
            _box(ax, point, epsilon, label="ε box", fill=False, edgecolor="black", linewidth=1.2)
            _box(ax, point, proved, label="proved", color=style("proved").colour, alpha=0.25)
            path = walk[epsilon].path
            assert path is not None
            steps = path[:, k, place - 1]
            ax.plot(steps[:, 0], steps[:, 1], ".-", color=style("pgd").colour, markersize=5, label="attack")
            worst = ball[epsilon].x[k, place - 1]
            truth = style("exact")
            ax.scatter(
                [worst[0]],
                [worst[1]],
                s=40,
                c=truth.colour,
                marker=truth.marker,
                edgecolors="white",
                label="worst point",
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
