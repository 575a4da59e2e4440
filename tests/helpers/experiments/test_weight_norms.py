"""Tables of weights and volumes hold each member's values in their places, and a cost is time over time."""

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from helpers.experiments import weight_norms
from helpers.experiments.sweeps import spiral_sweep
from helpers.experiments.weight_norms import density_cost, volume_results, weight_results
from helpers.metrics.weights import WEIGHT_MEASURES, weight_measures
from helpers.training.protocol import Training

# As many entries as on no other axis, so that no two of them can be mistaken for each other.
AXES = {"activation": ["tanh", "relu"], "entanglement": [2, 5.5, 8.0], "seed": [7, 0, 3, 11]}
MEMBERS = list(product(*AXES.values()))


def make(**changes):
    arguments = {
        **{f"{name}s": values for name, values in AXES.items()},
        "hidden_layers": 3,
        "width": 9,
        "training": Training(epochs=2, batch_size=200, learning_rate=0.01),
        "snapshots": [0, 2],
        "noise": 0.3,
        "train_share": 0.6,
    }
    return spiral_sweep(**(arguments | changes))


@pytest.fixture(scope="module")
def sweep():
    return make()


def at(member):
    return dict(zip(AXES, member, strict=True))


def test_weight_results_have_labels(sweep):
    found = weight_results(sweep)
    assert {*WEIGHT_MEASURES, "train_accuracy", "test_accuracy"} <= set(found.data_vars)
    for name in WEIGHT_MEASURES:
        assert found[name].dims == ("epoch", "layer", *AXES)
    for name in ("train_accuracy", "test_accuracy"):
        assert found[name].dims == ("epoch", *AXES)
    assert {name: found[name].values.tolist() for name in AXES} == AXES
    assert found["epoch"].values.tolist() == [0, 2]
    assert found["layer"].values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("epoch", [0, 2])
def test_weight_results_are_those_of_the_member(sweep, epoch):
    found = weight_results(sweep).sel(epoch=epoch)
    for number, member in enumerate(MEMBERS):
        network = sweep.history.at(epoch).member(number)
        for layer, linear in enumerate(network[::2]):
            row = found.sel(layer=layer, **at(member))
            for name, value in weight_measures(linear.weight).items():
                np.testing.assert_allclose(row[name], value, rtol=1e-6, err_msg=f"{name} of {member}")


def layers_of(network):
    modules = list(network)
    return [nn.Sequential(*modules[i : i + 2]) for i in range(0, len(modules), 2)]


def log_volume_of(matrix):
    """Σ log σᵢ of a Jacobian; −∞ where it lacks full rank."""
    sigma = np.linalg.svd(matrix.numpy(), compute_uv=False)
    return -math.inf if sigma[-1] < 1e-13 * sigma[0] else float(np.log(sigma).sum())


def volumes_by_hand(sweep, number, n_points):
    """log_volume and log_area of a trained member, [layers, points], from automatic Jacobians."""
    layers = layers_of(sweep.history.final.member(number).double())
    volumes, areas = [], []
    for point in sweep.sets["test"][number].x[:n_points].double():
        here, own, so_far = point, [], []
        for i, layer in enumerate(layers):
            own.append(log_volume_of(jacobian(layer, here)))
            so_far.append(log_volume_of(jacobian(nn.Sequential(*layers[: i + 1]), point)))
            here = layer(here).detach()
        volumes.append(own)
        areas.append(so_far)
    return np.array(volumes).T, np.array(areas).T


def test_volume_results_have_labels(sweep):
    found = volume_results(sweep, 5)
    assert set(found.data_vars) == {"log_volume", "log_area", "flattened"}
    for values in found.data_vars.values():
        assert values.dims == ("layer", *AXES)
    assert {name: found[name].values.tolist() for name in AXES} == AXES
    assert found["layer"].values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("n_points", [1, 7])
def test_volume_results_are_medians_of_jacobians(sweep, n_points):
    found = volume_results(sweep, n_points)
    for member in [("tanh", 2, 7), ("tanh", 8.0, 3), ("relu", 5.5, 11), ("relu", 2, 0)]:
        volumes, areas = volumes_by_hand(sweep, sweep.member(**at(member)), n_points)
        here = found.sel(at(member))
        np.testing.assert_allclose(here["log_volume"], np.sort(volumes, axis=1)[:, n_points // 2], atol=1e-6)
        np.testing.assert_allclose(here["log_area"], np.sort(areas, axis=1)[:, n_points // 2], atol=1e-3)
        np.testing.assert_allclose(here["flattened"], np.isneginf(volumes).mean(axis=1))


def test_square_layers_flatten_with_relu_and_not_with_tanh(sweep):
    square = volume_results(sweep).sel(layer=[1, 2])
    assert (square["flattened"].sel(activation="relu") > 0.9).all()
    assert np.isneginf(square["log_volume"].sel(activation="relu")).all()
    assert (square["flattened"].sel(activation="tanh") == 0).all()
    assert np.isfinite(square["log_volume"].sel(activation="tanh")).all()


def test_volume_results_of_many_members_are_those_of_each():
    many = make(seeds=range(18), training=Training(epochs=0), snapshots=None)  # 108, more than one block
    few = make(seeds=[17, 4], training=Training(epochs=0), snapshots=None)
    found = volume_results(many, 3).sel(seed=[17, 4])
    for name, values in volume_results(few, 3).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n_points", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_volume_needs_points(sweep, n_points, error):
    with pytest.raises(error, match=r"^n_points must be .+, got .+\.$"):
        volume_results(sweep, n_points)


def test_density_cost_is_a_ratio_for_each_seed(sweep):
    found = density_cost(sweep, Training(epochs=2, batch_size=200))
    assert found.dims == ("seed",)
    assert found["seed"].values.tolist() == AXES["seed"]
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_density_cost_is_time_over_time(sweep, monkeypatch):
    clock, seen = SimpleNamespace(now=0.0), []

    def spend(what, seconds):
        def work(ensemble, x, *rest, **options):
            clock.now += seconds
            seen.append((what, ensemble, x, rest))

        return work

    monkeypatch.setattr(weight_norms, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(weight_norms, "train", spend("train", 2.0))
    monkeypatch.setattr(weight_norms, "log_volume_change", spend("volume", 3.0))
    training = Training(epochs=5, batch_size=20)
    points, classes = sweep.data("train")
    assert density_cost(sweep, training).values.tolist() == [3.0 / (2.0 * 5)] * len(AXES["seed"])
    for number, seed in enumerate(AXES["seed"]):
        (trained, timed), own = seen[2 * number : 2 * number + 2], [i for i, m in enumerate(MEMBERS) if m[2] == seed]
        assert (trained[0], timed[0]) == ("train", "volume")
        for _, ensemble, x, _ in (trained, timed):
            assert torch.equal(ensemble.flatten(), sweep.history.final.flatten()[own])
            assert torch.equal(x, points[own])
        assert torch.equal(trained[3][0], classes[own])
        assert trained[3][1] == Training(epochs=1, batch_size=20)


def test_density_cost_needs_an_epoch(sweep):
    with pytest.raises(ValueError, match=r"^epochs must be a whole number at least 1, got 0"):
        density_cost(sweep, Training(epochs=0))


def test_volumes_of_embedded_spirals():
    volumes = volume_results(make(codimension=3), 5)
    assert bool(np.isneginf(volumes["log_area"].isel(layer=-1)).all())
    assert bool(np.isfinite(volumes["log_area"].sel(activation="tanh").isel(layer=0)).all())
