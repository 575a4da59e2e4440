"""The explorer of chapter 4: slide a constraint, and watch accuracy, the hidden values, and the digits that flip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import ipywidgets as widgets
import torch
from matplotlib.figure import SubFigure

from helpers.datasets.dataset import Dataset
from helpers.explorers.controls import explore
from helpers.figures.drawings import draw_digit
from helpers.figures.perturbation_constraints import CUT_COLOUR, draw_values
from helpers.figures.picture import Picture
from helpers.figures.styles import style
from helpers.metrics.sensitivity import CLAMPED_FROM
from helpers.models.constraints import Constraint, Side, value_span
from helpers.models.ensemble import Ensemble
from helpers.names import display

N_DIGITS = 8
# Close together where most hidden values are.
PERCENTS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100)


def constraint_explorer(
    networks: Mapping[str, Ensemble],
    data: Dataset,
    *,
    percents: Sequence[float] = PERCENTS,
    member: int = 0,
    sides: Sequence[Side] = CLAMPED_FROM,
) -> widgets.VBox:
    """Explore clamps of a hidden layer: what they touch, what they cost, and which digits change sides.

    Args:
        networks: for each head its networks; the page shows the first, a kernel lets choose.
        data: digits, as the networks saw them.
        percents: values of the slider, percent of the layer's range.
        member: which of each head's networks.
        sides: values of the other control.
    """
    prepared = {}
    for name, ensemble in networks.items():
        network = ensemble.select([member])
        hidden = network.hidden(data.x, 0)
        with torch.no_grad():
            before = network(hidden, first=1)[0].argmax(dim=1)
        prepared[name] = (network, hidden, value_span(network, hidden), before)

    def right(name: str, side: Side, percent: float) -> torch.Tensor:
        network, hidden, span, _ = prepared[name]
        rule = Constraint(floor=percent / 100) if side == "below" else Constraint(cutoff=percent / 100)
        with torch.no_grad():
            predicted: torch.Tensor = network(rule(hidden, span), first=1)[0].argmax(dim=1)
        return predicted

    curves = {
        (name, side): [float((right(name, side, p) == data.y).double().mean()) for p in percents]
        for name in list(networks)[:1]
        for side in sides
    }

    def draw(clamped_from: Side, percent: float, head: str) -> Picture:
        _, hidden, span, before = prepared[head]
        if (head, clamped_from) not in curves:
            values = [float((right(head, clamped_from, p) == data.y).double().mean()) for p in percents]
            curves[head, clamped_from] = values
        after = right(head, clamped_from, percent)
        share = float((after == data.y).double().mean())
        figure = Picture(figsize=(8.4, 4.8), layout="constrained", facecolor="white")
        upper, lower = cast(Sequence[SubFigure], figure.subfigures(2, 1, height_ratios=[2, 1]))
        curve, histogram = upper.subplots(1, 2)
        curve.plot(percents, [100 * value for value in curves[head, clamped_from]], color=style(head).colour)
        curve.plot([percent], [100 * share], "o", color=CUT_COLOUR, markersize=9, markeredgecolor="black")
        curve.set(ylim=(0, 103), xlabel="clamped at, % of the range", ylabel="accuracy, %")
        curve.set_title(f"{display(head)}: {share:.1%} right", fontsize=10)
        threshold = float(span.at(percent / 100))
        touched = draw_values(histogram, hidden, threshold, clamped_from)
        histogram.set_title(f"changes {touched:.0%} of the values", fontsize=10)
        flipped = ((before == data.y) & (after != data.y)).nonzero().flatten()
        for ax, k in zip(lower.subplots(1, N_DIGITS), flipped[:N_DIGITS].tolist() + [None] * N_DIGITS, strict=False):
            if k is None:
                ax.set_axis_off()
            else:
                draw_digit(ax, data.x[k], f"{int(before[k])} → {int(after[k])}")
        lower.suptitle(f"{len(flipped)} of {len(data)} digits no longer right; the first of them", fontsize=9)
        for ax in (curve, histogram):
            ax.spines[["top", "right"]].set_visible(False)
        figure.description = (
            f"{display(head)} clamped from {clamped_from} at {percent:g} percent of its range: {share:.1%} of the "
            f"digits right, {touched:.0%} of the hidden values changed, {len(flipped)} digits no longer right."
        )
        return figure

    controls: dict[str, Sequence[Any]] = {"clamped_from": list(sides), "percent": list(percents)}
    start = {"percent": percents[len(percents) // 3]}  # where something has happened already
    return explore(draw, controls, {"head": list(networks)}, start=start)
