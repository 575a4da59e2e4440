"""The study's networks have the layers it lists, and draw all their random numbers from their own seed."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.models.sequential import Dropout, digit_network, perceptron
from helpers.seeding import torch_stream


def shapes(network):
    """Shapes of all parameters, batch norms and slopes left out."""
    return [tuple(p.shape) for p in network.parameters() if p.dim() > 1]


def kinds(network):
    return [type(layer).__name__ for layer in network]


def test_layers_of_the_slides():
    network = digit_network("relu", 0, dropout=0.25)
    assert shapes(network) == [(10, 1, 5, 5), (16, 10, 5, 5), (24, 16, 3, 3), (512, 1176), (128, 512), (10, 128)]
    normed = ["BatchNorm2d", "ReLU"]
    assert kinds(network) == [
        *("Conv2d", *normed, "MaxPool2d", "Conv2d", *normed, "MaxPool2d", "Conv2d", *normed, "Flatten"),
        *("Dropout", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear", "BatchNorm1d", "ReLU", "Linear"),
    ]
    assert network[0].stride == (2, 2)
    assert (network[4].padding, network[8].padding) == ((2, 2), (1, 1))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softsign", "relu"])
def test_missing_last_layer_gives_activated_outputs(name):
    whole, coded = digit_network(name, 3, size=16), digit_network(name, 3, size=16, last_layer=False)
    x = 50 * torch.randn(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert whole(x).shape == (40, 10)
    outputs = coded(x)
    assert outputs.shape == (40, 128)
    low, high = {"sigmoid": (0, 1), "tanh": (-1, 1), "softsign": (-1, 1), "relu": (0, np.inf)}[name]
    assert low <= outputs.min() < outputs.max() <= high
    for mine, same in zip(shapes(coded), shapes(whole), strict=False):
        assert mine == same
    # All weights that both have are the same: the missing layer shifts no draw.
    first, second = (list(network.parameters()) for network in (coded, whole))
    assert len(second) == len(first) + 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=False))


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_plain_perceptron_is_the_ensembles_member(name):
    plain = perceptron([4, 7, 5, 2], name, 9, batch_norm=False)
    member = Ensemble([4, 7, 5, 2], [name], [9]).member(0)
    assert kinds(plain) == kinds(member)
    for mine, same in zip(plain.parameters(), member.parameters(), strict=True):
        assert torch.equal(mine, same)


def test_perceptron_of_the_slides():
    network = perceptron([10, 128, 64, 1], "elu", 0, dropout=0.25)
    normed = ["BatchNorm1d", "ELU"]
    assert kinds(network) == ["Linear", *normed, "Dropout", "Linear", *normed, "Dropout", "Linear"]
    assert "BatchNorm1d" not in kinds(perceptron([10, 128, 64, 1], "elu", 0, batch_norm=False))


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = torch.ones(200, 500)
    layer = Dropout(0.25, torch_stream(0, "dropout"))
    dropped = layer(x)
    assert (dropped == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(dropped.unique(), torch.tensor([0, 1 / 0.75]))
    assert not torch.equal(layer(x), dropped)
    assert layer.eval()(x) is x
    assert Dropout(0.0, torch_stream(0, "dropout"))(x) is x


def test_weights_follow_the_seed_alone_and_leave_the_global_state():
    before = torch.get_rng_state()
    first, again, other = (digit_network("tanh", seed, size=12) for seed in (1, 1, 2))
    for network in (first, again):
        network.train()(torch.zeros(4, 1, 12, 12))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)
    assert isinstance(first[0], nn.Conv2d)


@pytest.mark.parametrize("fan_in_layer", [0, 12])
def test_initial_weights_fill_pytorchs_range(fan_in_layer):
    weight = digit_network("relu", 0, size=28)[fan_in_layer].weight.detach()
    bound = weight[0].numel() ** -0.5
    assert 0.95 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: digit_network("relu", 0, size=10), ValueError, "size must be a whole number at least 11"),
        (lambda: digit_network("relu", 0, n_classes=1), ValueError, "n_classes must be"),
        (lambda: digit_network("relu", 0, dropout=1.0), ValueError, "dropout must be"),
        (lambda: digit_network("relu", 0, batch_norm=1), TypeError, "batch_norm must be true or false"),
        (lambda: digit_network("relu", 0, last_layer="no"), TypeError, "last_layer must be true or false"),
        (lambda: digit_network("step", 0), ValueError, "activation must be one of"),
        (lambda: digit_network("relu", -1), ValueError, "seed must be"),
        (lambda: perceptron([3, 1], "relu", 0), ValueError, "layer_sizes must have an input, at least one hidden"),
        (lambda: perceptron([3, 0, 1], "relu", 0), ValueError, r"layer_sizes\[1\] must be"),
        (lambda: Dropout(-0.1, torch_stream(0, "dropout")), ValueError, "share must be"),
    ],
)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()
