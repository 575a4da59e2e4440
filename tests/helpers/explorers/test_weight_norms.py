"""The explorers of the chapter on weights, as frames and live."""

import re

import nbformat
from ipywidgets import HTML
from nbclient import NotebookClient

from helpers.explorers import weight_norms as explorers
from helpers.explorers.weight_norms import spiral_explorer, weight_explorer
from helpers.training.protocol import Training

TINY = {
    "activations": ["tanh", "relu"],
    "entanglements": [2, 4],
    "epochs": [0, 2],
    "hidden_layers": 2,
    "width": 5,
    "training": Training(epochs=9, batch_size=200, learning_rate=0.05),
    "seeds": [0, 1],
}


def alt(picture):
    return re.search(r'alt="([^"]*)"', picture.value)[1]


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
    assert "ReLU: test accuracy" in words[-1]


def test_every_activation_is_offered_beside_the_first(frames):
    *sliders, stack = weight_explorer(**TINY | {"activations": ["abs", "relu", "leaky_relu"]}).children
    assert sliders[2].options == (("ReLU", "relu"), ("Leaky ReLU", "leaky_relu"))
    for page, name in zip(stack.children[0].children[0].children, ("ReLU", "Leaky ReLU"), strict=True):
        assert re.findall(r"([\w ]+): test accuracy", alt(page)) == [" Abs", f" {name}"]


def test_one_activation_stands_alone(frames):
    *sliders, stack = weight_explorer(**TINY | {"activations": ["abs"]}).children
    assert len(sliders) == 2
    assert re.findall(r"([\w ]+): test accuracy", alt(stack.children[0].children[0])) == [" Abs"]


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
from helpers.explorers.weight_norms import weight_explorer
from helpers.training.train import Training
explorer = weight_explorer(
    activations=["tanh", "relu"], entanglements=[2, 4],
    epochs=[0, 2], hidden_layers=2, width=5, training=Training(batch_size=200), seeds=[0, 1]
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
