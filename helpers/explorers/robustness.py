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
from helpers.names import display
from helpers.robustness.verification import verify


def robustness_explorer(
    sweep: Sweep,
    *,
    entanglement: float,
    seed: int,
    epsilons: Sequence[float],
    activations: Sequence[str] | None = None,
    n_places: int = 6,
    attack: GradientAttack | None = None,
) -> widgets.VBox:
    """Explore one point's ball: the path of an attack, the exact worst point and the box that is proved safe.

    Two activations stand side by side: the first, and beside it the second, or that which a slider chooses of more.

    Args:
        sweep: trained networks in the plane.
        entanglement: of the networks to show.
        seed: of the networks to show; all activations then saw the same points.
        epsilons: values of a slider, data units.
        activations: of the networks to show; by default all of the sweep.
        n_places: values of another slider: places along the spiral of class 0, from the centre outwards.
        attack: whose path to draw; by default ten steps of 0.2 ε from the point itself, down the margin.
    """
    attack = replace(attack or GradientAttack(steps=10, step=0.2), record=True)
    widest = max(epsilons)
    half = 1.25 * widest
    names = list(activations or sweep.axes["activation"])
    numbers = [sweep.member(activation=name, entanglement=entanglement, seed=seed) for name in names]
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

    truth, proof, path_colour = style("exact"), style("proved"), style("pgd").colour

    def draw(place: int, epsilon: float, activation: str) -> Picture:
        shown = list(dict.fromkeys([names[0], activation]))
        figure, axes = new_figure(1, len(shown), width=4.4 * len(shown), height=4.6)
        point = u, v = points[place - 1]
        words = [f"Point {point[0]:.1f}, {point[1]:.1f} of class 0 and the box of ε = {epsilon:g} around it."]
        for ax, name in zip(axes, shown, strict=True):
            k = names.index(name)
            box = (float(u) - half, float(u) + half, float(v) - half, float(v) + half)
            draw_regions(ax, networks, k, data, box=box, n_pixels=90, size=5)
            proved, broken = (float(values[k, place - 1]) for values in (radii.certified, radii.broken))
            _box(ax, point, epsilon, label="ε box", fill=False, edgecolor="black", linewidth=1.2)
            _box(ax, point, proved, label="proved", color=proof.colour, alpha=0.25)
            path = walk[epsilon].path
            assert path is not None
            steps = path[:, k, place - 1]
            ax.plot(steps[:, 0], steps[:, 1], ".-", color=path_colour, markersize=5, label="attack")
            worst = ball[epsilon].x[k, place - 1]
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
            ax.set_title(f"{display(name)}: {falls}; the attack {by_attack}", fontsize=9)
            words.append(f"{display(name)}: proved to {proved:.2f}, {falls}; the attack {by_attack}.")
        entries = {text: handle for ax in axes for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
        figure.description = " ".join(words)
        return figure

    middle = sorted(epsilons)[len(epsilons) // 2]
    places = list(range(1, n_places + 1))
    controls: dict[str, Sequence[Any]] = {"place": places, "epsilon": list(epsilons), "activation": names[1:] or names}
    return explore(draw, controls, start={"epsilon": middle}, thin=("place", "epsilon"))


def _box(ax: Axes, point: Tensor, half: float, **style: Any) -> None:
    u, v = point.tolist()
    ax.add_patch(Rectangle((u - half, v - half), 2 * half, 2 * half, **style))
