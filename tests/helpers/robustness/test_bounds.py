"""Bounds hold at every point of every region, for networks run in float32 too, and are as tight as theory says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.robustness.bounds import certified, differences, interval_bounds, linear_bounds, margins
from helpers.robustness.boxes import Ball, Box, region

QUICK = settings(max_examples=12, deadline=None, derandomize=True)
EVERY = [*ACTIVATIONS, "prelu"]


def random_ensemble(sizes, seed, gain=2.0, names=EVERY):
    """Networks with larger weights than at the start of training, so that their activations bend."""
    made = Ensemble(sizes, names, range(seed, seed + len(names)))
    flat = made.flatten() * gain
    slopes = torch.linspace(-1.5, 1.5, len(names))
    flat[:, -len(sizes) + 2 :] = slopes[:, None]  # PReLU's, negative ones and ones above 1 too
    return made.with_parameters(flat)


def inside(where, n, seed):
    """Random points of the region, many of them on its border."""
    stream = torch.Generator().manual_seed(seed)
    shape = (*where.centre.shape[:2], n, where.centre.shape[2])
    if isinstance(where, Ball):
        step = torch.randn(shape, generator=stream, dtype=torch.float64)
        length = torch.rand(*shape[:3], 1, generator=stream, dtype=torch.float64).mul(1.5).clamp(max=1)
        step = step / step.norm(dim=-1, keepdim=True) * length * where.radius[:, :, None]
    else:
        step = (3 * torch.rand(shape, generator=stream, dtype=torch.float64) - 1.5).clamp(-1, 1)
        step = step * where.half[:, :, None]
    return (where.centre[:, :, None] + step).flatten(1, 2)


CASES = [
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-4, 0.03, 0.3, 3.0]),
    st.sampled_from([0.5, 2.0, 6.0]),
]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("bounds", [interval_bounds, linear_bounds])
@pytest.mark.parametrize("sizes", [[2, 7, 6, 5, 3], [9, 12, 4]])
@QUICK
@given(*CASES)
def test_bounds_hold_on_the_whole_region(bounds, norm, sizes, seed, epsilon, gain):
    ensemble = random_ensemble(sizes, seed, gain).double()
    x = 3 * torch.randn(len(EVERY), 3, sizes[0], generator=torch.Generator().manual_seed(seed))
    where = region(ensemble, x, epsilon, norm=norm)
    found = bounds(ensemble, where)
    for (lower, upper), (_, z) in zip(found, ensemble.pre_activations(inside(where, 40, seed)), strict=True):
        z = z.unflatten(1, (3, 40))
        assert (z >= lower[:, :, None]).all()
        assert (z <= upper[:, :, None]).all()


@pytest.mark.parametrize("bounds", [interval_bounds, linear_bounds])
@pytest.mark.parametrize("sizes", [[2, 50, 50, 50, 50, 50, 2], [300, 64, 10]])
@pytest.mark.parametrize(("seed", "gain"), [(0, 1.0), (1, 3.0)])
def test_bounds_of_a_single_point_hold_for_the_network_in_float32(bounds, sizes, seed, gain):
    # Of a point nothing is left but rounding, so this is what the margin for rounding alone has to cover.
    ensemble = random_ensemble(sizes, seed, gain)
    x = 5 * torch.randn(len(EVERY), 1, sizes[0], generator=torch.Generator().manual_seed(seed))
    double = ensemble.select(slice(None)).double()
    found = bounds(double, region(ensemble, x, 0.0))
    exact = bounds(double, region(ensemble, x, 0.0), rounding=0.0)
    crossed = 0
    passes = zip(found, exact, ensemble.pre_activations(x), strict=True)
    for layer, ((lower, upper), without, (_, z)) in enumerate(passes):
        assert (z >= lower).all()
        assert (z <= upper).all()
        crossed += int(((z < without[0] - 1e-12) | (z > without[1] + 1e-12)).sum())
        if bounds is linear_bounds:
            assert (upper - lower).max() <= 1e-3 * (1 + z.abs().max()) * 4**layer  # and it is small
    assert crossed > 0  # without the margin the bounds would be wrong


@QUICK
@given(*CASES)
def test_linear_bounds_lie_within_intervals(seed, epsilon, gain):
    ensemble = random_ensemble([2, 8, 8, 8, 2], seed, gain).double()
    where = region(ensemble, torch.randn(2, 2, generator=torch.Generator().manual_seed(seed)), epsilon)
    for loose, tight in zip(interval_bounds(ensemble, where), linear_bounds(ensemble, where), strict=True):
        assert (tight[0] >= loose[0] - 1e-9 * (1 + loose[0].abs())).all()
        assert (tight[1] <= loose[1] + 1e-9 * (1 + loose[1].abs())).all()


def gap_at(bounds, epsilon):
    """How much wider than what the network does, over all members, the bounds of the logits are."""
    ensemble = random_ensemble([2, 10, 10, 10, 2], 5, names=["tanh", "silu", "gelu", "elu", "sigmoid"]).double()
    where = region(ensemble, torch.tensor([[0.3, -0.7]]), epsilon)
    z = ensemble(inside(where, 4000, 0)).detach()
    lower, upper = bounds(ensemble, where, rounding=0.0)[-1]
    return float(((upper - lower).detach()[:, 0] - (z.amax(1) - z.amin(1))).max())


def test_linear_bounds_close_in_with_the_square_and_intervals_do_not():
    assert gap_at(linear_bounds, 0.01) < gap_at(linear_bounds, 0.1) / 40
    assert gap_at(interval_bounds, 0.01) > gap_at(interval_bounds, 0.1) / 15
    assert gap_at(linear_bounds, 0.01) < gap_at(interval_bounds, 0.01) / 10


def test_bounds_of_a_linear_network_are_exact():
    # A PReLU of slope 1 is the identity: the network is one matrix, whose extremes are its dual norms.
    ensemble = Ensemble([3, 6, 6, 2], ["prelu"], [4])
    flat = ensemble.flatten()
    flat[:, -2:] = 1.0
    ensemble = ensemble.with_parameters(flat).double()
    w0, w1, w2 = (w[0] for w in ensemble.weights)
    matrix, x = w2 @ w1 @ w0, torch.tensor([[0.2, -1.0, 3.0]])
    middle = ensemble(x.double())[0, 0]
    for norm, dual in (("linf", 1), ("l2", 2)):
        lower, upper = linear_bounds(ensemble, region(ensemble, x, 0.5, norm=norm), rounding=0.0)[-1]
        spread = 0.5 * matrix.norm(p=dual, dim=1)
        torch.testing.assert_close(lower[0, 0], (middle - spread).detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(upper[0, 0], (middle + spread).detach(), rtol=1e-12, atol=1e-12)


def test_differences_take_the_class_against_each_other():
    logits = torch.tensor([[1.0, 5.0, 2.5]]).double()
    rows = differences(torch.tensor([1]), 3)
    assert (rows @ logits[..., None])[0, :, 0].tolist() == [4.0, 0.0, 2.5]


@pytest.mark.parametrize("method", ["linear", "interval"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_margins_and_certificates_agree_with_the_points(method, norm):
    ensemble = random_ensemble([2, 8, 8, 3], 3)
    x = torch.randn(len(EVERY), 30, 2, generator=torch.Generator().manual_seed(1))
    y = ensemble(x).argmax(2)
    y[:, ::7] = (y[:, ::7] + 1) % 3  # some are wrong from the start
    shares = []
    for epsilon in (0.0, 0.01, 0.1, 1.0):
        where = region(ensemble, x, epsilon, norm=norm)
        lower = margins(ensemble, where, y, method=method)
        assert (lower.gather(2, y[..., None]) == math.inf).all()
        proved = certified(ensemble, x, y, epsilon, norm=norm, method=method)
        logits = ensemble(inside(where, 50, 2).float()).double().unflatten(1, (30, 50))
        true = logits.gather(3, y[:, :, None, None].expand(-1, -1, 50, 1)) - logits
        other = torch.ones_like(lower, dtype=torch.bool).scatter(2, y[..., None], False)
        assert (true.amin(2) >= lower - 1e-5)[other].all()
        right = (logits.argmax(3) == y[:, :, None]).all(2)
        assert (right | ~proved).all()
        shares.append(float(proved.double().mean()))
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < shares[1] < 1
    assert shares[0] > shares[-1]


def test_blocks_of_points_make_no_difference(monkeypatch):
    ensemble = random_ensemble([2, 6, 6, 2], 0)
    x, y = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(7, dtype=torch.int64)
    where = region(ensemble, x, 0.1)
    whole, bounds = margins(ensemble, where, y), linear_bounds(ensemble, where)
    monkeypatch.setattr("helpers.robustness.bounds.LARGEST_ARRAY", 1)
    torch.testing.assert_close(margins(ensemble, where, y), whole, rtol=1e-12, atol=1e-12)
    for pair, other in zip(bounds, linear_bounds(ensemble, where), strict=True):
        torch.testing.assert_close(pair, other, rtol=1e-12, atol=1e-12)


def test_a_member_does_not_depend_on_its_neighbours():
    ensemble = random_ensemble([2, 6, 6, 2], 0)
    x, y = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(4, dtype=torch.int64)
    together = margins(ensemble, region(ensemble, x, 0.1), y)
    for k in (0, 5, 10):
        alone = ensemble.select([k])
        found = margins(alone, region(alone, x, 0.1), y)
        torch.testing.assert_close(found[0], together[k], rtol=1e-12, atol=1e-12)


def test_intervals_can_be_differentiated():
    ensemble = random_ensemble([2, 6, 6, 2], 0)
    where = Box(torch.randn(len(EVERY), 4, 2), torch.full((len(EVERY), 4, 2), 0.1))
    lower, upper = interval_bounds(ensemble, where, rounding=0.0)[-1]
    assert lower.dtype == torch.float32
    (upper - lower).sum().backward()
    for weight in ensemble.weights:
        assert weight.grad.isfinite().all()
        assert (weight.grad != 0).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "l1"}, "norm must be one of l2, linf"),
        ({"epsilon": -0.1}, "epsilon must be finite numbers at least 0"),
        ({"epsilon": torch.tensor(math.nan)}, "epsilon must be finite numbers at least 0"),
        ({"method": "magic"}, "method must be one of interval, linear"),
        ({"x": torch.zeros(3, 4)}, r"x must have shape \[1, n_points, 2\] or \[n_points, 2\], got \[3, 4\]"),
        ({"y": torch.zeros(2, dtype=torch.int64)}, r"y must hold classes.*\[1, 3\] or \[3\], got \[2\]"),
        ({"y": torch.zeros(3)}, "y must hold classes, int64"),
        ({"y": torch.tensor([0, 1, 2])}, "y must hold classes from 0 to 1, got 0 to 2"),
    ],
)
def test_bad_input_is_named(wrong, message):
    good = {"x": torch.zeros(3, 2), "y": torch.zeros(3, dtype=torch.int64), "epsilon": 0.1}
    with pytest.raises(ValueError, match=message):
        certified(Ensemble([2, 3, 2], ["relu"], [0]), **(good | wrong))


@pytest.mark.parametrize("output", ["activated", "negated"])
def test_outputs_that_are_not_linear_are_refused(output):
    ensemble = Ensemble([2, 3, 2], ["relu"], [0], output=output)
    with pytest.raises(ValueError, match=f"ensemble must have linear outputs to be bounded, got '{output}' ones"):
        certified(ensemble, torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), 0.1)


def test_one_output_alone_is_refused():
    ensemble = Ensemble([2, 3, 1], ["relu"], [0])
    with pytest.raises(ValueError, match="ensemble must have at least two outputs to be bounded, got 1"):
        certified(ensemble, torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), 0.1)


@pytest.mark.parametrize("method", ["linear", "interval"])
@pytest.mark.parametrize("limits", [(0.0, 1.0), (20.0, -20.0)])
def test_nothing_is_certified_of_points_outside_the_limits_or_where_they_are_swapped(method, limits):
    ensemble, y = Ensemble([2, 3, 2], ["relu"], [0]), torch.tensor([0])
    with pytest.raises(ValueError, match="limits"):
        certified(ensemble, torch.tensor([[5.0, 5.0]]), y, 0.1, method=method, limits=limits)
    assert certified(ensemble, torch.tensor([[5.0, 5.0]]), y, 0.0, method=method, limits=(-20.0, 20.0)).shape == (1, 1)
