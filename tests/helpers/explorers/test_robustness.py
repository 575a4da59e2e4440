"""The explorer of one point's ball: what it says agrees with the verifier."""

import re

import pytest
from ipywidgets import HTML, Stack

from helpers.experiments.sweeps import spiral_sweep
from helpers.explorers.robustness import robustness_explorer
from helpers.training.protocol import Training


@pytest.fixture(scope="module")
def sweep():
    return spiral_sweep(
        activations=["tanh", "relu", "abs"],
        entanglements=[3],
        seeds=[0],
        hidden_layers=2,
        width=12,
        training=Training(epochs=30, learning_rate=0.005),
    )


def explorer(sweep, activations=("tanh", "relu")):
    return robustness_explorer(sweep, entanglement=3, seed=0, epsilons=[0.5, 2.0], n_places=2, activations=activations)


def alts(widget):
    if isinstance(widget, HTML):
        return re.findall(r'alt="([^"]*)"', widget.value)
    return [text for child in getattr(widget, "children", ()) for text in alts(child)]


def test_every_frame_says_what_is_proved_where_the_point_falls_and_what_the_attack_did(sweep, monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")
    widget = explorer(sweep)
    assert any(isinstance(child, Stack) for child in widget.children)
    texts = alts(widget)
    assert len(texts) == 4
    for text in texts:
        epsilon = float(re.search(r"ε = ([\d.]+)", text)[1].rstrip("."))
        for proved, falls, verb in re.findall(
            r"proved to ([\d.]+), (?:falls at ([\d.]+)|holds to 2); the attack (\w+)", text
        ):
            if falls:
                assert float(proved) <= float(falls)
                assert float(falls) <= 2
            if verb == "breaks":
                assert falls
                assert float(falls) <= epsilon + 0.01
        assert text.count("proved to") == 2


def test_every_activation_of_the_sweep_is_offered_beside_the_first(sweep, monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")
    *sliders, stack = explorer(sweep, activations=None).children
    assert sliders[2].options == (("ReLU", "relu"), ("Abs", "abs"))
    texts = alts(stack)
    assert len(texts) == 8
    for text, name in zip(texts, ["ReLU", "Abs"] * 4, strict=True):
        assert re.findall(r"(\w+): proved to", text) == ["tanh", name]


def test_live_explorer_draws_anew(sweep, monkeypatch):
    monkeypatch.delenv("EXPLORERS", raising=False)
    widget = explorer(sweep)
    (first,) = alts(widget)
    slider = next(child for child in widget.children if getattr(child, "description", "") == "ε")
    slider.value = 0.5 if slider.value != 0.5 else 2.0
    (second,) = alts(widget)
    assert first != second
