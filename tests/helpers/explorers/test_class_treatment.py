"""The film of the mapping, as frames and live."""

import re

from helpers.explorers import class_treatment
from helpers.explorers.class_treatment import mapping_explorer
from helpers.training.protocol import Training

FILM = {
    "activations": ["tanh", "relu"],
    "entanglement": 3,
    "epochs": [0, 1, 4],
    "batch_sizes": [100, 300, 600],
    "training": Training(epochs=99, learning_rate=0.05),
    "seeds": [5, 6],
}


def alt(picture):
    return re.search(r'alt="([^"]*)"', picture.value)[1]


def test_mapping_is_a_film_with_a_frame_for_every_position(frames, monkeypatch):
    sweeps, sweep = [], class_treatment.spiral_sweep
    monkeypatch.setattr(class_treatment, "spiral_sweep", lambda **options: sweeps.append(options) or sweep(**options))
    film, activation, batch_size, stack = mapping_explorer(**FILM).children
    epoch, player = film.children
    assert (player.value, epoch.value, activation.value, batch_size.value) == (2, 4, "tanh", 300)
    pages = [p for outer in stack.children for inner in outer.children for p in inner.children]
    words = [alt(page) for page in pages]
    assert len(set(words)) == 3 * 2 * 3
    assert words[0].startswith("tanh, batch size 100, epoch 0: test accuracy")
    assert all("collapsed" in one for one in words)
    assert len(sweeps) == 2 * 3  # each film is of one training
    assert {options["training"].epochs for options in sweeps} == {4}
    assert {options["training"].batch_size for options in sweeps} == {100, 300, 600}


def test_every_activation_is_offered(frames):
    short = {"activations": ["tanh", "abs", "prelu"], "epochs": [1], "batch_sizes": [300]}
    activation, stack = mapping_explorer(**FILM | short).children
    assert [text for text, _ in activation.options] == ["tanh", "Abs", "PReLU"]
    assert [alt(page).split(",")[0] for page in stack.children] == ["tanh", "Abs", "PReLU"]


def test_mapping_trains_anew_where_a_slider_is_let_go(live, monkeypatch):
    trained, sweep = [], class_treatment.spiral_sweep
    monkeypatch.setattr(
        class_treatment,
        "spiral_sweep",
        lambda **o: trained.append((*o["activations"], *o["seeds"], o["training"].batch_size)) or sweep(**o),
    )
    film, activation, batch_size, seed, picture, trouble = mapping_explorer(**FILM).children
    assert trained == [("tanh", 5, 300)]  # no more than what is shown
    at_first = picture.value
    film.children[0].value = 1
    activation.value = "relu"
    seed.value = 6
    batch_size.value = 600
    assert trained[1:] == [("relu", 5, 300), ("relu", 6, 300), ("relu", 6, 600)]
    assert alt(picture).startswith("ReLU, batch size 600, epoch 1:")
    film.children[0].value, activation.value, seed.value, batch_size.value = 4, "tanh", 5, 300
    assert picture.value == at_first
    assert trouble.value == ""
