"""Regions tile the plane, affine maps are the network, segments are where logits tie, radii are the truth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.datasets.spirals import spirals
from helpers.metrics.regions import LinearRegions, _nearest, linear_regions, true_radii
from helpers.models.ensemble import Ensemble
from helpers.robustness.verification import verify
from helpers.training.protocol import Training
from helpers.training.train import train

PIECEWISE = ("relu", "leaky_relu", "prelu", "abs")
SQUARE = (-4.0, 4.0, -4.0, 4.0)


def networks(names=PIECEWISE, sizes=(2, 12, 12, 12, 2), seed=0):
    ensemble = Ensemble(sizes, names, range(seed, seed + len(names)))
    flat = 3 * ensemble.flatten()
    flat[:, -len(sizes) + 2 :] = torch.linspace(-0.6, 1.7, len(sizes) - 2)  # PReLU's: negative, and above 1
    ensemble = ensemble.with_parameters(flat)
    # Every class wins somewhere: the logits are level over the square.
    grid = torch.cartesian_prod(*2 * [torch.linspace(-4, 4, 21)])
    with torch.no_grad():
        ensemble.biases[-1] -= ensemble(grid).median(dim=1).values
    return ensemble


def logits(ensemble, member, points):
    with torch.no_grad():
        return ensemble.select([member]).double()(torch.as_tensor(points)[None])[0].numpy()


def inside(cut, n, seed=0):
    """Random points of random regions, and the regions' numbers."""
    stream = np.random.default_rng(seed)
    chosen = stream.integers(len(cut), size=n)
    share = stream.dirichlet(np.ones(cut.corners.shape[1]), size=n)
    share *= np.arange(cut.corners.shape[1]) < cut.n_corners[chosen, None]
    share /= share.sum(axis=1, keepdims=True)
    return np.einsum("nc,nci->ni", share, cut.corners[chosen]), chosen


@pytest.mark.parametrize("member", range(4), ids=PIECEWISE)
@pytest.mark.parametrize("sizes", [(2, 12, 12, 12, 2), (2, 6, 3)])
def test_regions_tile_the_rectangle_and_are_affine(member, sizes):
    ensemble = networks(sizes=sizes)
    cut = linear_regions(ensemble, member, (-3.0, 4.0, -4.0, 2.0))
    assert len(cut) > 15
    assert cut.areas.sum() == pytest.approx(42, abs=1e-10)
    assert (cut.areas > 0).all()
    assert (cut.n_corners >= 3).all()
    points, chosen = inside(cut, 2000)
    found = np.einsum("nki,ni->nk", cut.slopes[chosen], points) + cut.offsets[chosen]
    np.testing.assert_allclose(found, logits(ensemble, member, points), rtol=0, atol=1e-10)
    # Neighbours differ: no region could be joined with another along an edge without a kink of some neuron.
    assert len(np.unique(np.round(cut.slopes, 9), axis=0)) > len(cut) / 2


@pytest.mark.parametrize("member", range(4), ids=PIECEWISE)
def test_boundary_is_where_the_two_largest_logits_tie(member):
    for sizes in ((2, 12, 12, 12, 2), (2, 8, 8, 4)):
        ensemble = networks(sizes=sizes, seed=5)
        cut = linear_regions(ensemble, member, SQUARE)
        assert len(cut.segments) > 3
        share = np.linspace(0.001, 0.999, 7)[:, None, None]
        points = cut.segments[:, 0] + share * (cut.segments[:, 1] - cut.segments[:, 0])
        z = logits(ensemble, member, points.reshape(-1, 2)).reshape(7, -1, sizes[-1])
        top = np.sort(z, axis=2)[:, :, -2:]
        np.testing.assert_allclose(top[..., 0], top[..., 1], rtol=0, atol=1e-9)
        tied = np.take_along_axis(z, np.broadcast_to(cut.classes, (7, *cut.classes.shape)), axis=2)
        np.testing.assert_allclose(tied, top, rtol=0, atol=1e-9)
        assert (cut.classes[:, 0] < cut.classes[:, 1]).all()


@pytest.mark.parametrize("member", range(4), ids=PIECEWISE)
def test_no_boundary_is_missed(member):
    # Wherever the class changes along a line through the square, a segment crosses it.
    ensemble = networks(seed=5)
    cut = linear_regions(ensemble, member, SQUARE)
    t = np.linspace(-4, 4, 20001)
    changes = 0
    for height in (-3.1, -1.0, 0.2, 1.7):
        line = np.stack([t, np.full_like(t, height)], axis=1)
        c = logits(ensemble, member, line).argmax(axis=1)
        where = np.flatnonzero(np.diff(c))
        changes += len(where)
        middle = (line[where] + line[where + 1]) / 2
        assert (_nearest(middle, cut.segments, "linf") <= 8 / 20000).all()
    assert changes > 3


