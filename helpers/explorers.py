"""Explorers: sliders that move through prepared frames in a published page, and recompute in JupyterLab.

One call builds either. With the environment variable ``EXPLORERS=frames``, which the build of the book sets,
every combination of the controls is drawn beforehand and the sliders are linked to the frames in the browser,
so that no kernel is needed. Without it a move of a slider calls the drawing function.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import ipywidgets as widgets

from helpers.datasets import Dataset, measure_spirals, spirals
from helpers.figures import Picture, draw_eigenvalues, draw_regions, draw_spirals, layer_colours, new_figure
from helpers.metrics import accuracy, eigenvalues, weight_measures
from helpers.sweeps import Sweep, spiral_sweep
from helpers.training import Training

Drawing = Callable[..., Picture]

MAX_FRAMES = 120


def explore(
    draw: Drawing,
    controls: Mapping[str, Sequence[Any]],
    live_controls: Mapping[str, Sequence[Any]] | None = None,
    *,
    start: Mapping[str, Any] | None = None,
) -> widgets.VBox:
    """Build an explorer from a drawing function and one or two sliders.

    Args:
        draw: takes one keyword for each control and returns a picture with its description.
        controls: for each of one or two controls its values, in order.
        live_controls: further controls for those with a kernel; the page stays at the value they start with.
        start: value that a control starts with, where that is not its first.

    Returns:
        A widget: the sliders above the picture.

    Raises:
        ValueError: there are not one or two controls, a control has fewer than two values or does not have the
            one it is to start with, or the page would have to carry too many frames.
    """
    if not 1 <= len(controls) <= 2:
        raise ValueError(f"controls must be one or two, got {list(controls)}.")
    every = dict(controls) | dict(live_controls or {})
    for name, values in every.items():
        if len(values) < 2:
            raise ValueError(f"controls must have at least two values each, got {list(values)} for {name!r}.")
    begin = {name: values[0] for name, values in every.items()} | dict(start or {})
    for name, value in begin.items():
        if value not in every.get(name, ()):
            raise ValueError(f"start must name values of the controls, got {value!r} for {name!r}.")
    n_frames = math.prod(len(values) for values in controls.values())
    if n_frames > MAX_FRAMES:
        raise ValueError(f"controls must make at most {MAX_FRAMES} frames, got {n_frames}.")
    if os.environ.get("EXPLORERS") == "frames":
        return _prepared(draw, controls, begin)
    return _live(draw, every, begin)


def _slider(name: str, values: Sequence[Any], value: Any, *, at_once: bool) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        options=[(str(value), value) for value in values],
        value=value,
        description=name.replace("_", " "),
        style={"description_width": "9em"},
        layout={"width": "min(32em, 100%)"},
        continuous_update=at_once,
    )


def _prepared(draw: Drawing, controls: Mapping[str, Sequence[Any]], begin: Mapping[str, Any]) -> widgets.VBox:
    sliders = [_slider(name, values, begin[name], at_once=True) for name, values in controls.items()]
    names = list(controls)

    def stack(chosen: dict[str, Any]) -> widgets.Widget:
        depth = len(chosen)
        if depth == len(names):
            return widgets.HTML(draw(**{**begin, **chosen}).to_html())
        name = names[depth]
        pages = [stack(chosen | {name: value}) for value in controls[name]]
        stacked = widgets.Stack(pages, selected_index=sliders[depth].index)
        widgets.jslink((sliders[depth], "index"), (stacked, "selected_index"))
        return stacked

    return widgets.VBox([*sliders, stack({})]).add_class("explorer")


def _live(draw: Drawing, controls: Mapping[str, Sequence[Any]], begin: Mapping[str, Any]) -> widgets.VBox:
    sliders = {name: _slider(name, values, begin[name], at_once=False) for name, values in controls.items()}
    picture, trouble = widgets.HTML(), widgets.HTML()

    def redraw(_: object = None) -> None:
        try:
            picture.value = draw(**{name: slider.value for name, slider in sliders.items()}).to_html()
            trouble.value = ""
        except Exception as error:
            # An error inside a widget's callback would otherwise vanish; it must be seen and it must fail tests.
            trouble.value = f"<pre role='alert'>{html.escape(repr(error))}</pre>"
            raise

    for slider in sliders.values():
        slider.observe(redraw, "value")
    redraw()
    return widgets.VBox([*sliders.values(), picture, trouble]).add_class("explorer")


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
