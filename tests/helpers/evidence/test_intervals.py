"""Intervals against scipy, against known answers and against their own promises."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.evidence import intervals as statistics
from helpers.evidence.intervals import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    interval,
    interval_over,
    paired_interval,
    share_interval,
)

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SEED = st.integers(0, 10**6)


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def ends(found):
    return [found.mean, found.low, found.high]


@pytest.mark.parametrize(
    ("numbers", "spec", "text"),
    [
        ((1.25, -0.5, 3.0), ".2f", "1.25 [−0.50, 3.00]"),
        ((1.25, -0.5, 3.0), ".1e", "1.2e+00 [−5.0e-01, 3.0e+00]"),
        ((1.25, -0.5, 3.0), "+.0%", "+125% [−50%, +300%]"),
        ((-0.004, -0.006, 0.004), ".2f", "0.00 [−0.01, 0.00]"),
        ((-20.0, -30.0, -10.0), ".0f", "−20 [−30, −10]"),
        ((-np.inf, -np.inf, np.inf), ".1f", "−inf [−inf, inf]"),
    ],
)
def test_interval_is_written_with_its_ends(numbers, spec, text):
    assert f"{Interval(*numbers, 7):{spec}}" == text


@pytest.mark.parametrize("values", [normal(20), np.exp(2 * normal(15, 1)), [1, 1, 1, 2], range(3)])
@pytest.mark.parametrize(("confidence", "seed"), [(0.95, 0), (0.8, 5)])
def test_bootstrap_is_scipys(values, confidence, seed):
    expected = stats.bootstrap(
        (np.array(values, dtype=float),),
        np.mean,
        n_resamples=9999,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    found = bootstrap_interval(values, confidence=confidence, seed=seed)
    assert ends(found) == pytest.approx([np.mean(values), *expected], rel=1e-12)
    assert found.n == len(values)


def test_many_normal_values_give_the_interval_of_student():
    values = 3 + 2 * normal(500)
    low, high = stats.t.interval(0.9, 499, loc=values.mean(), scale=stats.sem(values))
    found = bootstrap_interval(values, confidence=0.9)
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.05 * (high - low))


def test_interval_covers_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "N_RESAMPLES", 999)
    found = [bootstrap_interval(5 + sample) for sample in normal((300, 25))]
    below, above = np.mean([i.high < 5 for i in found]), np.mean([i.low > 5 for i in found])
    assert 0.88 < 1 - below - above < 0.99
    assert max(below, above) < 0.07
    narrow = [bootstrap_interval(5 + sample, confidence=0.5) for sample in normal((300, 25))]
    assert 0.4 < np.mean([i.low <= 5 <= i.high for i in narrow]) < 0.6


def test_interval_leans_to_the_long_tail():
    found = bootstrap_interval(np.exp(normal(30)))
    assert found.high - found.mean > 1.2 * (found.mean - found.low)


@settings(QUICK, max_examples=15)
@given(SEED, st.floats(0.1, 10), st.floats(-10, 10))
def test_interval_follows_scale_and_origin(seed, scale, shift):
    values = normal(12, seed)
    before, after = bootstrap_interval(values), bootstrap_interval(scale * values + shift)
    # Rounding decides whether a resample of every value once lies below the mean, one count of 9999.
    assert ends(after) == pytest.approx([scale * end + shift for end in ends(before)], rel=0, abs=1e-3 * scale)


def test_same_values_same_interval():
    values = normal(10)
    first, other = bootstrap_interval(values), bootstrap_interval(values, seed=1)
    normal(1000)
    assert bootstrap_interval(values.tolist()) == first
    assert ends(first) == pytest.approx(ends(other), abs=0.1)
    assert first != other


@pytest.mark.parametrize("values", [[2, 2], [0.1 + 0.2, 0.3, 0.3], [0.0] * 20, [-1e9] * 3])
def test_equal_values_are_a_point(values):
    found = bootstrap_interval(values)
    assert found.low == found.mean == found.high == pytest.approx(values[0])
    assert found.n == len(values)


@pytest.mark.parametrize("values", [[], [1.0], 3.0, [1, np.nan, 2], [1, np.inf], [[1, 2], [3, 4]]])
def test_values_that_have_no_interval(values):
    with pytest.raises(ValueError, match=r"^values must be at least two finite numbers in one dimension, got .*\.$"):
        bootstrap_interval(values)


@pytest.mark.parametrize(
    ("confidence", "error"),
    [(0, ValueError), (1, ValueError), (1.5, ValueError), (-0.1, ValueError), (np.nan, ValueError), ("0.9", TypeError)],
)
def test_confidence_outside_its_range(confidence, error):
    with pytest.raises(error, match=r"^confidence must be .+, got .+\.$"):
        bootstrap_interval([1.0, 2.0, 4.0], confidence=confidence)


@pytest.mark.parametrize("options", [{}, {"confidence": 0.8, "seed": 3}])
def test_paired_interval_is_that_of_the_differences(options):
    first, second = normal(9, 1), normal(9, 2)
    found = paired_interval(first.tolist(), second, **options)
    assert found == bootstrap_interval(first - second, **options)
    assert found.mean == pytest.approx(first.mean() - second.mean())


def test_pairing_takes_away_what_both_share():
    shared = 100 * normal(12, 1)
    found = paired_interval(shared + 1 + 0.01 * normal(12, 2), shared)
    assert 0.9 < found.low < 1 < found.high < 1.1


@pytest.mark.parametrize(("first", "second"), [([1, 2, 3], [1, 2]), ([1, 2, 3], 1), ([1, 2], [[1, 2]])])
def test_values_that_cannot_be_paired(first, second):
    with pytest.raises(ValueError, match=r"^first and second must have the same shape .*, got \(.*\) and \(.*\)\.$"):
        paired_interval(first, second)


@pytest.mark.parametrize(("dim", "axis"), [("seed", 1), ("layer", 0)])
@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_band_is_students(dim, axis, confidence):
    table = normal((4, 7)) * np.array([[1], [10], [0.1], [3]])
    values = xr.DataArray(table, dims=("layer", "seed"), coords={"layer": [2, 3, 5, 7], "seed": range(7)})
    found = interval_over(values, dim, confidence=confidence)
    low, high = stats.t.interval(
        confidence, table.shape[axis] - 1, loc=table.mean(axis=axis), scale=stats.sem(table, axis=axis)
    )
    (kept,) = {"layer", "seed"} - {dim}
    assert list(found.data_vars) == ["mean", "low", "high"]
    for name, expected in (("mean", table.mean(axis=axis)), ("low", low), ("high", high)):
        assert found[name].dims == (kept,)
        np.testing.assert_allclose(found[name], expected, rtol=1e-12)
    assert found[kept].equals(values[kept])


def test_band_is_over_seeds_unless_told():
    values = xr.DataArray(normal((3, 4)), dims=("seed", "layer"))
    assert interval_over(values).equals(interval_over(values, "seed", confidence=0.95))


def test_band_counts_only_seeds_with_a_value():
    table = normal((2, 9))
    some = table.copy()
    some[1, [2, 5]] = np.nan
    bands = interval_over(xr.DataArray(some, dims=("layer", "seed")))
    whole = interval_over(xr.DataArray(table, dims=("layer", "seed")))
    fewer = interval_over(xr.DataArray(np.delete(table[1:], [2, 5], axis=1), dims=("layer", "seed")))
    assert bands.isel(layer=0).equals(whole.isel(layer=0))
    xr.testing.assert_allclose(bands.isel(layer=1), fewer.isel(layer=0))


@pytest.mark.parametrize(("shape", "dim"), [((3, 4), "epoch"), ((3, 1), "seed"), ((3, 0), "seed")])
def test_band_needs_two_entries(shape, dim):
    values = xr.DataArray(np.zeros(shape), dims=("layer", "seed"))
    with pytest.raises(ValueError, match=rf"^values must have at least two entries along '{dim}', got .*'layer': 3"):
        interval_over(values, dim)


@pytest.mark.parametrize(
    ("n_yes", "n", "low", "high"), [(0, 20, 0, 0.16843), (20, 20, 0.83157, 1), (1, 10, 0.0025286, 0.4450161)]
)
def test_shares_have_the_exact_interval(n_yes, n, low, high):
    found = share_interval([True] * n_yes + [False] * (n - n_yes))
    assert (found.mean, found.n) == (n_yes / n, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))
    narrower = share_interval([1] * n_yes + [0] * (n - n_yes), confidence=0.5)
    assert found.low <= narrower.low <= narrower.high <= found.high


@pytest.mark.parametrize("flags", [[], [0.5, 1], [[0, 1]], [np.nan, 1]])
def test_what_is_no_flag_has_no_share(flags):
    with pytest.raises(ValueError, match="flags must be zeros and ones in one dimension, at least one, got"):
        share_interval(flags)


def test_interquartile_mean_is_deaf_to_outliers():
    values = [1.0, 2, 3, 4, 5, 6, 7, 8]
    found = interquartile_mean(values)
    assert found.mean == pytest.approx(4.5)
    assert found.low < 4.5 < found.high
    assert interquartile_mean([*values[:-1], 1e6]).mean == pytest.approx(4.5)
    assert interquartile_mean([3.0, 3.0, 3.0, 3.0]) == Interval(3.0, 3.0, 3.0, 4)
    with pytest.raises(ValueError, match="number of values must be a whole number at least 4, got 3"):
        interquartile_mean([1, 2, 3])


def test_a_scaled_interval_is_that_of_the_scaled_values():
    values = np.random.default_rng(0).exponential(size=12)
    for factor in (100, -3, 0):
        assert ends(bootstrap_interval(values).scaled(factor))[0] == pytest.approx(factor * values.mean())
    assert bootstrap_interval(values).scaled(100).n == 12
    assert f"{Interval(-1.0, -1.25, -0.5, 9).scaled(-2):.1f}" == "2.0 [1.0, 2.5]"


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_one_door_gives_numbers_the_bootstrap_and_flags_the_exact_interval(confidence):
    values = np.random.default_rng(0).exponential(size=12)
    assert interval(values, confidence=confidence) == bootstrap_interval(values, confidence=confidence)
    assert interval(list(values)) == bootstrap_interval(values)
    assert interval(values > 1, confidence=confidence) == share_interval(values > 1, confidence=confidence)
    assert interval([0, 1, 1, 0]) == bootstrap_interval([0, 1, 1, 0])  # numbers that happen to be zeros and ones


def test_seeds_that_were_never_taken_do_not_count():
    values = xr.DataArray([3.0, np.nan, 1.0, 5.0, np.nan], dims="seed")
    assert interval(values) == bootstrap_interval([3.0, 1.0, 5.0])
    assert interval(values > 2) == share_interval([1, 0, 0, 1, 0])
    with pytest.raises(ValueError, match="values must be at least two finite numbers"):
        interval(values.to_numpy())


@pytest.mark.parametrize(("dims", "shape"), [(("layer", "seed"), (1, 3)), (("layer",), (3,)), ((), ())])
def test_only_seeds_are_averaged(dims, shape):
    with pytest.raises(ValueError, match="values must have the dimension seed and no other, got "):
        interval(xr.DataArray(np.ones(shape), dims=dims))
