"""The explorer of wrong labels, as frames and live."""

import re

import pytest

from helpers.datasets.corruption import LABEL_NOISES
from helpers.datasets.digits import DigitTask
from helpers.explorers import dirty_data as module
from helpers.explorers.dirty_data import DIRTS, dirt_explorer
from helpers.training.protocol import Training

TINY = {
    "task": DigitTask("digits", 12, 60, 30),
    "activations": ["relu", "tanh"],
    "training": Training(epochs=2, batch_size=20),
    "dirts": ["none", "30 % symmetric", "30 % by instance"],
    "seeds": [0, 1],
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "PLANE_TRAINING", Training(epochs=2, batch_size=50))


def alt(picture):
    return re.search(r'alt="([^"]*)"', picture.value)[1]


def test_every_kind_of_dirt_is_offered():
    assert {noise.kind for noise in DIRTS.values()} == set(LABEL_NOISES)
    assert {noise.share for noise in DIRTS.values()} == {0.0, 0.1, 0.3, 0.6}


def test_frames_for_every_combination_trained_together(monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")
    calls, original = [], module.train
    monkeypatch.setattr(module, "train", lambda *a, **o: calls.append(len(a[0])) or original(*a, **o))
    dirt, activation, stack = dirt_explorer(**TINY).children
    assert calls == [6, 6], "digits and the plane"
    assert (dirt.value, activation.value) == ("30 % by instance", "relu")
    words = [[alt(page) for page in outer.children] for outer in stack.children]
    assert words[1][1].startswith("tanh with wrong labels: 30 % symmetric. At the end validation accuracy")
    assert "wrong labels memorised" in words[1][1]
    assert "wrong labels memorised" not in words[0][0], "there are none"
    assert "the labels of 0 of 10 digits are wrong" in words[0][0]
    assert len({text for row in words for text in row}) == 6


def test_live_seed_trains_new_networks_once(monkeypatch):
    monkeypatch.delenv("EXPLORERS", raising=False)
    seeds, original = [], module.train
    monkeypatch.setattr(module, "train", lambda *a, **o: seeds.append(o.get("seeds", [None])[0]) or original(*a, **o))
    dirt, activation, seed, picture, trouble = dirt_explorer(**TINY).children
    first = picture.value
    seed.value = 1
    assert seeds == [0, None, 1, None], "digits and the plane, for each seed"
    assert picture.value != first
    activation.value, dirt.value = "tanh", "none"
    seed.value, activation.value, dirt.value = 0, "relu", "30 % by instance"
    assert seeds == [0, None, 1, None], "digits and the plane, for each seed"
    assert picture.value == first
    assert trouble.value == ""
