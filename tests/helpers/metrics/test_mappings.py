"""Every measure of mapped points on sets whose answer is known, and the images of an epoch from one set of weights."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from torch import nn

from helpers.datasets.spirals import spirals
from helpers.metrics.mappings import (
    area,
    asymmetry,
    collapsed_class,
    displacement,
    effective_rank,
    margin,
    principal_spreads,
    shape_distance,
    spread,
    without_outliers,
)
from helpers.models.ensemble import Ensemble
from helpers.training.protocol import Training
from helpers.training.train import train

RNG = np.random.default_rng(0)
SQUARE = torch.tensor([[1.0, 1.0], [1, -1], [-1, 1], [-1, -1]])
LINE = torch.tensor([[0.0, 0.0], [3, 4], [6, 8]])
POINT = torch.full((5, 2), 7.0)
TWO = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


def both(first, second):
    """Two classes of equal size as one set of points."""
    return torch.cat([first, second])


# ---------------------------------------------------------------------------------------------- hidden values


def images_collected_while_training(ensemble, data, batch_size):
    """What the study's code does: the hidden values of each batch as it comes by, before its update."""
    network = ensemble.member(0)
    optimiser, collected = torch.optim.Adam(network.parameters(), lr=0.05), torch.zeros(len(data), 2)
    for batch in torch.arange(len(data)).split(batch_size):
        hidden = network[:2](data.x[batch])
        collected[batch] = hidden.detach()
        optimiser.zero_grad()
        nn.functional.cross_entropy(network[2:](hidden), data.y[batch]).backward()
        optimiser.step()
    return collected


def test_images_of_an_epoch_come_from_one_set_of_weights():
    data = spirals(3, n_per_class=60)
    ensemble = Ensemble([2, 2, 2], ["tanh"], [4])
    history = train(
        ensemble, data.x, data.y, Training(epochs=2, batch_size=10, learning_rate=0.05), snapshots=[0, 1, 2]
    )
    images = [history.at(epoch).hidden(data.x, -1)[0] for epoch in (0, 1, 2)]
    for epoch, found in enumerate(images):
        weights = history.at(epoch)
        by_hand = torch.tanh(data.x @ weights.weights[0][0].T + weights.biases[0][0])
        torch.testing.assert_close(found, by_hand)
    # One affine map explains what one set of weights makes of all points: exactly here, not for collected images.
    for found, whole in [
        *((one, True) for one in images),
        (images_collected_while_training(ensemble, data, 10), False),
    ]:
        design = torch.cat([data.x, torch.ones(len(data), 1)], dim=1).double()
        before = torch.atanh(found.double().clamp(-1 + 1e-7, 1 - 1e-7))
        unsaturated = (found.abs() < 0.99).all(dim=1)
        left = torch.linalg.lstsq(design[unsaturated], before[unsaturated])
        error = (design[unsaturated] @ left.solution - before[unsaturated]).abs().max()
        assert (error < 1e-3) == whole
    assert min(float((a - b).abs().max()) for a, b in pairwise(images)) > 0.01


# ---------------------------------------------------------------------------------------------- sizes and shapes


def test_sizes_of_a_square_a_line_and_a_point():
    assert principal_spreads(SQUARE).tolist() == [1.0, 1.0]
    assert spread(SQUARE).item() == pytest.approx(math.sqrt(2))
    assert area(SQUARE).item() == pytest.approx(1.0)
    assert area(SQUARE * torch.tensor([2.0, 3.0])).item() == pytest.approx(6.0)
    assert spread(LINE).item() == pytest.approx(5 * math.sqrt(2 / 3))
    assert area(LINE).item() == pytest.approx(0, abs=1e-6)
    assert (spread(POINT).item(), area(POINT).item()) == (0, 0)


