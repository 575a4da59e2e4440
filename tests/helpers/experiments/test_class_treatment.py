"""Labelled results on the treatment of the classes are what the measures say of each member."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import cross_entropy

from helpers.datasets.spirals import spirals
from helpers.experiments.class_treatment import (
    batch_size_results,
    batch_size_sweeps,
    gradient_results,
    mapping_results,
    shape_distances,
    width_results,
)
from helpers.experiments.sweeps import spiral_sweep, spiral_sweeps, training_results
from helpers.metrics.mappings import area, collapsed_class, displacement, margin, shape_distance, spread
from helpers.metrics.vanishing import dead_unit_share, zero_gradient_share
from helpers.training.protocol import Training

AXES = {"activations": ["tanh", "relu"], "entanglements": [2, 5], "seeds": [3, 1, 2]}
QUICK = Training(epochs=3, batch_size=200, learning_rate=0.05)
DATA = spirals(5, n_per_class=100)


@pytest.fixture(scope="module")
def sweep():
    return spiral_sweep(**AXES, hidden_layers=2, width=2, training=QUICK, snapshots=[0, 3])


def members(sweep):
    """Each member's place on the axes, in the order of the ensemble."""
    for activation in sweep.axes["activation"]:
        for entanglement in sweep.axes["entanglement"]:
            for seed in sweep.axes["seed"]:
                yield {"activation": activation, "entanglement": entanglement, "seed": seed}


def test_gradients_of_each_member(sweep):
    found = gradient_results(sweep, [1, 20], n_points=40)
    assert found["zero_gradients"].dims == ("points", "epoch", "layer", "activation", "entanglement", "seed")
    for k, where in enumerate(members(sweep)):
        for epoch in (0, 3):
            network = sweep.history.at(epoch).select([k])
            x, y = (part[k : k + 1] for part in sweep.data("train", 40))
            here = found.sel(where | {"epoch": epoch})
            for size in (1, 20):
                expected = zero_gradient_share(network, x, y, batch_size=size)[:, 0]
                np.testing.assert_allclose(here["zero_gradients"].sel(points=size), expected)
            np.testing.assert_allclose(here["dead_units"].sel(layer=[0, 1]), dead_unit_share(network, x)[:, 0])
            assert np.isnan(here["dead_units"].sel(layer=2))
            points = x.clone().requires_grad_()
            loss = cross_entropy(network(points)[0], y[0], reduction="sum")
            expected = torch.autograd.grad(loss, points)[0].norm(dim=2).median()
            np.testing.assert_allclose(here["input_gradient"], expected, rtol=1e-5)
    assert float(found["zero_gradients"].sel(activation="relu", points=1).mean()) > 0.2


def test_mappings_of_each_member(sweep):
    found = mapping_results(sweep, DATA)
    first = mapping_results(sweep, DATA, layer=0)
    for k, where in enumerate(members(sweep)):
        network = sweep.history.at(3).select([k])
        mapped = network.hidden(DATA.x, -1)[0]
        here = found.sel(where | {"epoch": 3})
        for label in (0, 1):
            np.testing.assert_allclose(here["area"].sel({"class": label}), area(mapped[DATA.y == label]), rtol=1e-6)
            np.testing.assert_allclose(here["spread"].sel({"class": label}), spread(mapped[DATA.y == label]), rtol=1e-6)
        collapsed = collapsed_class(mapped, DATA.y).item()
        assert here["collapsed"].item() == (collapsed >= 0)
        assert here["leaning"].item() == {-1: 0, 0: -1, 1: 1}[collapsed]
        np.testing.assert_allclose(found["margin"].sel(where), margin(mapped, DATA.y) / spread(mapped), rtol=1e-5)
        own, none = (here.sel(pairing=pairing) for pairing in ("own", "none"))
        for pairing, images in ((own, mapped), (none, mapped.mean(dim=0, keepdim=True))):
            for name, expected in displacement(DATA.x, images).items():
                np.testing.assert_allclose(pairing[name], expected, rtol=1e-5)
        expected = spread(network.hidden(DATA.x, 0)[0][DATA.y == 1])
        np.testing.assert_allclose(first["spread"].sel(where | {"epoch": 3, "class": 1}), expected, rtol=1e-6)
    shuffled = found["r_squared"].sel(pairing="shuffled")
    assert float(abs(shuffled - found["r_squared"].sel(pairing="own")).min()) > 0


def test_shuffled_images_belong_to_the_seed_alone(sweep):
    single = spiral_sweep(
        activations=["relu"], entanglements=[5], seeds=[1], hidden_layers=2, width=2, training=QUICK, snapshots=[3]
    )
    alone = mapping_results(single, DATA)["r_squared"].sel(pairing="shuffled").item()
    among = mapping_results(sweep, DATA)["r_squared"].sel(
        pairing="shuffled", activation="relu", entanglement=5, seed=1, epoch=3
    )
    assert among.item() == pytest.approx(alone, rel=1e-5)


