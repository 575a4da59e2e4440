"""Balls by their definitions: lengths, steepest steps, even samples, nearest points, rounding that stays inside."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.norms import NORMS, into_ball

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
    bounds = (float(centre.min()), float(centre.max())) if bounded else None
    found = into_ball(point, centre, epsilon, NORMS[name], bounds)
    assert found.dtype == torch.float32
    length = NORMS[name].length(found.double() - centre.double())
    assert (length <= epsilon * (1 + 1e-12)).all()
    if bounded:
        assert ((found >= bounds[0]) & (found <= bounds[1])).all()
    if not epsilon:
        assert torch.equal(found, centre)


def test_bounds_of_each_coordinate():
    centre = torch.tensor([[0.5, 5.0]])
    low, high = torch.tensor([0.0, 4.0]), torch.tensor([1.0, 5.5])
    found = into_ball(torch.tensor([[-9.0, 9.0]]), centre, 2.0, NORMS["linf"], (low, high))
    assert found.tolist() == [[0.0, 5.5]]
