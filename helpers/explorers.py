"""Explorers: sliders that move through prepared frames in a published page, and recompute in JupyterLab.

One call builds either. With the environment variable ``EXPLORERS=frames``, which the build of the book sets,
every combination of the controls is drawn beforehand and the sliders are linked to the frames in the browser,
so that no kernel is needed. Without it a move of a slider calls the drawing function.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from PIL import Image

from helpers.datasets import Dataset, measure_spirals, spirals
from helpers.figures import draw_eigenvalues, draw_regions, draw_spirals, layer_colours, new_figure
from helpers.metrics import accuracy, eigenvalues, weight_measures
from helpers.sweeps import Sweep, spiral_sweep
from helpers.training import Training

Drawing = Callable[..., tuple[Figure, str]]

# A palette of this size keeps lines and filled areas clean at a quarter of the weight of full colour.
N_COLOURS = 64
MAX_FRAMES = 120


def frame(figure: Figure, description: str, *, dpi: int = 100) -> str:
    """Return a figure as an ``<img>`` with its description as alternative text, a palette PNG inside."""
    raw = io.BytesIO()
    figure.savefig(raw, dpi=dpi)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(N_COLOURS).save(small, format="PNG", optimize=True)
    data = base64.b64encode(small.getvalue()).decode()
    return f'<img class="frame" alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def explore(
    draw: Drawing,
    controls: Mapping[str, Sequence[Any]],
    live_controls: Mapping[str, Sequence[Any]] | None = None,
) -> widgets.VBox:
    """Build an explorer from a drawing function and one or two sliders.

    Args:
        draw: takes one keyword for each control and returns a figure and its description in words.
        controls: for each of one or two controls its values, in order; the first value is shown first.
        live_controls: further controls for those with a kernel; the page stays at their first value.

    Returns:
        A widget: the sliders above the picture.

    Raises:
        ValueError: there are not one or two controls, a control has fewer than two values, or the page would
            have to carry too many frames.
    """
    if not 1 <= len(controls) <= 2:
        raise ValueError(f"controls must be one or two, got {list(controls)}.")
    for name, values in (dict(controls) | dict(live_controls or {})).items():
        if len(values) < 2:
            raise ValueError(f"controls must have at least two values each, got {list(values)} for {name!r}.")
    n_frames = 1
    for values in controls.values():
        n_frames *= len(values)
    if n_frames > MAX_FRAMES:
        raise ValueError(f"controls must make at most {MAX_FRAMES} frames, got {n_frames}.")
    if os.environ.get("EXPLORERS") == "frames":
        defaults = {name: values[0] for name, values in (live_controls or {}).items()}
        return _prepared(draw, controls, defaults)
    return _live(draw, dict(controls) | dict(live_controls or {}))


def _slider(name: str, values: Sequence[Any]) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        options=[(str(value), value) for value in values],
        description=name.replace("_", " "),
        style={"description_width": "7em"},
        layout={"width": "min(30em, 100%)"},
        continuous_update=False,
    )


def _prepared(draw: Drawing, controls: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> widgets.VBox:
    sliders = [_slider(name, values) for name, values in controls.items()]
    for slider in sliders:
        slider.continuous_update = True
    names = list(controls)

    def stack(chosen: dict[str, Any]) -> widgets.Widget:
        depth = len(chosen)
        if depth == len(names):
            return widgets.HTML(frame(*draw(**chosen, **fixed)))
        name = names[depth]
        pages = widgets.Stack([stack(chosen | {name: value}) for value in controls[name]], selected_index=0)
        widgets.jslink((sliders[depth], "index"), (pages, "selected_index"))
        return pages

    return widgets.VBox([*sliders, stack({})]).add_class("explorer")


def _live(draw: Drawing, controls: Mapping[str, Sequence[Any]]) -> widgets.VBox:
    sliders = {name: _slider(name, values) for name, values in controls.items()}
    picture, trouble = widgets.HTML(), widgets.HTML()

    def redraw(_: object = None) -> None:
        try:
            picture.value = frame(*draw(**{name: slider.value for name, slider in sliders.items()}))
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
    reach = 1.05 * max(
        float(spirals(entanglement, distance=distance, n_per_class=50).x.abs().max())
        for entanglement in (max(entanglements),)
        for distance in (max(distances),)
    )

    def draw(entanglement: float, distance: float) -> tuple[Figure, str]:
        data = spirals(entanglement, distance=distance)
        measured = measure_spirals(data)
        figure, (ax,) = new_figure(1, 1, width=5, height=5)
        draw_spirals(ax, data)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
        found = (
            f"measured: entanglement {measured.entanglement:.2f}, distance {measured.distance:.2f}, "
            f"codimension {measured.codimension}"
        )
        ax.set_title(found, fontsize=10)
        return figure, f"Two spirals of entanglement {entanglement} at distance {distance}; {found}."

    return explore(draw, {"entanglement": entanglements, "distance": distances})


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
        entanglements: values of the first slider, radians; in JupyterLab a move trains new networks.
        epochs: values of the second slider: the snapshots, ascending; the training ends at the last.
        activations: one row each.
        hidden_layers: how many, at least two.
        width: neurons in each.
        training: the protocol but for the number of epochs.
        seeds: values of a third slider for those with a kernel; the page shows the first.
    """
    protocol = training or Training()

    @lru_cache(maxsize=64)
    def trained(entanglement: float, seed: int) -> Sweep:
        return spiral_sweep(
            activations=activations,
            entanglements=[entanglement],
            seeds=[seed],
            hidden_layers=hidden_layers,
            width=width,
            training=Training(
                epochs=max(epochs),
                batch_size=protocol.batch_size,
                learning_rate=protocol.learning_rate,
                optimiser=protocol.optimiser,
                momentum=protocol.momentum,
            ),
            snapshots=epochs,
        )

    def draw(entanglement: float, epoch: int, seed: int) -> tuple[Figure, str]:
        sweep = trained(entanglement, seed)
        ensemble = sweep.history.at(epoch)
        share = accuracy(ensemble, sweep.x_test, sweep.y_test)
        square = range(1, hidden_layers)
        figure, axes = new_figure(len(activations), 3, width=9, height=3 * len(activations))
        words = []
        for row, name in enumerate(activations):
            regions, norms, plane = axes[3 * row : 3 * row + 3]
            draw_regions(regions, ensemble, row, Dataset(sweep.x_train[row], sweep.y_train[row]))
            regions.set_title(f"{name}: test accuracy {share[row]:.0%}", fontsize=10)
            heights = [float(weight_measures(ensemble.weights[i][row])["frobenius_norm"]) for i in square]
            norms.bar([f"L{i}" for i in square], heights, color=layer_colours(len(square)))
            norms.set_ylim(0, 10)
            norms.set_title("Frobenius norm", fontsize=10)
            values = eigenvalues(ensemble.weights[hidden_layers - 1][row])
            draw_eigenvalues(plane, values, radius=2.0)
            plane.set_title(f"eigenvalues of L{hidden_layers - 1}", fontsize=10)
            words.append(
                f"{name}: test accuracy {share[row]:.0%}, Frobenius norms "
                + ", ".join(f"{height:.1f}" for height in heights)
            )
        return figure, f"Entanglement {entanglement}, epoch {epoch}. " + "; ".join(words) + "."

    return explore(draw, {"entanglement": entanglements, "epoch": epochs}, {"seed": seeds})
