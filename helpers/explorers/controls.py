"""Controls: sliders that move through prepared frames in a published page, and recompute in JupyterLab.

One call builds either. With the environment variable ``EXPLORERS=frames``, which the build of the book sets,
every combination of the controls is drawn beforehand and the sliders are linked to the frames in the browser,
so that no kernel is needed. Without it a move of a slider calls the drawing function.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from helpers.figures.picture import Picture
from helpers.names import display

Drawing = Callable[..., Picture]

MAX_FRAMES = 120
# Between two frames of a film: slow enough to draw each one anew where a kernel computes them.
FRAME_MILLISECONDS = 400


def explore(
    draw: Drawing,
    controls: Mapping[str, Sequence[Any]],
    live_controls: Mapping[str, Sequence[Any]] | None = None,
    *,
    start: Mapping[str, Any] | None = None,
    play: str | None = None,
    thin: Collection[str] = (),
) -> widgets.VBox:
    """Build an explorer from a drawing function and one to three controls, each a slider over its values.

    Args:
        draw: takes one keyword for each control and returns a picture with its description.
        controls: for each of one to three controls its values, in order; a control of one value gets no slider.
        live_controls: further controls for those with a kernel; the page stays at the value they start with.
        start: value that a control starts with, where that is not its first.
        play: name of a control that gets a button which runs through its values like a film.
        thin: names of controls that may leave out values in between on a page that would carry too many frames.

    Returns:
        A widget: the sliders above the picture.

    Raises:
        ValueError: there are not one to three controls, a control has no value or not the one it is to start with,
            there is no control to play or to thin, or the page would have to carry too many frames.
    """
    if not 1 <= len(controls) <= 3:
        raise ValueError(f"controls must be one to three, got {list(controls)}.")
    every = dict(controls) | dict(live_controls or {})
    for name, values in every.items():
        if not len(values):
            raise ValueError(f"controls must have at least one value each, got none for {name!r}.")
    begin = {name: values[0] for name, values in every.items()} | dict(start or {})
    for name, value in begin.items():
        if value not in every.get(name, ()):
            raise ValueError(f"start must name values of the controls, got {value!r} for {name!r}.")
    if unknown := {*thin, *([play] if play else [])} - set(controls):
        raise ValueError(f"play and thin must name controls, {', '.join(controls)}, got {', '.join(sorted(unknown))}.")
    framed = _thinned(controls, begin, thin)
    if os.environ.get("EXPLORERS") == "frames":
        return _prepared(draw, framed, begin, play)
    return _live(draw, every, begin, play)


def _thinned(
    controls: Mapping[str, Sequence[Any]], begin: Mapping[str, Any], thin: Collection[str]
) -> dict[str, Sequence[Any]]:
    """Leave out values of those with most until there are not too many frames: kept are both ends and the start."""
    counts = {name: len(values) for name, values in controls.items()}
    while math.prod(counts.values()) > MAX_FRAMES:
        most = max(thin, key=lambda name: counts[name], default=None)
        if most is None or counts[most] <= 2:
            raise ValueError(f"controls must make at most {MAX_FRAMES} frames, got {math.prod(counts.values())}.")
        counts[most] -= 1
    kept: dict[str, Sequence[Any]] = {}
    for name, values in controls.items():
        n, first = len(values), list(values).index(begin[name])
        places = [round(k * (n - 1) / max(counts[name] - 1, 1)) for k in range(counts[name])]
        if first not in places:
            places[min(range(1, len(places) - 1), key=lambda k: abs(places[k] - first), default=0)] = first
        kept[name] = [values[place] for place in places]
    return kept


def _slider(name: str, values: Sequence[Any], value: Any, *, at_once: bool) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        options=[(display(value), value) for value in values],
        value=value,
        description=display(name),
        style={"description_width": "9em"},
        layout={"width": "min(32em, 100%)"},
        continuous_update=at_once,
    )


def _sliders(
    controls: Mapping[str, Sequence[Any]], begin: Mapping[str, Any], *, at_once: bool
) -> dict[str, widgets.SelectionSlider]:
    """A slider for each control that has a choice."""
    return {
        name: _slider(name, values, begin[name], at_once=at_once)
        for name, values in controls.items()
        if len(values) > 1
    }


def _rows(sliders: Mapping[str, widgets.SelectionSlider], play: str | None) -> list[widgets.Widget]:
    """The sliders, one below the other; the one to play with its button beside it."""
    return [
        widgets.HBox([slider, _player(slider)]).add_class("film") if name == play else slider
        for name, slider in sliders.items()
    ]


def _player(slider: widgets.SelectionSlider) -> widgets.Play:
    player = widgets.Play(
        min=0, max=len(slider.options) - 1, value=slider.index, interval=FRAME_MILLISECONDS, show_repeat=False
    )
    # In the browser, so that it needs no kernel; a move by hand is where the film goes on from.
    widgets.jslink((player, "value"), (slider, "index"))
    return player


def _prepared(
    draw: Drawing, controls: Mapping[str, Sequence[Any]], begin: Mapping[str, Any], play: str | None
) -> widgets.VBox:
    sliders = _sliders(controls, begin, at_once=True)
    names = list(sliders)

    def stack(chosen: dict[str, Any]) -> widgets.Widget:
        depth = len(chosen)
        if depth == len(names):
            return widgets.HTML(draw(**{**begin, **chosen}).to_html())
        name = names[depth]
        pages = [stack(chosen | {name: value}) for value in controls[name]]
        stacked = widgets.Stack(pages, selected_index=sliders[name].index)
        widgets.jslink((sliders[name], "index"), (stacked, "selected_index"))
        return stacked

    return widgets.VBox([*_rows(sliders, play), stack({})]).add_class("explorer")


def _live(
    draw: Drawing, controls: Mapping[str, Sequence[Any]], begin: Mapping[str, Any], play: str | None
) -> widgets.VBox:
    sliders = _sliders(controls, begin, at_once=False)
    picture, trouble = widgets.HTML(), widgets.HTML()

    def redraw(_: object = None) -> None:
        try:
            picture.value = draw(**{**begin, **{name: slider.value for name, slider in sliders.items()}}).to_html()
            trouble.value = ""
        except Exception as error:
            # An error inside a widget's callback would otherwise vanish; it must be seen and it must fail tests.
            trouble.value = f"<pre role='alert'>{html.escape(repr(error))}</pre>"
            raise

    for slider in sliders.values():
        slider.observe(redraw, "value")
    redraw()
    return widgets.VBox([*_rows(sliders, play), picture, trouble]).add_class("explorer")