def test_shape_distances_compare_the_same_seed_or_the_next(sweep):
    np.testing.assert_allclose(shape_distances(sweep, sweep, DATA), 0, atol=1e-9)
    shifted = shape_distances(sweep, sweep, DATA, shift=1)
    mapped = sweep.history.final.hidden(DATA.x, -1)
    for k, where in enumerate(members(sweep)):
        following = k + 1 if k % 3 < 2 else k - 2
        expected = shape_distance(mapped[k], mapped[following]).item()
        assert shifted.sel(where).item() == pytest.approx(expected, abs=1e-9)


def test_sweeps_to_compare_must_have_the_same_axes(sweep):
    fewer = spiral_sweep(**AXES | {"seeds": [3]}, hidden_layers=2, width=2, training=QUICK)
    with pytest.raises(ValueError, match=r"other must have the axes .*'seed': \[3, 1, 2\].*, got .*'seed': \[3\]"):
        shape_distances(sweep, fewer, DATA)


def test_widths_are_measured_with_both_losses():
    options = {**AXES, "hidden_layers": 2}
    protocols = [replace(QUICK, loss=loss) for loss in ("cross_entropy", "binary_cross_entropy")]
    softmax, sigmoid = (
        spiral_sweeps({"width": widths}, training=protocol, snapshots=[0, 3], **options)
        for widths, protocol in zip(([3, 5], [5]), protocols, strict=True)
    )
    found = width_results(softmax, sigmoid, batch_sizes=[10], n_points=20)
    assert list(found["width"].values) == [3, 5]
    assert {values.dims[0] for values in found.values()} == {"width"}
    assert list(found["epoch"].values) == [0, 3]
    np.testing.assert_array_equal(found["loss_difference"].sel(width=5, epoch=0), 0)  # the same functions
    assert bool(found["loss_difference"].sel(width=3).isnull().all())
    alone = [training_results(spiral_sweep(**options, width=5, training=protocol)) for protocol in protocols]
    difference = (alone[0]["test_accuracy"] - alone[1]["test_accuracy"]).isel(epoch=-1)
    np.testing.assert_array_equal(found["loss_difference"].sel(width=5, epoch=3), difference)
    assert float(abs(difference).max()) > 0
    gradients = gradient_results(softmax[0], [10], n_points=20)["zero_gradients"]
    xr.testing.assert_allclose(found["zero_gradients"].sel(width=[3]), gradients, check_dim_order=False)
    assert "loss_difference" not in width_results(softmax[:1], batch_sizes=[10], n_points=20)


def test_batch_sizes_are_compared_at_equal_epochs_and_at_equal_steps():
    options = {**AXES, "hidden_layers": 1, "width": 2}
    standard = spiral_sweep(**options, training=QUICK, snapshots=[0, 3])
    again = batch_size_sweeps(standard, [200, 100, 670], training=QUICK)
    found = batch_size_results(again, standard, DATA)
    assert set(found["shape_distance"].dims) == {"budget", "batch_size", "activation", "entanglement", "seed"}
    assert found["budget"].values.tolist() == ["epochs", "steps"]
    np.testing.assert_allclose(found["shape_distance"].sel(batch_size=200), 0, atol=1e-9)
    # 1340 points are 7 steps of 200 and 14 of 100: an epoch and a half of these are as many steps as three of those;
    # of 670 there are 2, and ten epochs and a half of them.
    for size, epochs in ((100, 2), (670, 10)):
        other = spiral_sweep(**options, training=replace(QUICK, batch_size=size, epochs=epochs))
        expected = shape_distances(standard, other, DATA)
        here = found.sel(budget="steps", batch_size=size)
        np.testing.assert_allclose(here["shape_distance"].transpose(*expected.dims), expected, atol=1e-6)
        collapsed = other.label((collapsed_class(other.history.final.hidden(DATA.x, -1), DATA.y) >= 0).double())
        np.testing.assert_array_equal(here["collapsed_by_batch"].transpose(*expected.dims), collapsed)
    np.testing.assert_allclose(found["seed_distance"], shape_distances(standard, standard, DATA, shift=1))


def test_nonsense_is_refused(sweep):
    with pytest.raises(ValueError, match=r"batch_sizes\[0\] must be a whole number at least 1, got 0"):
        gradient_results(sweep, [0])
    with pytest.raises(ValueError, match="batch_size must be a whole number at least 1 and at most 40, got 41"):
        gradient_results(sweep, [41], n_points=40)
    with pytest.raises(ValueError, match=r"batch_sizes\[0\] must be a whole number at least 1, got 0"):
        batch_size_sweeps(sweep, [0], training=QUICK)
    with pytest.raises(ValueError, match="epoch must be one with a snapshot"):
        batch_size_sweeps(spiral_sweep(**AXES, width=2, training=replace(QUICK, epochs=1)), [10], training=QUICK)
    assert torch.is_grad_enabled()
