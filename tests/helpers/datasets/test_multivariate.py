"""Rows obey the hidden rule exactly, and each of the five steps is what it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.datasets.multivariate import (
    FAMILIES,
    TOY_FUNCTIONS,
    ColumnFunction,
    construct,
    draw_functions,
    is_periodic,
    multivariate,
    toy_table,
)


def standardised(columns):
    return (columns - columns.mean(0)) / columns.std(0)


def test_the_slides_own_rows_obey_the_toy_functions():
    # The table of step 5 on the slides, whose last column is y.
    rows = np.array([[3, 5, 3, 5, 3], [4, 2, 2, 2, 1], [1, 3, 4, 1, 5], [5, 1, 5, 3, 4], [2, 4, 1, 4, 2]])
    values = np.stack([f(rows[:, j]) for j, f in enumerate(TOY_FUNCTIONS.values())], axis=1)
    np.testing.assert_allclose(values.mean(1), [6.8, 4.6, 5.4, 8.6, 4.6])


def test_toy_table_shows_the_slides_steps():
    toy = toy_table()
    np.testing.assert_array_equal(toy.domain, np.repeat(np.arange(1, 6)[:, None], 5, axis=1))
    expected = [[2, 0, 1, 2, 9], [3, 1, 4, 4, 8], [4, 2, 9, 6, 7], [5, 3, 16, 8, 6], [6, 4, 25, 10, 5]]
    np.testing.assert_array_equal(toy.values, expected)
    hidden = np.stack([f(toy.x[:, j]) for j, f in enumerate(toy.functions)], axis=1)
    np.testing.assert_array_equal(hidden, toy.shuffled)
    np.testing.assert_allclose(toy.y, toy.shuffled.mean(1))
    assert not np.array_equal(toy.shuffled, toy.values)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 300), st.integers(1, 14), st.integers(0, 10**6))
def test_steps_for_any_number_of_rows_and_columns(n_rows, n_columns, seed):
    made = multivariate(n_rows, n_columns, seed=seed)
    assert made.x.shape == made.values.shape == made.shuffled.shape == (n_rows, n_columns)
    np.testing.assert_allclose(np.sort(made.shuffled, axis=0), np.sort(made.values, axis=0))
    np.testing.assert_allclose(np.sort(made.x, axis=0), standardised(made.domain), atol=1e-9)
    np.testing.assert_allclose(made.x.std(0), 1)
    np.testing.assert_allclose(made.shuffled.std(0), 1)
    np.testing.assert_allclose(made.y, made.shuffled.mean(1))
    # The rule that was hidden, applied to what is shown: undo the standardising of x, redo that of f(x).
    back = made.x * made.domain.std(0) + made.domain.mean(0)
    values = np.stack([f(back[:, j]) for j, f in enumerate(made.functions)], axis=1)
    np.testing.assert_allclose(standardised(values), made.shuffled, atol=1e-6 * max(1, n_rows))


def test_study_sizes():
    made = multivariate()
    assert made.domain[:, 0].tolist() == np.arange(-875, 875, 0.25).tolist()
    assert made.data.x.shape == (7000, 10)
    assert made.data.y.shape == (7000, 1)
    assert made.data.x.dtype == made.data.y.dtype == torch.float32
    assert [f.family for f in made.functions[:5]] == list(FAMILIES)
    assert {f.family for seed in range(20) for f in draw_functions(10, seed=seed)[5:]} == set(FAMILIES)
    every = np.concatenate([f.coefficients for seed in range(200) for f in draw_functions(10, seed=seed)])
    assert -1 <= every.min() < -0.99
    assert 0.99 < every.max() <= 1
    assert every.mean() == pytest.approx(0, abs=0.03)


def test_columns_are_shuffled_apart():
    made = multivariate(2000, 6)
    correlation = np.corrcoef(made.x.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.1
    assert float(made.variances.sum()) == pytest.approx(made.y.var(), rel=0.2)


def test_floor_is_what_is_left_when_all_else_is_known():
    made = multivariate(seed=3)
    blind = [is_periodic(f) for f in made.functions]
    best = made.shuffled[:, ~np.array(blind)].sum(1) / 10  # all that can be said without the periodic columns
    assert made.floor == pytest.approx(sum(blind) / 100)
    assert np.mean((made.y - best - (made.y - best).mean()) ** 2) == pytest.approx(made.floor, rel=0.1)
    assert construct(np.arange(9.0), [np.square, np.exp]).floor == 0


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (ColumnFunction("sine", (2.0,)), 2 * np.sin(3), "2.00 sin x"),
        (ColumnFunction("cosine", (-1.0,)), -np.cos(3), "−1.00 cos x"),
        (ColumnFunction("linear", (2.0, -1.0)), 5, "2.00 x − 1.00"),
        (ColumnFunction("quadratic", (1.0, 2.0, 3.0)), 18, "1.00 x² + 2.00 x + 3.00"),
        (ColumnFunction("cubic", (1.0, 0.0, 0.5, -1.0)), 27.5, "1.00 x³ + 0.00 x² + 0.50 x − 1.00"),
    ],
)
def test_column_functions(function, value, text):
    np.testing.assert_allclose(function(np.array([3.0, 3.0])), value)
    assert str(function) == text


def test_own_functions_and_domains():
    domain = np.stack([np.linspace(0, 1, 40), np.linspace(5, 9, 40)], axis=1)
    made = construct(domain, [np.sqrt, np.log], standardise=False)
    np.testing.assert_allclose(made.y, (np.sqrt(made.x[:, 0]) + np.log(made.x[:, 1])) / 2)
    assert made.functions == (np.sqrt, np.log)
    assert multivariate(50, functions=[np.square] * 3).x.shape == (50, 3)


def test_same_seed_same_data():
    first, again, other = (multivariate(100, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.x, again.x)
    assert first.functions == again.functions
    assert not np.array_equal(first.x, other.x)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: multivariate(1), ValueError, "n_rows must be"),
        (lambda: multivariate(10.0), TypeError, "n_rows must be"),
        (lambda: multivariate(10, 0), ValueError, "n_columns must be"),
        (lambda: multivariate(10, step=0), ValueError, "step must be"),
        (lambda: multivariate(10, seed=-1), ValueError, "seed must be"),
        (lambda: construct(np.arange(5), []), ValueError, "functions must have at least one entry"),
        (lambda: construct(np.zeros((5, 3)), [np.abs]), ValueError, r"domain must hold .* got shape \[5, 3\]"),
        (lambda: construct([1.0, np.nan], [np.abs]), ValueError, "domain must hold at least 2 finite"),
        (lambda: construct(np.arange(5), [np.sum]), ValueError, r"functions\[0\] must return a finite number"),
        (lambda: construct(np.arange(5), [lambda x: x / 0 * 0 + np.inf]), ValueError, r"functions\[0\] must return"),
        (lambda: construct(np.arange(5), [np.zeros_like]), ValueError, "functions must give columns that are not"),
        (lambda: construct(np.ones(5), [np.abs], standardise=True), ValueError, "must give columns"),
        (lambda: ColumnFunction("quartic", (1.0,)), ValueError, "family must be one of"),
        (lambda: ColumnFunction("linear", (1.0,)), ValueError, "coefficients must be 2 numbers for linear, got 1"),
    ],
)
def test_wrong_arguments(call, error, words):
    with np.errstate(all="ignore"), pytest.raises(error, match=words):
        call()