def test_effective_rank_counts_directions():
    assert effective_rank(SQUARE).item() == pytest.approx(2)
    assert effective_rank(LINE).item() == pytest.approx(1, abs=1e-6)
    assert effective_rank(POINT).item() == 0
    # Spreads in the proportion 3 : 1 have entropy −¾ ln ¾ − ¼ ln ¼.
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert effective_rank(SQUARE * torch.tensor([3.0, 1.0])).item() == pytest.approx(expected)
    cube = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    assert effective_rank(cube).item() == pytest.approx(3)


def test_area_of_one_neuron_is_none():
    assert area(torch.tensor([[1.0], [2.0]])).item() == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(0.1, 10))
def test_measures_do_not_mind_turning_and_scale_as_they_should(seed, angle, scale):
    points = torch.from_numpy(np.random.default_rng(seed).normal(size=(30, 2)))
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    moved = scale * points @ turn.T + 3
    torch.testing.assert_close(spread(moved), scale * spread(points))
    torch.testing.assert_close(area(moved), scale**2 * area(points))
    torch.testing.assert_close(effective_rank(moved), effective_rank(points))
    assert shape_distance(points, moved).item() == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------------------------------------- classes compared


def test_outliers_are_the_points_farthest_from_the_middle():
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [50, 50], [0.5, 0], [0, 0.5], [9, 0], [0, 2]])
    kept = without_outliers(points, 0.2)
    assert kept.shape == (8, 2)
    assert kept.abs().max() == 2
    assert without_outliers(points, 0).shape == points.shape
    with pytest.raises(ValueError, match="share must be a finite number at least 0 and below 1, got 1"):
        without_outliers(points, 1)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (SQUARE, SQUARE, -1),
        (SQUARE, 5 * SQUARE, 0),  # an area 25 times smaller
        (SQUARE, 3 * SQUARE, -1),
        (SQUARE, 0.05 * SQUARE + 7, 1),
        (SQUARE, 0 * SQUARE, 1),  # a point
        (0 * SQUARE, 0 * SQUARE + 1, -1),  # two points are alike
        (SQUARE, SQUARE * torch.tensor([1.0, 0.0]), 1),  # a line
        (SQUARE * torch.tensor([0.0, 1.0]), SQUARE, 0),
        (SQUARE * torch.tensor([0.0, 1.0]), SQUARE * torch.tensor([1.0, 0.0]), -1),  # two lines are alike
        (SQUARE * torch.tensor([0.0, 1.0]), SQUARE * torch.tensor([0.05, 0.0]), 1),  # unless one is short
    ],
)
def test_which_class_has_collapsed(first, second, expected):
    points = both(first, second)
    assert collapsed_class(points, TWO).item() == expected
    assert collapsed_class(torch.stack([points, both(SQUARE, SQUARE)]), TWO).tolist() == [expected, -1]
    swapped = collapsed_class(both(second, first), TWO).item()
    assert swapped == (expected if expected < 0 else 1 - expected)


def test_a_collapsed_class_may_have_outliers_but_not_many():
    y = torch.arange(40) // 20
    points = torch.from_numpy(RNG.normal(size=(40, 2))).float()
    points[20:] = 0
    points[38:] = torch.tensor([[30.0, -20.0], [20.0, 30.0]])
    assert collapsed_class(points, y).item() == 1
    assert collapsed_class(points, y, outlying=0).item() == 0  # the outliers alone make class 1 the large one
    points[30:] = torch.from_numpy(RNG.normal(size=(10, 2))).float()
    assert collapsed_class(points, y).item() == -1
    assert collapsed_class(points, y, ratio=1.0).item() >= 0


def test_asymmetry_is_the_order_of_magnitude_between_the_areas():
    assert asymmetry(both(SQUARE, SQUARE + 4), TWO).item() == 0
    assert asymmetry(both(SQUARE, 10 * SQUARE), TWO).item() == pytest.approx(2)
    assert asymmetry(both(10 * SQUARE, SQUARE), TWO).item() == pytest.approx(2)
    assert asymmetry(both(0 * SQUARE, 0 * SQUARE), TWO).item() == 0
    flat = SQUARE * torch.tensor([1.0, 0.0])
    assert asymmetry(both(flat, flat.flip(1)), TWO).item() == 0
    assert math.isfinite(asymmetry(both(SQUARE, flat), TWO).item())


