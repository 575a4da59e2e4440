"""Balls by their definitions: lengths, steepest steps, even samples, nearest points, rounding that stays inside."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.norms import NORMS, check_limits, into_ball, within

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
SEED, SIZE = st.integers(0, 10**6), st.integers(1, 6)
each_norm = pytest.mark.parametrize("name", list(NORMS))
ORDER = {"linf": math.inf, "l2": 2}


def vectors(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@each_norm
def test_length_is_the_norm(name):
    v = vectors(7, 3)
    torch.testing.assert_close(NORMS[name].length(v), torch.linalg.vector_norm(v, ORDER[name], dim=-1))


@each_norm
@QUICK
@given(seed=SEED, n=SIZE, size=st.sampled_from([1e-30, 1e-6, 1.0, 1e6]))
def test_ascent_has_length_one_and_no_unit_vector_rises_more(name, seed, n, size):
    norm = NORMS[name]
    gradient = vectors(n, seed=seed, dtype=torch.float32) * size
    step = norm.ascent(gradient)
    assert float(norm.length(step)) == pytest.approx(1, abs=1e-5)
    dual = {"linf": 1, "l2": 2}[name]
    best = float(torch.linalg.vector_norm(gradient / size, dual))
    assert float((gradient / size) @ step) == pytest.approx(best, rel=1e-5)


@each_norm
def test_zero_gradient_moves_nothing(name):
    assert not NORMS[name].ascent(torch.zeros(4, 3)).any()


@each_norm
@pytest.mark.parametrize("n", [1, 2, 5])
def test_samples_fill_the_ball_evenly(name, n):
    drawn = NORMS[name].sample((20000, n), torch.Generator().manual_seed(0))
    length = NORMS[name].length(drawn)
    assert length.max() <= 1
    # The share of a ball's volume within a share r of its radius is rⁿ.
    for r in (0.3, 0.6, 0.9):
        assert float((length <= r).double().mean()) == pytest.approx(r**n, abs=0.015)
    assert drawn.mean(0).abs().max() < 0.02
    assert torch.equal(drawn, NORMS[name].sample((20000, n), torch.Generator().manual_seed(0)))


@each_norm
@QUICK
@given(seed=SEED, n=SIZE, radius=st.floats(0, 3))
def test_projection_is_the_nearest_point_of_the_ball(name, seed, n, radius):
    norm, v = NORMS[name], 2 * vectors(5, n, seed=seed)
    p = norm.project(v, radius)
    assert (norm.length(p) <= radius * (1 + 1e-12)).all()
    inside = norm.length(v) <= radius
    assert torch.equal(p[inside], v[inside])
    others = radius * norm.sample((200, n), torch.Generator().manual_seed(seed))
    for one, nearest in zip(v, p, strict=True):
        assert ((one - others).norm(dim=1) >= (one - nearest).norm() - 1e-9).all()


@each_norm
@QUICK
@given(
    seed=SEED,
    n=SIZE,
    size=st.sampled_from([0.01, 1.0, 30.0, 1e4]),
    epsilon=st.sampled_from([0.0, 1e-3, 0.3, 2.0]),
    bounded=st.booleans(),
)
def test_result_is_inside_whatever_the_size_of_the_numbers(name, seed, n, size, epsilon, bounded):
    centre = size * vectors(50, n, seed=seed, dtype=torch.float32)
    point = centre + 3 * epsilon * vectors(50, n, seed=seed + 1, dtype=torch.float32)
    limits = (float(centre.min()), float(centre.max())) if bounded else None
    found = into_ball(point, centre, epsilon, NORMS[name], limits)
    assert found.dtype == torch.float32
    length = NORMS[name].length(found.double() - centre.double())
    assert (length <= epsilon * (1 + 1e-12)).all()
    if bounded:
        assert ((found >= limits[0]) & (found <= limits[1])).all()
    if not epsilon:
        assert torch.equal(found, centre)


def test_limits_of_each_coordinate():
    centre = torch.tensor([[0.5, 5.0]])
    low, high = torch.tensor([0.0, 4.0]), torch.tensor([1.0, 5.5])
    found = into_ball(torch.tensor([[-9.0, 9.0]]), centre, 2.0, NORMS["linf"], (low, high))
    assert found.tolist() == [[0.0, 5.5]]


@each_norm
def test_dual_norm_is_what_ascent_attains_and_outward_has_it(name):
    norm, v = NORMS[name], vectors(40, 3)
    torch.testing.assert_close(norm.dual(v), torch.linalg.vector_norm(v, {"linf": 1, "l2": 2}[name], dim=-1))
    torch.testing.assert_close((v * norm.ascent(v)).sum(-1), norm.dual(v))
    out = norm.outward(v)
    torch.testing.assert_close(norm.dual(out), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close((v * out).sum(-1), norm.length(v))


@each_norm
def test_distance_of_a_line_is_attained_at_a_turn(name):
    norm, start, step = NORMS[name], vectors(60, 2), vectors(60, 2, seed=1)
    turns = torch.stack([t.nan_to_num() for t in norm.turns(start, step)])
    least = norm.length(start + turns[..., None] * step).amin(0)
    t = torch.linspace(-50, 50, 20001, dtype=torch.float64)[:, None, None]
    dense = norm.length(start + t * step).amin(0)
    assert (least <= dense + 1e-12).all()
    assert (least >= dense - 5e-3 * norm.length(step)).all()


def test_limits_keep_points_and_are_checked_against_them():
    x = torch.tensor([[0.0, 1.0], [0.5, 0.1]])
    assert within(x, None) is x
    assert within(x, (0.2, torch.tensor([0.4, 2.0]))).tolist() == [
        [pytest.approx(0.2), 1.0],
        [pytest.approx(0.4), pytest.approx(0.2)],
    ]
    for limits in (None, (0.0, 1.0), (torch.tensor([0.0, 0.0]), torch.tensor([0.5, 1.0])), (-math.inf, 1.0)):
        check_limits(limits, x)
    check_limits((torch.zeros(2), torch.tensor([1.0, 0.0])), torch.tensor([[0.3, 0.0]]))  # always the same coordinate
    for limits in ((1.0, 0.0), (0.5, 0.5), (math.nan, 1.0), (torch.tensor([0.0, 2.0]), 1.0)):
        with pytest.raises(
            ValueError, match="limits must be the lowest and the highest value of an input, in this order"
        ):
            check_limits(limits)
    for limits in ((0.2, 1.0), (0.0, torch.tensor([0.5, 0.9]))):
        with pytest.raises(ValueError, match="x must lie within its limits"):
            check_limits(limits, x)
    with pytest.raises(ValueError, match="x must lie within its limits"):
        check_limits((0.0, 1.0), torch.tensor([[math.nan]]))


def test_points_on_a_limit_lie_within_it_in_their_own_precision():
    for limit in (0.1, 0.7):
        check_limits((limit, 2.0), torch.tensor([[limit]]))
        check_limits((-2.0, limit), torch.tensor([[limit]]))
