"""Boundaries of known shape have the known measures, and exact measures are what fine grids come to."""

import math

import pytest
import torch

from helpers.metrics.boundaries import BOUNDARY_MEASURES, boundary_measures, exact_measures, grid_measures
from helpers.metrics.regions import linear_regions
from helpers.models.ensemble import Ensemble

SQUARE = (-2.0, 2.0, -2.0, 2.0)


def two_class(score):
    return lambda x: torch.stack([torch.zeros(len(x), dtype=x.dtype), score(x)], dim=1)


SHAPES = {
    # score, length, turning, components of class 0 and of class 1 where the score is positive
    "circle": (lambda x: 1 - x.square().sum(1), 2 * math.pi, 2 * math.pi, [1, 1]),
    "square": (lambda x: 1.001 - x.abs().amax(1), 8.008, 2 * math.pi, [1, 1]),
    "ring": (lambda x: 0.5 - (x.norm(dim=1) - 1).abs(), 4 * math.pi, 4 * math.pi, [2, 1]),
    "stripes": (lambda x: torch.cos(math.pi * (x[:, 0] + 0.001)), 16.0, 0.0, [2, 3]),
    "nothing": (lambda x: x[:, 0] + 5, 0.0, 0.0, [0, 1]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_known_shapes_on_a_grid(shape):
    score, length, turning, components = SHAPES[shape]
    found = grid_measures(two_class(score), SQUARE, resolution=300)
    assert found["length_per_area"] == pytest.approx(length / 16, rel=3e-3, abs=1e-12)
    assert found["mean_curvature"] == pytest.approx(turning / length if length else 0, rel=0.01, abs=1e-6)
    assert found["n_components"].tolist() == components
    assert math.isnan(found["n_regions"])


def test_curvature_of_a_circle_is_one_over_its_radius():
    for radius in (0.4, 1.7):
        found = grid_measures(two_class(lambda x, r=radius: r - x.norm(dim=1)), SQUARE)
        assert found["mean_curvature"] == pytest.approx(1 / radius, rel=2e-3)


def test_three_sectors_share_their_boundaries():
    angles = torch.tensor([0.3, 0.3 + 2 * math.pi / 3, 0.3 + 4 * math.pi / 3]).double()
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = grid_measures(lambda x: x @ directions.T, SQUARE, resolution=600)
    # Three rays at 60 degrees to the directions, each as long as it is to the border.
    rays = [angle + math.pi / 3 for angle in angles.tolist()]
    length = sum(2 / max(abs(math.cos(a)), abs(math.sin(a))) for a in rays)
    assert found["length_per_area"] == pytest.approx(length / 16, rel=3e-3)
    assert found["n_components"].tolist() == [1, 1, 1]
    network = Ensemble([2, 2, 3], ["prelu"], [0])  # of slope 1: linear
    flat = torch.cat(
        [torch.eye(2).flatten(), torch.zeros(2), directions.float().flatten(), torch.zeros(3), torch.ones(1)]
    )
    exact = exact_measures(linear_regions(network.with_parameters(flat[None]), 0, SQUARE))
    assert exact["length_per_area"] == pytest.approx(length / 16, rel=1e-6)
    assert exact["n_components"].tolist() == [1, 1, 1]
    assert exact["mean_curvature"] == 0
    assert exact["n_regions"] <= 4


def test_exact_measures_of_a_known_network():
    # ReLU(x) + ReLU(−x) + ReLU(y) + ReLU(−y) = |x| + |y| against 1: a diamond over four quadrants.
    w0 = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    w1 = torch.tensor([[0.0] * 4, [1.0] * 4])
    flat = torch.cat([w0.flatten(), torch.zeros(4), w1.flatten(), torch.tensor([1.0, 0.0, 0.0])])
    network = Ensemble([2, 4, 2], ["relu"], [0]).with_parameters(flat[None])
    found = boundary_measures(network, SQUARE)
    assert {name: value[0].tolist() for name, value in found.items()} == {
        "length_per_area": pytest.approx(4 * 2**0.5 / 16),
        "mean_curvature": pytest.approx(2 * math.pi / (4 * 2**0.5)),
        "n_components": [1.0, 1.0],
        "n_regions": 4.0,
        "n_crossed": 4.0,
    }


def wild(names, seed=5):
    ensemble = Ensemble((2, 10, 10, 10, 2), names, range(seed, seed + len(names)))
    ensemble = ensemble.with_parameters(3 * ensemble.flatten())
    with torch.no_grad():
        ensemble.biases[-1] -= ensemble(torch.cartesian_prod(*2 * [torch.linspace(-2, 2, 21)])).median(dim=1).values
    return ensemble


def test_exact_measures_are_what_fine_grids_come_to():
    ensemble = wild(["relu", "abs", "leaky_relu", "prelu"])
    exact, fine = boundary_measures(ensemble, SQUARE), boundary_measures(ensemble, SQUARE, exact=False, resolution=900)
    assert list(exact) == list(fine) == list(BOUNDARY_MEASURES)
    torch.testing.assert_close(exact["length_per_area"], fine["length_per_area"], rtol=0.01, atol=0)
    torch.testing.assert_close(exact["mean_curvature"], fine["mean_curvature"], rtol=0.15, atol=0)
    assert torch.equal(exact["n_components"], fine["n_components"])
    assert (exact["n_crossed"] <= exact["n_regions"]).all()
    assert (exact["n_crossed"] >= 2).all()


def test_members_are_measured_as_if_alone_each_in_its_way():
    ensemble = wild(["tanh", "relu", "gelu"])
    together = boundary_measures(ensemble, SQUARE, resolution=100)
    assert together["n_regions"].isnan().tolist() == [True, False, True]
    assert together["n_components"].shape == (3, 2)
    for k in range(3):
        alone = boundary_measures(ensemble.select([k]), SQUARE, resolution=100)
        for name in BOUNDARY_MEASURES:
            torch.testing.assert_close(alone[name][0], together[name][k], rtol=1e-9, atol=0, equal_nan=True)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="ensemble must have 2 inputs"):
        boundary_measures(Ensemble([3, 4, 2], ["relu"], [0]), SQUARE)
    with pytest.raises(ValueError, match="piecewise linear activation"):
        boundary_measures(wild(["tanh"]), SQUARE, exact=True)
    with pytest.raises(ValueError, match="resolution must be a whole number at least 3"):
        boundary_measures(wild(["tanh"]), SQUARE, resolution=2)
