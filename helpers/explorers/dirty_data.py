"""The explorer of dirty labels: learning curves, a boundary in the plane, and the most suspicious digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import ipywidgets as widgets
import torch
from torch import Tensor

from helpers.datasets.corruption import Dirty, LabelNoise
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DigitTask
from helpers.datasets.spirals import spirals
from helpers.experiments.dirty_labels import falling, watch
from helpers.explorers.controls import explore
from helpers.figures.dirty_data import draw_curves, draw_digits
from helpers.figures.drawings import draw_regions
from helpers.figures.picture import PAGE_WIDTH, Picture
from helpers.metrics.label_errors import share_found, suspicion
from helpers.models.ensemble import Ensemble
from helpers.models.sequential import digit_network
from helpers.names import display
from helpers.training.out_of_sample import out_of_sample
from helpers.training.protocol import Training
from helpers.training.train import train

DIRTS: Mapping[str, LabelNoise] = {
    "none": LabelNoise(0.0),
    "10 % symmetric": LabelNoise(0.1),
    "30 % symmetric": LabelNoise(0.3),
    "60 % symmetric": LabelNoise(0.6),
    "30 % pairwise": LabelNoise(0.3, "pairwise"),
    "30 % by instance": LabelNoise(0.3, "instance"),
}

# The example in the plane: short spirals, and networks with room to bend around single points.
PLANE_ENTANGLEMENT, PLANE_POINTS, PLANE_SIZES = 4.0, 100, (2, 50, 50, 2)
PLANE_TRAINING = Training(epochs=200, batch_size=50, learning_rate=0.005)
N_FOLDS, N_SHOWN = 2, 10


@dataclass(frozen=True)
class _Trained:
    """All combinations of dirt and activation for one seed, by (dirt, activation)."""

    curves: Mapping[tuple[str, str], Mapping[str, Tensor]]
    suspicious: Mapping[tuple[str, str], Tensor]
    digits: Mapping[str, Dirty]
    plane: Ensemble
    points: Mapping[str, Dataset]


def dirt_explorer(
    task: DigitTask,
    *,
    activations: Sequence[str],
    training: Training,
    dirts: Sequence[str] = tuple(DIRTS),
    seeds: Sequence[int] = (0, 1, 2),
) -> widgets.VBox:
    """Explore wrong labels: share and kind by activation.

    Args:
        task: the digits, few and small: all combinations are trained at once.
        activations: values of a slider.
        training: the protocol on digits.
        dirts: values of another slider, from `DIRTS`.
        seeds: values of another slider for those with a kernel, where a move trains new networks; the page shows
            the first.
    """
    combinations = list(product(dirts, activations))

    @lru_cache(maxsize=4)
    def trained(seed: int) -> _Trained:
        train_set, validation = task.split(seed)
        digits = {dirt: DIRTS[dirt](train_set, seed=seed) for dirt in dirts}
        sets = [digits[dirt] for dirt, _ in combinations]
        networks = [digit_network(name, seed, size=task.size) for _, name in combinations]
        same, protocol = [seed] * len(networks), falling(training)
        history = train(
            networks,
            [noisy.data.x for noisy in sets],
            [noisy.data.y for noisy in sets],
            protocol,
            seeds=same,
            observe=watch(sets, [validation] * len(sets)),
        )
        unseen = out_of_sample(networks, same, [noisy.data for noisy in sets], protocol, n_folds=N_FOLDS)
        clean = spirals(PLANE_ENTANGLEMENT, n_per_class=PLANE_POINTS, noise=0.3, seed=seed)
        points = {dirt: DIRTS[dirt](clean, seed=seed).data for dirt in dirts}
        x, y = (torch.stack([getattr(points[dirt], side) for dirt, _ in combinations]) for side in ("x", "y"))
        plane = train(Ensemble(PLANE_SIZES, [name for _, name in combinations], same), x, y, PLANE_TRAINING).final
        return _Trained(
            {c: {name: values[:, k] for name, values in history.observed.items()} for k, c in enumerate(combinations)},
            {c: suspicion(unseen[k], sets[k].data.y) for k, c in enumerate(combinations)},
            digits,
            plane,
            points,
        )

    def draw(dirt: str, activation: str, seed: int) -> Picture:
        runs, chosen = trained(seed), (dirt, activation)
        figure = Picture(figsize=(PAGE_WIDTH, 5.2), layout="constrained", facecolor="white")
        upper, lower = figure.subfigures(2, 1, height_ratios=[2.6, 1], squeeze=False)[:, 0]
        curves_ax, plane_ax = upper.subplots(1, 2, width_ratios=[1.5, 1])
        curves, digits = runs.curves[chosen], runs.digits[dirt]
        shown = {
            "validation accuracy": curves["accuracy"],
            "right labels learned": curves["learned"],
            "wrong labels memorised": curves["memorised"],
        }
        if not digits.rows.any():
            del shown["wrong labels memorised"]
        draw_curves(curves_ax, shown)
        curves_ax.set_title(f"digits, {display(activation)}, wrong labels: {dirt}", fontsize=10)
        draw_regions(plane_ax, runs.plane, combinations.index(chosen), runs.points[dirt])
        plane_ax.set_title("the same on two spirals", fontsize=10)
        suspicious = runs.suspicious[chosen]
        rows = suspicious.argsort(descending=True, stable=True)[:N_SHOWN]
        words = draw_digits(list(lower.subplots(1, N_SHOWN)), digits, rows)
        share = share_found(suspicious, digits.rows)
        lower.suptitle("most suspicious labels" + (f" ({share:.0%} of the wrong ones found)" if share == share else ""))
        told = ", ".join(f"{name} {float(curve[-1]):.0%}" for name, curve in shown.items())
        figure.description = f"{display(activation)} with wrong labels: {dirt}. At the end {told}; {words}."
        return figure

    start = {"dirt": dirts[min(2, len(dirts) - 1)], "activation": activations[0]}
    return explore(draw, {"dirt": dirts, "activation": activations}, {"seed": seeds}, start=start, thin=["dirt"])
