"""Explorers: what the sliders of the chapters on spirals show, drawn for any of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import ipywidgets as widgets

from helpers.controls import explore
from helpers.datasets import Dataset, measure_spirals, spirals
from helpers.figures import (
    Picture,
    draw_eigenvalues,
    draw_mapping,
    draw_regions,
    draw_spirals,
    layer_colours,
    new_figure,
)
from helpers.mappings import collapsed_class, hidden_values
from helpers.metrics import accuracy, eigenvalues, weight_measures
from helpers.sweeps import Sweep, spiral_sweep
from helpers.training import Training


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
        found = (
            f"entanglement {measured.entanglement:.2f}, distance {measured.distance:.2f}, "
            f"codimension {measured.codimension}"
        )
        ax.set_title(f"measured: {found}", fontsize=8)
        figure.description = f"Two spirals of entanglement {entanglement} at distance {distance}; measured: {found}."
        return figure

    start = {"entanglement": max(entanglements), "distance": max(distances)}
    return explore(draw, {"entanglement": entanglements, "distance": distances}, start=start)


def weight_explorer(
    *,
    entanglements: Sequence[float],
    epochs: Sequence[int],
    activations: Sequence[str] = ("tanh", "relu"),
    hidden_layers: int = 5,
    width: int = 50,
    training: Training | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> widgets.VBox:
    """Explore networks in training: decision regions, norms and eigenvalues, one row for each activation.

    Args:
        entanglements: values of the first slider, radians.
        epochs: values of the second slider: the snapshots, ascending; the training ends at the last.
        activations: one row each.
        hidden_layers: how many, at least two.
        width: neurons in each.
        training: the protocol but for the number of epochs.
        seeds: values of a third slider for those with a kernel, where a move trains new networks; the page shows
            the first.
    """
    protocol = replace(training or Training(), epochs=max(epochs))
    square = range(1, hidden_layers)

    @lru_cache(maxsize=8)
    def trained(seed: int) -> Sweep:
        return spiral_sweep(
            activations=activations,
            entanglements=entanglements,
            seeds=[seed],
            hidden_layers=hidden_layers,
            width=width,
            training=protocol,
            snapshots=epochs,
        )

    def draw(entanglement: float, epoch: int, seed: int) -> Picture:
        sweep = trained(seed)
        figure, axes = new_figure(len(activations), 3, width=9, height=3 * len(activations))
        words = [f"Entanglement {entanglement}, epoch {epoch}."]
        for row, name in enumerate(activations):
            regions, norms, plane = axes[3 * row : 3 * row + 3]
            number = sweep.member(activation=name, entanglement=entanglement, seed=seed)
            network = sweep.history.at(epoch).select([number])
            share = float(accuracy(network, sweep.x_test[number], sweep.y_test[number]))
            draw_regions(regions, network, 0, Dataset(sweep.x_train[number], sweep.y_train[number]))
            regions.set_title(f"{name}: test accuracy {share:.0%}", fontsize=10)
            heights = [float(weight_measures(network.weights[i])["frobenius_norm"]) for i in square]
            norms.bar([f"L{i}" for i in square], heights, color=layer_colours(len(square)))
            norms.set_ylim(0, 10)
            norms.set_title("Frobenius norm", fontsize=10)
            draw_eigenvalues(plane, eigenvalues(network.weights[hidden_layers - 1][0]), radius=2.0)
            plane.set_title(f"eigenvalues of L{hidden_layers - 1}", fontsize=10)
            listed = ", ".join(f"{height:.1f}" for height in heights)
            words.append(f"{name}: test accuracy {share:.0%}, Frobenius norms {listed}.")
        figure.description = " ".join(words)
        return figure

    start = {"entanglement": entanglements[len(entanglements) // 2], "epoch": max(epochs)}
    return explore(draw, {"entanglement": entanglements, "epoch": epochs}, {"seed": seeds}, start=start)


def mapping_explorer(
    *,
    entanglement: float,
    epochs: Sequence[int],
    batch_sizes: Sequence[int],
    activations: Sequence[str] = ("tanh", "relu"),
    training: Training | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> widgets.VBox:
    """Explore how a hidden layer of two neurons untangles the spirals: the plane as it is, and as the layer maps it.

    Args:
        entanglement: range of φ, radians.
        epochs: values of the first slider, which can be played: the snapshots, ascending; training ends at the last.
        batch_sizes: values of the third slider.
        activations: values of the second slider.
        training: the protocol but for the number of epochs and the batch size.
        seeds: values of a fourth slider for those with a kernel, where a move trains a new network; the page shows
            the first.
    """
    data = spirals(entanglement)

    @lru_cache(maxsize=64)
    def trained(activation: str, batch_size: int, seed: int) -> tuple[Sweep, float]:
        sweep = spiral_sweep(
            activations=[activation],
            entanglements=[entanglement],
            seeds=[seed],
            hidden_layers=1,
            width=2,
            training=replace(training or Training(), epochs=max(epochs), batch_size=batch_size),
            snapshots=epochs,
        )
        # One frame around the whole film, so that what moves is the mapping and not its scale.
        return sweep, 1.05 * max(float(hidden_values(one, data.x).abs().max()) for one in sweep.history.ensembles)

    def draw(epoch: int, activation: str, batch_size: int, seed: int) -> Picture:
        sweep, reach = trained(activation, batch_size, seed)
        network = sweep.history.at(epoch)
        mapped = hidden_values(network, data.x)[0]
        share = float(accuracy(network, sweep.x_test, sweep.y_test))
        figure, (plane, layer) = new_figure(1, 2, width=8, height=4)
        draw_regions(plane, network, 0, data, n_pixels=60)
        plane.set_title(f"the data; test accuracy {share:.0%}", fontsize=10)
        weight, bias = network.weights[-1][0].detach(), network.biases[-1][0].detach()
        line = (weight[1] - weight[0], float(bias[1] - bias[0]))
        draw_mapping(layer, mapped, data.y, separator=line, reach=reach)
        number = int(collapsed_class(mapped, data.y))
        found = "neither class has collapsed" if number < 0 else f"class {number} has collapsed"
        layer.set_title(f"the hidden layer: {found}", fontsize=10)
        figure.description = (
            f"{activation}, batch size {batch_size}, epoch {epoch}: test accuracy {share:.0%}; "
            f"in the plane of the two hidden neurons {found}."
        )
        return figure

    controls = {"epoch": epochs, "activation": activations, "batch_size": batch_sizes}
    start = {"epoch": max(epochs), "batch_size": batch_sizes[len(batch_sizes) // 2]}
    return explore(draw, controls, {"seed": seeds}, start=start, play="epoch")
