"""Zero gradients, dead units and input gradients against autograd, by hand, and against the formulas for chance."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.datasets.spirals import spirals
from helpers.metrics.vanishing import chance_of_dead_unit, chance_of_zero_gradient, dead_unit_share, zero_gradient_share
from helpers.models.ensemble import Ensemble

RNG = np.random.default_rng(0)


def points(n_networks, n_points):
    x = torch.from_numpy(RNG.normal(size=(n_networks, n_points, 2)) * 4).float()
    return x, torch.from_numpy(RNG.integers(0, 2, (n_networks, n_points)))


def test_zero_gradients_are_counted_batch_by_batch():
    ensemble = Ensemble([2, 4, 3, 2], ["relu", "tanh"], [1, 2])
    x, y = points(2, 11)
    found = zero_gradient_share(ensemble, x, y, batch_size=5)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for k in range(2):
        network = ensemble.member(k)
        for batch in (slice(0, 5), slice(5, 10)):  # the last point makes no whole batch
            network.zero_grad()
            F.cross_entropy(network(x[k, batch]), y[k, batch]).backward()
            zeros = [(layer.weight.grad == 0).double().mean() for layer in network[::2]]
            expected[:, k] += torch.stack(zeros) / 2
    torch.testing.assert_close(found, expected)
    assert found[:, 0].max() > 0
    assert found[:, 1].max() == 0
    with pytest.raises(ValueError, match="batch_size must be a whole number at least 1 and at most 11, got 12"):
        zero_gradient_share(ensemble, x, y, batch_size=12)


def test_dead_units_are_off_at_every_point():
    ensemble = Ensemble([2, 4, 2, 2], ["relu", "tanh"], [1, 2])
    with torch.no_grad():
        ensemble.biases[0][:, :3] = torch.tensor([-100.0, 100.0, -100.0])
        ensemble.biases[1][0] = torch.tensor([-1000.0, -1000.0])
    x, _ = points(2, 50)
    found = dead_unit_share(ensemble, x.clamp(-3, 3))
    assert found[0, 0] in (0.5, 0.75)  # two by the bias, perhaps one by chance
    assert found[1, 0] == 1
    torch.testing.assert_close(dead_unit_share(ensemble, x[0]), dead_unit_share(ensemble, x[0].expand(2, -1, -1)))


def test_units_off_or_saturated_to_the_last_bit_are_dead():
    ensemble = Ensemble([5, 8, 4], ["relu", "tanh", "abs"], range(3)).double()
    x = torch.randn(200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert dead_unit_share(ensemble, x).tolist() == [[0, 0, 0]]
    with torch.no_grad():
        ensemble.biases[0][:, :2] = -100.0  # ReLU is off everywhere; tanh is −1 to the last bit, and |z| goes on
    assert dead_unit_share(ensemble, x).tolist() == [[0.25, 0.25, 0]]


def test_chance_of_zero_gradients_by_hand():
    assert chance_of_zero_gradient([2, 1, 2]) == [0.5, 0.5]
    assert chance_of_zero_gradient([2, 1, 1, 2]) == [1 - 0.5 * 0.5, 0.75, 0.5]
    assert chance_of_zero_gradient([3, 2, 2, 2, 4]) == pytest.approx([1 - 0.5 * 0.75**2, 1 - 0.25 * 0.75, 0.75, 0.5])


def test_chance_of_zero_gradients_is_what_untrained_networks_show():
    n = 4000
    ensemble = Ensemble([2, 3, 2, 3, 2], ["relu"] * n, range(n))
    x, y = points(n, 1)
    found = zero_gradient_share(ensemble, x, y, batch_size=1)
    error = found.std(dim=1) / n**0.5
    for measured, expected, allowed in zip(
        found.mean(dim=1), chance_of_zero_gradient([2, 3, 2, 3, 2]), error, strict=True
    ):
        assert abs(measured - expected) < 4 * allowed


def test_chance_of_dead_units_is_what_untrained_units_show():
    x = spirals(2).x[::40] * 0.2  # near the origin, where a bias can win
    expected = chance_of_dead_unit(x)
    n = 2000
    found = dead_unit_share(Ensemble([2, 50, 2], ["relu"] * n, range(n)), x)[0]
    assert 0.01 < expected < 0.5
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / n**0.5


def test_chance_of_a_dead_unit_for_a_square_of_points():
    # h(w) = s(|w₁| + |w₂|) for the corners (±s, ±s); with s → 0 only the sign of the bias counts.
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert chance_of_dead_unit(1e-6 * corners) == pytest.approx(0.5, abs=1e-5)
    # With s = 1: E max(0, c − |w₁| − |w₂|)/2c, |wᵢ| uniform on [0, c]: a tetrahedron of volume c³/6 over 2c · c².
    assert chance_of_dead_unit(corners) == pytest.approx(1 / 12, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(4, 3), r"x must be points in the plane, \[n_points, 2\], got \[4, 3\]"),
        (torch.tensor([[1.0, 0], [2, 0], [2, 1]]), "x must have the origin inside its convex hull"),
    ],
)
def test_points_that_the_formula_does_not_cover_are_refused(x, words):
    with pytest.raises(ValueError, match=words):
        chance_of_dead_unit(x)
