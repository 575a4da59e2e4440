"""One call makes an explorer that turns prepared frames without a kernel, and computes anew with one."""

import re

import nbformat
import pytest
from ipywidgets import HTML, SelectionSlider, Stack
from nbclient import NotebookClient

from helpers import explorers
from helpers.explorers import MAX_FRAMES, explore, spiral_explorer, weight_explorer
from helpers.figures import new_figure
from helpers.training import Training

TINY = {
    "entanglements": [2, 4],
    "epochs": [0, 2],
    "hidden_layers": 2,
    "width": 5,
    "training": Training(epochs=9, batch_size=200, learning_rate=0.05),
    "seeds": [0, 1],
}


@pytest.fixture
def frames(monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")


@pytest.fixture
def live(monkeypatch):
    monkeypatch.delenv("EXPLORERS", raising=False)


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


def sliders_of(explorer):
    return [child for child in explorer.children if isinstance(child, SelectionSlider)]


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
    monkeypatch.setattr(explorers.widgets, "jslink", lambda source, target: links.append((source, target)))
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
        ({}, {}, "controls must be one or two"),
        ({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, {}, "controls must be one or two"),
        ({"a": [1]}, {}, r"at least two values each, got \[1\] for 'a'"),
        ({"a": [1, 2]}, {"live_controls": {"b": [3]}}, r"at least two values each, got \[3\] for 'b'"),
        ({"a": range(MAX_FRAMES + 1)}, {}, f"at most {MAX_FRAMES} frames, got {MAX_FRAMES + 1}"),
        ({"a": [1, 2]}, {"start": {"a": 3}}, "start must name values of the controls, got 3 for 'a'"),
        ({"a": [1, 2]}, {"start": {"b": 1}}, "start must name values of the controls, got 1 for 'b'"),
    ],
)
def test_wrong_controls(controls, options, words):
    draw = Recorder()
    with pytest.raises(ValueError, match=words):
        explore(draw, controls, **options)
    assert draw.calls == []


def test_spirals_open_at_the_longest_and_widest(frames):
    *sliders, stack = spiral_explorer([1, 2], [1, 4]).children
    assert [slider.value for slider in sliders] == [2, 4]
    page = stack.children[1].children[1]
    assert isinstance(page, HTML)
    assert alt(page).startswith("Two spirals of entanglement 2 at distance 4; measured: entanglement 2.0")
    assert alt(stack.children[0].children[0]) != alt(page)


def test_networks_as_frames_are_trained_once(frames, monkeypatch):
    sweeps, sweep = [], explorers.spiral_sweep
    monkeypatch.setattr(explorers, "spiral_sweep", lambda **options: sweeps.append(options) or sweep(**options))
    entanglement, epoch, stack = weight_explorer(**TINY).children
    assert len(sweeps) == 1
    assert sweeps[0]["seeds"] == [0]
    assert sweeps[0]["training"].epochs == 2
    assert sweeps[0]["training"].learning_rate == 0.05
    assert (entanglement.value, epoch.value) == (4, 2)
    words = [alt(page) for outer in stack.children for page in outer.children]
    assert len(set(words)) == 4
    assert words[-1].startswith("Entanglement 4, epoch 2. tanh: test accuracy")
    assert "relu: test accuracy" in words[-1]


def test_live_networks_are_trained_anew_for_another_seed_and_kept(live, monkeypatch):
    seeds, sweep = [], explorers.spiral_sweep
    monkeypatch.setattr(explorers, "spiral_sweep", lambda **o: seeds.extend(o["seeds"]) or sweep(**o))
    entanglement, epoch, seed, picture, trouble = weight_explorer(**TINY).children
    assert seeds == [0]
    at_first = picture.value
    seed.value = 1
    assert seeds == [0, 1]
    assert picture.value != at_first
    entanglement.value, epoch.value = 2, 0
    assert alt(picture).startswith("Entanglement 2, epoch 0.")
    entanglement.value, epoch.value, seed.value = 4, 2, 0
    assert seeds == [0, 1]
    assert picture.value == at_first
    assert trouble.value == ""


def test_live_explorer_in_a_kernel(live, tmp_path):
    source = """
from helpers.explorers import weight_explorer
from helpers.training import Training
explorer = weight_explorer(
    entanglements=[2, 4], epochs=[0, 2], hidden_layers=2, width=5, training=Training(batch_size=200), seeds=[0, 1]
)
*sliders, picture, trouble = explorer.children
seen = {picture.value}
for slider, value in zip(sliders, (2, 0, 1)):
    slider.value = value
    seen.add(picture.value)
print(len(seen), repr(trouble.value))
explorer
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for output in notebook.cells[0].outputs if output.get("name") != "stderr"]  # a missing compiler
    printed, shown = outputs
    assert printed.text == "4 ''\n"
    assert "application/vnd.jupyter.widget-view+json" in shown.data