# ---------------------------------------------------------------------------------------------- separation


def test_margin_of_two_squares_is_half_their_gap():
    for shift, expected in ((3.0, 0.5), (2.5, 0.25), (2.0, 0.0), (1.0, 0.0), (0.0, 0.0)):
        points = both(SQUARE, SQUARE + torch.tensor([shift, 0.7]))
        assert margin(points, TWO).item() == pytest.approx(expected, abs=1e-3)
    corner = both(SQUARE, SQUARE + 3.0)
    assert margin(corner, TWO).item() == pytest.approx(math.sqrt(2) / 2, abs=1e-3)


def test_margin_takes_the_classes_in_any_order_and_many_networks_at_once():
    points = torch.stack([both(SQUARE + shift, SQUARE - shift) for shift in (2.0, 0.0, 5.0)])
    order = torch.tensor([7, 0, 3, 5, 1, 6, 2, 4])
    found = margin(points[:, order], TWO[order])
    torch.testing.assert_close(
        found, torch.tensor([1.0, 0, 4], dtype=torch.float64) * math.sqrt(2), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("dimensions", [2, 5])
def test_margin_is_that_of_a_real_separator_and_nearly_the_best(dimensions):
    points = torch.from_numpy(RNG.normal(size=(60, dimensions)))
    y = (points[:, 0] > 0).long()
    points[:, 0] += 0.3 * (2.0 * y - 1)
    found = margin(points, y, tolerance=1e-4, n_steps=5000).item()
    assert found >= 0.3 * (1 - 1e-3)
    directions = torch.from_numpy(RNG.normal(size=(20000, dimensions)))
    directions[:, 0] = directions[:, 0].abs() + 2
    heights = points @ (directions / directions.norm(dim=1, keepdim=True)).T
    gaps = (heights[y == 1].amin(0) - heights[y == 0].amax(0)) / 2
    assert found >= gaps.max().item() - 1e-3


# ---------------------------------------------------------------------------------------------- movement


def test_displacement_of_known_mappings():
    x = torch.tensor([[1.0, 0], [0, 2], [-3, 0], [0, -5]])
    for images, slope in ((0 * x, 1.0), (3 * x, 2.0), (-x, 2.0), (0.5 * x, 0.5)):
        line = displacement(x, images)
        assert line["slope"].item() == pytest.approx(slope)
        assert line["r_squared"].item() == pytest.approx(1)
    still = displacement(x, x)
    assert (still["slope"].item(), still["r_squared"].item()) == (0, 0)
    stacked = displacement(x, torch.stack([3 * x, -x, torch.zeros(4, 2)]))
    torch.testing.assert_close(stacked["slope"], torch.tensor([2.0, 2, 1], dtype=torch.float64))


def test_displacement_is_an_ordinary_regression():
    x, images = (torch.from_numpy(RNG.normal(size=(50, 2))) for _ in range(2))
    radius, moved = x.norm(dim=1).numpy(), (x - images).norm(dim=1).numpy()
    slope = np.polyfit(radius, moved, 1)[0]
    found = displacement(x, images)
    assert found["slope"].item() == pytest.approx(slope)
    assert found["r_squared"].item() == pytest.approx(np.corrcoef(radius, moved)[0, 1] ** 2)


def test_shape_distance_is_scipys_disparity():
    first, second = (RNG.normal(size=(30, 2)) for _ in range(2))
    expected = procrustes(first, second)[2]
    found = shape_distance(torch.from_numpy(first), torch.from_numpy(second))
    assert found.item() == pytest.approx(expected)
    assert 0.1 < expected < 1


def test_pictures_without_extent():
    assert shape_distance(POINT, POINT + 1).item() == 0
    assert shape_distance(POINT[:4], SQUARE).item() == 1
