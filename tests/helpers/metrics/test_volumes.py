"""How layers stretch volume and area against automatic Jacobians and known answers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from helpers.metrics.volumes import log_area_change, log_volume_change
from helpers.models.ensemble import Ensemble


def matrix(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def log_product(jacobian):
    """Logarithm of the product of the singular values: |det J|, √det JᵀJ or √det JJᵀ, whichever fits."""
    sigma = np.linalg.svd(jacobian.numpy(), compute_uv=False)
    return -math.inf if sigma[-1] <= 1e-13 * max(sigma[0], 1e-300) else float(np.log(sigma).sum())


def layers_of(network):
    modules = list(network)
    return [nn.Sequential(*modules[i : i + 2]) for i in range(0, len(modules), 2)]


def jacobians_of_layers(network, point):
    found = []
    for layer in layers_of(network):
        found.append(torch.autograd.functional.jacobian(layer, point))
        point = layer(point).detach()
    return found


def jacobians_so_far(network, point):
    layers = layers_of(network)
    return [torch.autograd.functional.jacobian(nn.Sequential(*layers[: i + 1]), point) for i in range(len(layers))]


def compare(function, jacobians, sizes, names, shared=True):
    """The measured logarithms and those of automatic Jacobians, both [layers, networks, points]."""
    ensemble = Ensemble(sizes, names, range(len(names))).double()
    with torch.no_grad():
        for weight in ensemble.weights:
            weight *= 2  # so that tanh bends and no factor is tiny
    x = matrix(*(() if shared else (len(names),)), 6, sizes[0], seed=5)
    found = function(ensemble, x)
    assert found.dtype == torch.float64
    assert found.shape == (len(sizes) - 1, len(names), 6)
    expected = torch.empty_like(found)
    for k in range(len(names)):
        network = ensemble.member(k).double()
        for i, point in enumerate(x if shared else x[k]):
            for layer, jacobian in enumerate(jacobians(network, point)):
                expected[layer, k, i] = log_product(jacobian)
    return found, expected


SHAPES = pytest.mark.parametrize("sizes", [[2, 5, 5, 3, 2], [3, 3, 3, 3], [2, 4, 2], [1, 3, 3, 1]])
JACOBIANS = pytest.mark.parametrize(
    ("function", "jacobians"),
    [(log_volume_change, jacobians_of_layers), (log_area_change, jacobians_so_far)],
)


@JACOBIANS
@SHAPES
@pytest.mark.parametrize("shared", [True, False])
def test_smooth_layers_against_jacobians(function, jacobians, sizes, shared):
    found, expected = compare(function, jacobians, sizes, ["tanh", "silu", "silu", "tanh"], shared)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@JACOBIANS
@SHAPES
def test_relu_layers_against_jacobians(function, jacobians, sizes):
    found, expected = compare(function, jacobians, sizes, ["relu"] * 8 + ["leaky_relu", "prelu", "abs"])
    finite = torch.isfinite(expected)
    assert finite.any()
    assert (~finite[:, :8]).any()
    # det JᵀJ squares the condition number, which switched-off neurons and leaky slopes make large
    torch.testing.assert_close(found[finite], expected[finite], rtol=0, atol=1e-3)
    assert not torch.isnan(found).any()
    assert (found[~finite] < -15).all()


@SHAPES
def test_square_and_narrowing_relu_layers_that_lose_a_neuron_flatten(sizes):
    found, expected = compare(log_volume_change, jacobians_of_layers, sizes, ["relu"] * 8)
    keeps = [n_out <= n_in for n_in, n_out in pairwise(sizes)]
    assert (found[keeps].isneginf() == expected[keeps].isneginf()).all()
    assert expected[keeps].isfinite().any()


@pytest.mark.parametrize("function", [log_volume_change, log_area_change])
def test_plane_pressed_onto_a_line_is_minus_infinity(function):
    ensemble, x = Ensemble([2, 5, 2], ["relu"] * 200, range(200)).double(), matrix(50, 2)
    _, z = next(ensemble.pre_activations(x))
    flat = (z > 0).sum(dim=2) < 2
    assert 0 < flat.sum() < flat.numel()
    assert torch.equal(function(ensemble, x)[0].isneginf(), flat)


@JACOBIANS
def test_single_precision_is_measured_in_double(function, jacobians):
    ensemble = Ensemble([2, 4, 4, 2], ["tanh", "relu"], [0, 1])
    x = matrix(5, 2).float()
    found = function(ensemble, x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, function(ensemble.double(), x.double()), rtol=1e-12, atol=1e-12)


def test_linear_ensemble_known_answer():
    ensemble = Ensemble([2, 2, 2], ["leaky_relu"], [0])
    with torch.no_grad():
        ensemble.weights[0].copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        ensemble.weights[1].copy_(torch.tensor([[0.0, 5.0], [1.0, 0.0]]))
        for bias in ensemble.biases:
            bias.zero_()
    x = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    slopes = [1, 0.01, 0.0001]
    volume, area = log_volume_change(ensemble, x), log_area_change(ensemble, x)
    first = torch.tensor([math.log(6 * s) for s in slopes], dtype=torch.float64)
    torch.testing.assert_close(volume[0, 0], first)
    torch.testing.assert_close(volume[1, 0], torch.full((3,), math.log(5), dtype=torch.float64))
    torch.testing.assert_close(area[0, 0], first)
    torch.testing.assert_close(area[1, 0], first + math.log(5))


@pytest.mark.parametrize(("sizes", "room"), [([3, 5, 2], [True, False]), ([3, 2, 3], [False, False])])
def test_area_is_flattened_where_there_is_no_room(sizes, room):
    ensemble, x = Ensemble(sizes, ["tanh"], [0]), torch.rand(4, 3)
    areas = log_area_change(ensemble, x)
    assert areas.shape == (2, 1, 4)
    assert [bool(area.isfinite().all()) for area in areas] == room
    assert bool(torch.isneginf(areas[-1]).all())
    assert log_volume_change(ensemble, x).isfinite().all()
