"""Every point is judged by a network that has not seen it."""

import importlib
import subprocess
import sys

import pytest
import torch
from references import blobs
from torch import nn

from helpers.models.sequential import perceptron
from helpers.training.out_of_sample import out_of_sample
from helpers.training.protocol import Training

module = importlib.import_module("helpers.training.out_of_sample")


def networks(n):
    return [perceptron([3, 16, 3], "relu", seed, batch_norm=False) for seed in range(n)]


TRAINING = Training(epochs=30, batch_size=10, learning_rate=0.01)


def test_no_point_is_predicted_by_a_network_that_has_seen_it(monkeypatch):
    data, seen, asked = blobs(), [], []
    original = module.train

    def spy(copies, x, *arguments, **options):
        seen.extend({row.numpy().tobytes() for row in part} for part in x)
        return original(copies, x, *arguments, **options)

    def ask(network, x):
        asked.append({row.numpy().tobytes() for row in x})
        return torch.zeros(len(x), 3)

    monkeypatch.setattr(module, "train", spy)
    monkeypatch.setattr(module, "evaluate", ask)
    out_of_sample(networks(2), [0, 1], [data, data], Training(epochs=1), n_folds=4)
    assert len(seen) == len(asked) == 8
    for trained_on, judged in zip(seen, asked, strict=True):
        assert not trained_on & judged
        assert len(trained_on) + len(judged) == len(data)
    for one in (asked[:4], asked[4:]):
        assert len(set().union(*one)) == len(data)
    assert asked[:4] != asked[4:], "the folds come from the seed"


def test_folds_keep_the_shares_of_the_labels(monkeypatch):
    parts = []

    def spy(copies, x, y, training, **options):
        parts.extend(y)
        return type("T", (), {"final": copies})

    monkeypatch.setattr(module, "train", spy)
    out_of_sample(networks(1), [0], [blobs(90)], TRAINING, n_folds=3)
    assert [y.bincount().tolist() for y in parts] == [[20, 20, 20]] * 3


def test_a_member_does_not_depend_on_its_neighbours():
    sets = [blobs(60, seed) for seed in range(3)]
    together = out_of_sample(networks(3), [0, 1, 2], sets, Training(epochs=2))
    for k in range(3):
        (alone,) = out_of_sample([networks(3)[k]], [k], [sets[k]], Training(epochs=2))
        assert torch.equal(alone, together[k])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_folds": 1}, "n_folds must be"),
        ({"n_folds": 21}, "n_folds must be at most the number of points of each label, 20, got 21"),
        ({"networks": []}, "networks, seeds and data must have one entry for each"),
        ({"seeds": [0, 1]}, "got 1, 2 and 1"),
    ],
)
def test_wrong_arguments(change, words):
    given = {"networks": networks(1), "seeds": [0], "data": [blobs(60)], "training": TRAINING} | change
    with pytest.raises(ValueError, match=words):
        out_of_sample(**given)


def test_networks_given_are_not_changed():
    (network,) = networks(1)
    before = nn.utils.parameters_to_vector(network.parameters()).clone()
    out_of_sample([network], [0], [blobs(30)], Training(epochs=1), n_folds=2)
    assert torch.equal(nn.utils.parameters_to_vector(network.parameters()), before)


def test_only_folds_need_scikit_learn():
    code = "import sys, helpers.training; print({'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
