"""One call makes an explorer that turns prepared frames without a kernel, and computes anew with one."""

import re

import pytest
from ipywidgets import HBox, Play, SelectionSlider, Stack

from helpers.explorers import controls
from helpers.explorers.controls import MAX_FRAMES, explore
from helpers.figures.picture import new_figure


class Recorder:
    """A drawing function that remembers what it was asked for."""

    def __init__(self):
        self.calls = []

    def __call__(self, **chosen):
        self.calls.append(chosen)
        if chosen.get("a") == "bad":
            raise RuntimeError("no <picture>")
        figure, (ax,) = new_figure(1, 1, width=1, height=1)
        figure.description = "; ".join(f"{name}={value}" for name, value in chosen.items())
        ax.set_axis_off()
        return figure


def alt(picture):
    return re.search(r'alt="([^"]*)"', picture.value)[1]


def test_one_control_turns_prepared_frames(frames):
    draw = Recorder()
    explorer = explore(draw, {"a": [3, 1, 2]}, {"seed": [7, 8]}, start={"a": 1})
    slider, stack = explorer.children
    assert draw.calls == [{"a": a, "seed": 7} for a in (3, 1, 2)]
    assert isinstance(stack, Stack)
    assert [alt(page) for page in stack.children] == ["a=3; seed=7", "a=1; seed=7", "a=2; seed=7"]
    assert (slider.index, stack.selected_index, slider.value) == (1, 1, 1)
    assert slider.description == "a"
    assert slider.continuous_update


def test_two_controls_turn_stacks_of_stacks(frames):
    draw = Recorder()
    explorer = explore(draw, {"a": [1, 2], "b_c": ["x", "y", "z"]}, start={"b_c": "z"})
    first, second, stack = explorer.children
    assert [(call["a"], call["b_c"]) for call in draw.calls] == [(a, b) for a in (1, 2) for b in "xyz"]
    assert (first.description, second.description) == ("a", "b c")
    assert stack.selected_index == first.index == 0
    for outer, a in zip(stack.children, (1, 2), strict=True):
        assert outer.selected_index == second.index == 2
        assert [alt(page) for page in outer.children] == [f"a={a}; b_c={b}" for b in "xyz"]


def test_sliders_are_linked_in_the_browser(frames, monkeypatch):
    links = []
    monkeypatch.setattr(controls.widgets, "jslink", lambda source, target: links.append((source, target)))
    explorer = explore(Recorder(), {"a": [1, 2], "b": [1, 2, 3]})
    first, second, stack = explorer.children
    found = {(id(s), s_name, id(t), t_name) for (s, s_name), (t, t_name) in links}
    expected = {(id(first), "index", id(stack), "selected_index")}
    expected |= {(id(second), "index", id(inner), "selected_index") for inner in stack.children}
    assert found == expected


def test_live_explorer_draws_at_every_move(live):
    draw = Recorder()
    explorer = explore(draw, {"a": [1, 2]}, {"seed": [7, 8]}, start={"a": 2})
    first, seed, picture, _ = explorer.children
    assert draw.calls == [{"a": 2, "seed": 7}]
    assert alt(picture) == "a=2; seed=7"
    seed.value = 8
    first.value = 1
    assert draw.calls[1:] == [{"a": 2, "seed": 8}, {"a": 1, "seed": 8}]
    assert alt(picture) == "a=1; seed=8"


def test_an_error_is_shown_raised_and_gone_after_the_next_move(live):
    explorer = explore(Recorder(), {"a": [1, "bad", 2]})
    slider, picture, trouble = explorer.children
    with pytest.raises(RuntimeError, match="no <picture>"):
        slider.value = "bad"
    assert "role='alert'" in trouble.value
    assert "no &lt;picture&gt;" in trouble.value
    assert alt(picture) == "a=1"
    slider.value = 2
    assert trouble.value == ""
    assert alt(picture) == "a=2"