def test_regions_of_a_known_network():
    # ReLU of x and y: the four quadrants; the second class wins where max(x, 0) + max(y, 0) > 1.
    ensemble = Ensemble([2, 2, 2], ["relu"], [0])
    flat = torch.tensor([[1.0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0]])
    ensemble = ensemble.with_parameters(flat)
    cut = linear_regions(ensemble, 0, (-2.0, 2.0, -2.0, 2.0))
    assert sorted(cut.areas) == pytest.approx([4, 4, 4, 4])
    assert cut.lengths.sum() == pytest.approx(2 + 2**0.5 + 2)
    assert len(cut.segments) == 3
    points = np.array([[0.0, 0.0], [0.5, 0.0], [-1.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(cut.distances(points), [0.5, 0.25, 1.0, 0.5, 1.0], atol=1e-12)
    l2 = cut.distances(points, norm="l2")
    np.testing.assert_allclose(l2, [0.5**0.5, 0.125**0.5, 1.0, 0.5**0.5, 1.0], atol=1e-12)
    assert cut.distances(np.array([[-1.9, -1.9]]))[0] == np.inf  # the border is nearer: unknown


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(["linf", "l2"]))
def test_distance_to_segments_is_that_to_their_points(seed, norm):
    stream = np.random.default_rng(seed)
    segments = stream.integers(-4, 5, (5, 2, 2)).astype(float)  # horizontal, vertical, diagonal and empty ones too
    segments[0, 1] = segments[0, 0]
    points = stream.integers(-4, 5, (20, 2)) + 0.25 * stream.integers(0, 2, (20, 2))
    dense = segments[:, :1] + np.linspace(0, 1, 4001)[None, :, None] * (segments[:, 1:] - segments[:, :1])
    away = dense.reshape(-1, 2) - points[:, None]
    exact = (np.abs(away).max(axis=2) if norm == "linf" else np.linalg.norm(away, axis=2)).min(axis=1)
    found = _nearest(points, segments, norm)
    assert (found <= exact + 1e-12).all()
    assert (found >= exact - 8 * 2**0.5 / 4000).all()


def test_distance_can_be_to_the_boundaries_of_ones_own_class():
    ensemble = networks(("relu",), (2, 8, 8, 4), seed=5)
    cut = linear_regions(ensemble, 0, SQUARE)
    points = np.random.default_rng(0).uniform(-2, 2, (50, 2))
    y = logits(ensemble, 0, points).argmax(axis=1)
    np.testing.assert_allclose(cut.distances(points, y), cut.distances(points), atol=1e-12)  # the nearest is one's own
    other = cut.distances(points, (y + 1) % 4)
    assert (other >= cut.distances(points)).all()
    assert (other > cut.distances(points)).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_true_radii_lie_in_the_verifiers_brackets(norm):
    data = spirals(6.0, n_per_class=250)
    start = Ensemble([2, 20, 20, 20, 2], PIECEWISE, range(4))
    ensemble = train(start, data.x, data.y, Training(epochs=80), progress=False).final
    x, y = data.x[::10], data.y[::10]
    exact, found = true_radii(ensemble, x, y, 2.0, norm=norm), verify(ensemble, x, y, 2.0, norm=norm)
    right = ensemble(x).argmax(2) == y
    assert right.double().mean() > 0.9
    assert (exact[~right] == 0).all()
    assert (found.certified <= exact).all()
    assert (exact <= found.broken + 1e-5).all()  # a counterexample is seen in float32
    assert exact[right].min() > 0
    assert 0.1 < exact.isfinite().double().mean() < 1
    within = exact.isfinite() & (exact < 1.999)
    torch.testing.assert_close(found.broken[within], exact[within], rtol=0, atol=5e-3)


def test_nothing_within_a_true_radius_and_something_beyond():
    ensemble, x = networks(seed=5), 2 * torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    y = ensemble(x).argmax(2)
    radii = true_radii(ensemble, x, y, 1.0)
    near = radii.isfinite()
    assert near.double().mean() > 0.3
    grid = torch.cartesian_prod(*2 * [torch.linspace(-1, 1, 81, dtype=torch.float64)])
    double = ensemble.select(slice(None)).double()

    def wrong(scale):
        balls = x.double()[:, None] + scale * radii.clamp(max=1.0)[..., None, None] * grid
        return (double(balls.flatten(1, 2)).argmax(2).unflatten(1, (12, -1)) != y[..., None]).any(2)

    assert not wrong(1 - 1e-6).any()
    assert wrong(1.15)[near].double().mean() > 0.9


def test_a_member_is_cut_as_if_alone():
    ensemble = networks()
    alone, together = linear_regions(ensemble.select([2]), 0, SQUARE), linear_regions(ensemble, 2, SQUARE)
    assert isinstance(alone, LinearRegions)
    np.testing.assert_array_equal(alone.corners, together.corners)
    np.testing.assert_array_equal(alone.segments, together.segments)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ensemble": Ensemble([2, 3, 2], ["tanh"], [0])}, "piecewise linear activation .*got 2, tanh and linear"),
        ({"ensemble": Ensemble([3, 3, 2], ["relu"], [0])}, "must have 2 inputs"),
        ({"ensemble": Ensemble([2, 3, 2], ["relu"], [0], output="negated")}, "got 2, relu and negated ones"),
        ({"rectangle": (1.0, 0.0, 0.0, 1.0)}, "rectangle must be left < right"),
        ({"member": 4}, "member must be a whole number at least 0 and at most 3"),
        ({"most": 10}, "most must allow for the network.s regions, got 10"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        linear_regions(**({"ensemble": networks(), "member": 0, "rectangle": SQUARE} | wrong))


def test_points_outside_are_refused():
    cut = linear_regions(networks(), 0, SQUARE)
    with pytest.raises(ValueError, match="points must lie within the rectangle"):
        cut.distances(np.array([[0.0, 5.0]]))
