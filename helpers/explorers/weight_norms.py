"""Explorers: what the sliders of the chapters on spirals show, drawn for any of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import ipywidgets as widgets
import torch
from torch.linalg import matrix_norm

from helpers.datasets.spirals import measure_spirals, spirals
from helpers.experiments.sweeps import Sweep, spiral_sweep
from helpers.explorers.controls import explore
from helpers.figures.drawings import draw_eigenvalues, draw_regions, draw_spirals
from helpers.figures.picture import Picture, new_figure
from helpers.figures.styles import ordered_colours
from helpers.metrics.accuracy import accuracy
from helpers.metrics.weights import eigenvalues, weight_measures
from helpers.names import display
from helpers.training.protocol import Training


def spiral_explorer(entanglements: Sequence[float], distances: Sequence[float]) -> widgets.VBox:
    """Explore the data: spirals by entanglement and by the distance between them, with measured values.

    Args:
        entanglements: values of the first slider, radians.
        distances: values of the second slider, data units.
    """
    widest = spirals(max(entanglements), distance=max(distances), n_per_class=50)
    reach = 1.05 * float(widest.x.abs().max())

    def draw(entanglement: float, distance: float) -> Picture:
        data = spirals(entanglement, distance=distance)
        measured = measure_spirals(data)
        figure, (ax,) = new_figure(1, 1, width=4.2, height=4.2)
        draw_spirals(ax, data)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
        spiral = (
            f"entanglement {measured.entanglement:.2f}, distance {measured.distance:.2f}, "
            f"codimension {measured.codimension}"
        )
        ax.set_title(f"measured: {spiral}", fontsize=9)
        figure.description = f"Two spirals of entanglement {entanglement} at distance {distance}; measured: {spiral}."
        return figure

    start = {"entanglement": max(entanglements), "distance": max(distances)}
    return explore(draw, {"entanglement": entanglements, "distance": distances}, start=start)


def weight_explorer(
    *,
    activations: Sequence[str],
    entanglements: Sequence[float],
    epochs: Sequence[int],
    hidden_layers: int = 5,
    width: int = 50,
    training: Training | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> widgets.VBox:
    """Explore networks in training: decision regions, norms and eigenvalues, two activations one below the other.

    Args:
        activations: the first is in the upper row; of more than two a slider chooses that in the lower.
        entanglements: values of another slider, radians.
        epochs: values of another slider: the snapshots, ascending; the training ends at the last.
        hidden_layers: how many, at least two.
        width: neurons in each.
        training: the protocol but for the number of epochs.
        seeds: values of another slider for those with a kernel, where a move trains new networks; the page shows
            the first.
    """
    protocol = replace(training or Training(), epochs=max(epochs))
    square = range(1, hidden_layers)
    first, *others = activations

    @lru_cache(maxsize=8)
    def trained(seed: int) -> tuple[Sweep, float]:
        sweep = spiral_sweep(
            activations=activations,
            entanglements=entanglements,
            seeds=[seed],
            hidden_layers=hidden_layers,
            width=width,
            training=protocol,
            snapshots=epochs,
        )
        # One scale for all bars, so that what moves are the norms.
        norms = [matrix_norm(network.weights[i]).max() for network in sweep.history.snapshots for i in square]
        return sweep, 1.05 * torch.stack(norms).max().item()

    def draw(entanglement: float, epoch: int, activation: str, seed: int) -> Picture:
        shown = list(dict.fromkeys([first, activation]))
        sweep, highest = trained(seed)
        figure, axes = new_figure(len(shown), 3, width=8.8, height=2.9 * len(shown))
        words = [f"Entanglement {entanglement}, epoch {epoch}."]
        for row, name in enumerate(shown):
            regions, norms, plane = axes[3 * row : 3 * row + 3]
            number = sweep.member(activation=name, entanglement=entanglement, seed=seed)
            network = sweep.history.at(epoch).select([number])
            test = sweep.sets["test"][number]
            share = float(accuracy(network, test.x, test.y))
            draw_regions(regions, network, 0, sweep.sets["train"][number])
            regions.set_title(f"{display(name)}: test accuracy {share:.0%}", fontsize=10)
            heights = [float(weight_measures(network.weights[i])["frobenius_norm"]) for i in square]
            norms.bar([f"L{i}" for i in square], heights, color=ordered_colours(len(square)))
            norms.set_ylim(0, highest)
            norms.set_title("Frobenius norm", fontsize=10)
            draw_eigenvalues(plane, eigenvalues(network.weights[hidden_layers - 1][0]), radius=2.0)
            plane.set_title(f"eigenvalues of L{hidden_layers - 1}", fontsize=10)
            listed = ", ".join(f"{height:.1f}" for height in heights)
            words.append(f"{display(name)}: test accuracy {share:.0%}, Frobenius norms {listed}.")
        figure.description = " ".join(words)
        return figure

    start = {"entanglement": entanglements[len(entanglements) // 2], "epoch": max(epochs)}
    controls = {"entanglement": entanglements, "epoch": epochs, "activation": others or [first]}
    return explore(draw, controls, {"seed": seeds}, start=start, thin=("entanglement", "epoch"))
