"""What plots share: values by entries, heights of lines between their points, and numbers in words."""

import numpy as np
import pytest
import xarray as xr

from helpers.figures.panels import as_array, between, chosen, complete, listed


def test_complete_values_have_seeds_and_no_empty_entry():
    values = xr.DataArray([[1.0, np.nan, 3.0], [np.nan] * 3], {"head": ["relu", "abs"], "layer": [1, 2, 3]})
    kept = complete(values, ["head", "layer"])
    assert dict(kept.sizes) == {"seed": 1, "head": 1, "layer": 2}
    assert kept.values.tolist() == [[[1, 3]]]


def test_numbers_by_entries_become_an_array():
    array = as_array({"below": {"relu": 9, "abs": 35}, "above": {"relu": 1}}, ["side", "head"])
    assert float(array.sel(side="below", head="abs")) == 35
    assert bool(array.sel(side="above", head="abs").isnull())
    inner = {side: array.sel(side=side, drop=True) for side in ("below", "above")}
    xr.testing.assert_equal(as_array(inner, ["side", "head"]).reindex_like(array), array)
    assert as_array(array, []) is array


def test_chosen_values_are_those_of_the_dimensions_there_are():
    values = xr.DataArray([1.0, 2.0], {"head": ["relu", "abs"]})
    assert float(chosen(values, {"head": "abs", None: None, "panel": "x"})) == 2
    assert bool(chosen(values, {"head": "tanh"}).isnull())


@pytest.mark.parametrize(
    ("places", "heights"), [([0, 2], [5, 7]), ([1], [6]), ([-1, 3], [np.nan, np.nan]), ([0.5], [5.5])]
)
def test_between_two_points_a_line_is_straight_and_beyond_them_it_is_not(places, heights):
    np.testing.assert_array_equal(between(places, [2, 0, 1], [7, 5, np.nan]), heights)


def test_a_line_without_points_has_no_height():
    np.testing.assert_array_equal(between([1], [1], [np.nan]), [np.nan])


@pytest.mark.parametrize(
    ("numbers", "text"), [([1], "1"), ([1, -2.5], "1 and −2.5"), ([1, float("nan"), 1234.5], "1, none and 1.23e+03")]
)
def test_numbers_are_listed_in_words(numbers, text):
    assert listed(numbers) == text
