"""What a reader moves in the chapter on class treatment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import ipywidgets as widgets

from helpers.datasets.spirals import spirals
from helpers.experiments.sweeps import Sweep, spiral_sweep
from helpers.explorers.controls import explore
from helpers.figures.drawings import draw_mapping, draw_regions
from helpers.figures.picture import Picture, new_figure
from helpers.metrics.accuracy import accuracy
from helpers.metrics.mappings import collapsed_class
from helpers.names import display
from helpers.training.protocol import Training


def mapping_explorer(
    *,
    activations: Sequence[str],
    entanglement: float,
    epochs: Sequence[int],
    batch_sizes: Sequence[int],
    training: Training | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> widgets.VBox:
    """Explore how a hidden layer of two neurons untangles the spirals: the plane as it is, and as the layer maps it.

    Args:
        activations: values of a slider.
        entanglement: range of φ, radians.
        epochs: values of a slider that can be played: the snapshots, ascending; training ends at the last.
        batch_sizes: values of another slider.
        training: the protocol but for the number of epochs and the batch size.
        seeds: values of another slider for those with a kernel, where a move trains a new network; the page shows
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
        return sweep, 1.05 * max(float(network.hidden(data.x, -1).abs().max()) for network in sweep.history.snapshots)

    def draw(epoch: int, activation: str, batch_size: int, seed: int) -> Picture:
        sweep, limit = trained(activation, batch_size, seed)
        network = sweep.history.at(epoch)
        mapped = network.hidden(data.x, -1)[0]
        share = float(accuracy(network, *sweep.data("test")))
        figure, (plane, layer) = new_figure(1, 2, width=8, height=4)
        draw_regions(plane, network, 0, data, n_pixels=60)
        plane.set_title(f"the data; test accuracy {share:.0%}", fontsize=10)
        weight, bias = network.weights[-1][0].detach(), network.biases[-1][0].detach()
        line = (weight[1] - weight[0], float(bias[1] - bias[0]))
        draw_mapping(layer, mapped, data.y, separator=line, limit=limit)
        number = int(collapsed_class(mapped, data.y))
        treatment = "neither class has collapsed" if number < 0 else f"class {number} has collapsed"
        layer.set_title(f"the hidden layer: {treatment}", fontsize=10)
        figure.description = (
            f"{display(activation)}, batch size {batch_size}, epoch {epoch}: test accuracy {share:.0%}; "
            f"in the plane of the two hidden neurons {treatment}."
        )
        return figure

    controls = {"epoch": epochs, "activation": activations, "batch_size": batch_sizes}
    start = {"epoch": max(epochs), "batch_size": batch_sizes[len(batch_sizes) // 2]}
    return explore(draw, controls, {"seed": seeds}, start=start, play="epoch", thin=["epoch"])
