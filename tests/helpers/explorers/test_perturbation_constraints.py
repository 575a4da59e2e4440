"""The explorer of constraints tells what a clamp does, as frames and live."""

import re

import pytest
import torch

from helpers.datasets.dataset import Dataset
from helpers.explorers.perturbation_constraints import constraint_explorer
from helpers.models.constraints import value_span
from helpers.models.ensemble import Ensemble


def texts(box):
    """The descriptions of an explorer's prepared frames, in order."""
    found = []
    for child in getattr(box, "children", ()):
        found += texts(child)
    value = getattr(box, "value", "")
    return found + re.findall(r'alt="([^"]+)"', value if isinstance(value, str) else "")


@pytest.fixture
def networks():
    return {name: Ensemble([16, 8, 3], [name] * 2, [0, 1]) for name in ("relu", "abs")}


@pytest.fixture
def data():
    x = torch.rand(40, 16, generator=torch.Generator().manual_seed(1))
    return Dataset(x, torch.arange(40) % 3)


def test_explorer_tells_what_the_clamp_does(networks, data, monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")
    box = constraint_explorer(networks, data, percents=[0, 40, 100], member=1)
    told = texts(box)
    assert len(told) == 6
    network = networks["relu"].select([1])
    hidden = network.hidden(data.x, 0)
    with torch.no_grad():
        logits = network(hidden.clamp(min=float(value_span(network, hidden).at(0.4))), first=1)
    share = float((logits[0].argmax(dim=1) == data.y).double().mean())
    assert f"ReLU clamped from below at 40 percent of its range: {share:.1%} of the digits right" in told[1]
    assert "0% of the hidden values changed, 0 digits no longer right" in told[0]
    assert "0% of the hidden values changed, 0 digits no longer right" in told[5]


def test_explorer_of_one_head_and_in_a_kernel(networks, data, monkeypatch):
    monkeypatch.delenv("EXPLORERS", raising=False)
    box = constraint_explorer({"abs": networks["abs"]}, data, percents=[0, 40, 100])
    assert "Abs clamped from below at 40 percent" in texts(box)[0]
    both = constraint_explorer(networks, data, percents=[0, 40, 100])
    slider = next(child for child in both.children if getattr(child, "description", "") == "head")
    slider.value = "abs"
    assert "Abs clamped from below" in texts(both)[0]