@pytest.mark.parametrize(
    ("controls", "options", "words"),
    [
        ({}, {}, "controls must be one to three"),
        ({name: [1, 2] for name in "abcd"}, {}, "controls must be one to three"),
        ({"a": []}, {}, "at least one value each, got none for 'a'"),
        ({"a": [1, 2]}, {"live_controls": {"b": []}}, "at least one value each, got none for 'b'"),
        ({"a": range(MAX_FRAMES + 1)}, {}, f"at most {MAX_FRAMES} frames, got {MAX_FRAMES + 1}"),
        ({"a": [1, 2], "b": range(MAX_FRAMES)}, {"thin": ["a"]}, f"at most {MAX_FRAMES} frames, got {2 * MAX_FRAMES}"),
        ({"a": [1, 2]}, {"start": {"a": 3}}, "start must name values of the controls, got 3 for 'a'"),
        ({"a": [1, 2]}, {"start": {"b": 1}}, "start must name values of the controls, got 1 for 'b'"),
        ({"a": [1, 2]}, {"play": "b"}, "play and thin must name controls, a, got b"),
        ({"a": [1, 2]}, {"thin": ["c"]}, "play and thin must name controls, a, got c"),
    ],
)
def test_wrong_controls(controls, options, words):
    draw = Recorder()
    with pytest.raises(ValueError, match=words):
        explore(draw, controls, **options)
    assert draw.calls == []


def test_three_controls_turn_stacks_three_deep(frames):
    draw = Recorder()
    *_, stack = explore(draw, {"a": [1, 2], "b": [3, 4], "c": [5, 6]}, start={"b": 4}).children
    assert len(draw.calls) == 8
    assert alt(stack.children[1].children[0].children[1]) == "a=2; b=3; c=6"
    assert [stack.selected_index, stack.children[0].selected_index] == [0, 1]


@pytest.mark.parametrize("way", ["frames", "live"])
def test_a_control_of_one_value_has_no_slider(way, request):
    request.getfixturevalue(way)
    draw = Recorder()
    first, *_ = explore(draw, {"a": [1, 2], "b": [3]}, {"seed": [7]}, start={"a": 2}).children
    assert first.description == "a"
    assert draw.calls[-1] == {"a": 2, "b": 3, "seed": 7}
    alone = explore(draw, {"a": [1], "b": [3]}, play="a")
    assert not [child for child in alone.children if isinstance(child, SelectionSlider | HBox)]
    assert alt(next(child for child in alone.children if "alt=" in child.value)) == "a=1; b=3"


def test_values_are_shown_by_their_display_names(frames):
    slider, _ = explore(Recorder(), {"batch_size": ["relu", "leaky_relu", 0.5]}).children
    assert slider.description == "batch size"
    assert slider.options == (("ReLU", "relu"), ("Leaky ReLU", "leaky_relu"), ("0.5", 0.5))


def test_a_page_leaves_out_values_of_the_controls_that_may_be_thin(frames):
    draw = Recorder()
    controls = {"a": range(12), "b": range(10), "c": range(3)}
    first, second, third, _ = explore(draw, controls, start={"a": 4}, thin=["a"]).children
    kept = [value for _, value in first.options]
    assert len(kept) == MAX_FRAMES // 30 == 4
    assert (kept[0], kept[-1]) == (0, 11)
    assert 4 in kept
    assert first.value == 4
    assert (len(second.options), len(third.options)) == (10, 3)
    assert len(draw.calls) == 120


def test_a_kernel_leaves_out_none(live):
    first, *_ = explore(Recorder(), {"a": range(12), "b": range(20)}, thin=["a"]).children
    assert len(first.options) == 12


@pytest.mark.parametrize("way", ["frames", "live"])
def test_a_control_to_play_has_a_button_linked_in_the_browser(way, request, monkeypatch):
    request.getfixturevalue(way)
    links = []
    monkeypatch.setattr(controls.widgets, "jslink", lambda source, target: links.append((source, target)))
    film, other, *_ = explore(Recorder(), {"a": [1, 2, 3], "b": [1, 2]}, start={"a": 2}, play="a").children
    assert isinstance(film, HBox)
    assert isinstance(other, SelectionSlider)
    slider, player = film.children
    assert isinstance(player, Play)
    assert (player.min, player.max, player.value) == (0, 2, 1)
    assert ((player, "value"), (slider, "index")) in links
