"""Gathered results hold every value of every part at its place, and parts that do not fit are refused."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from helpers.evidence.gathering import Execution, gather, grid_provenance
from helpers.evidence.results import load, made_by, save


def part(chosen, data, **facts):
    made = {"parameters": dict(chosen), "commit": None}
    return Execution(chosen, data.assign_attrs(provenance=json.dumps(made)), facts)


def by_seed(chosen, seeds, start=0.0, name="loss"):
    """A result with one value for each seed."""
    return part(chosen, xr.Dataset({name: ("seed", start + np.arange(len(seeds)))}, coords={"seed": seeds}))


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(0.1, 9), min_size=1, max_size=3, unique=True),
    st.randoms(),
)
def test_every_value_of_a_grid_is_at_its_place(widths, rates, random):
    parts = [by_seed({"width": w, "rate": r}, [3, 5], start=100 * w + r) for w in widths for r in rates]
    random.shuffle(parts)
    whole = gather(parts)
    assert set(whole.dims) == {"width", "rate", "seed"}
    assert whole.sizes == {"width": len(widths), "rate": len(rates), "seed": 2}
    for p in parts:
        np.testing.assert_array_equal(whole["loss"].sel(p.chosen), p.data["loss"])


def test_values_keep_the_order_in_which_they_were_asked_for():
    whole = gather([by_seed({"rate": rate}, [0]) for rate in (3, 1, 2)])
    assert whole["rate"].values.tolist() == [3, 1, 2]


def test_different_labels_are_all_there_and_what_lacks_is_missing():
    parts = [by_seed({"n": 1}, [0, 1]), by_seed({"n": 2}, [1, 2], start=10)]
    loss = gather(parts)["loss"]
    assert loss["seed"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(loss, [[0, 1, np.nan], [np.nan, 10, 11]])


def test_variables_of_some_parts_alone_are_missing_in_the_others():
    whole = gather([by_seed({"n": 1}, [0]), by_seed({"n": 2}, [0], name="norm")])
    np.testing.assert_array_equal(whole["loss"].squeeze(), [0, np.nan])
    np.testing.assert_array_equal(whole["norm"].squeeze(), [np.nan, 0])


def test_texts_and_flags_can_be_missing_and_still_be_stored(tmp_path):
    data = xr.Dataset({"word": ("seed", ["a"]), "flag": ("seed", [True])}, coords={"seed": [0]})
    whole = gather([part({"n": 1}, data), part({"n": 2}, data.assign_coords(seed=[1]))])
    save(whole, tmp_path / "whole.nc", {})
    found = load(tmp_path / "whole.nc")
    assert found["word"].values.tolist() == [["a", ""], ["", "a"]]
    np.testing.assert_array_equal(found["flag"], [[1, np.nan], [np.nan, 1]])


def test_flags_that_nothing_lacks_stay_flags():
    data = xr.Dataset({"flag": ("seed", [True, False])}, coords={"seed": [0, 1]})
    assert gather([part({"n": 1}, data), part({"n": 2}, data)])["flag"].dtype == bool


def test_seeds_go_on_along_their_own_dimension():
    parts = [
        by_seed({"rate": rate, "first_seed": first}, [first, first + 1], start=100 * rate + first)
        for rate in (1, 2)
        for first in (4, 0)
    ]
    whole = gather(parts, join={"first_seed": "seed"})
    assert whole["loss"].dims == ("rate", "seed")
    assert not whole["loss"].isnull().any()
    for p in parts:
        np.testing.assert_array_equal(whole["loss"].sel(rate=p.chosen["rate"], seed=p.data["seed"]), p.data["loss"])


@pytest.mark.parametrize(
    ("seeds", "join", "sentence"),
    [
        (
            [[0, 1], [1, 2]],
            {"first_seed": "seed"},
            "first_seed is to go on along seed, but seed 1 occurs more than once",
        ),
        ([[0], [1]], {"first_seed": "epoch"}, "first_seed is to go on along epoch, which is no labelled dimension"),
    ],
)
def test_join_that_cannot_be_is_refused(seeds, join, sentence):
    parts = [by_seed({"first_seed": k}, one) for k, one in enumerate(seeds)]
    with pytest.raises(ValueError, match=sentence):
        gather(parts, join=join)


def test_join_refuses_what_differs_besides():
    parts = [
        part(p.chosen, p.data.assign(total=p.chosen["first_seed"]))
        for p in (by_seed({"first_seed": 0}, [0]), by_seed({"first_seed": 1}, [1]))
    ]
    with pytest.raises(ValueError, match=r"what does not depend on seed differs.*total"):
        gather(parts, join={"first_seed": "seed"})


def test_combinations_follow_each_other_with_their_parameters():
    parts = [by_seed({"n": 1, "name": "a"}, [0, 1]), by_seed({"n": 5, "name": "b"}, [0, 1], start=7)]
    whole = gather(parts, listed=True)
    assert whole["loss"].dims == ("combination", "seed")
    assert whole["n"].values.tolist() == [1, 5]
    assert whole["name"].values.tolist() == ["a", "b"]
    np.testing.assert_array_equal(whole["loss"], [[0, 1], [7, 8]])


@pytest.mark.parametrize("listed", [False, True])
def test_parameter_named_like_a_variable_gives_way(listed):
    whole = gather([by_seed({"seed": 1}, [0]), by_seed({"seed": 2}, [0])], listed=listed)
    assert whole["parameter_seed"].values.tolist() == [1, 2]
    assert whole["seed"].values.tolist() == [0]


def test_lists_become_text(tmp_path):
    save(gather([by_seed({"sizes": [2, n]}, [0]) for n in (3, 4)]), tmp_path / "whole.nc", {})
    assert load(tmp_path / "whole.nc")["sizes"].values.tolist() == ["[2, 3]", "[2, 4]"]


def test_dimensions_without_labels_must_agree():
    parts = [part({"n": n}, xr.Dataset({"x": ("point", np.zeros(n))})) for n in (2, 3)]
    with pytest.raises(ValueError, match=re.escape("point has no labels") + ".*got 2 for {'n': 2} and 3 for {'n': 3}"):
        gather(parts)
    assert gather([parts[0], part({"n": 4}, parts[0].data)])["x"].dims == ("n", "point")


def test_parts_must_have_the_same_parameters():
    with pytest.raises(ValueError, match="parameters"):
        gather([by_seed({"n": 1}, [0]), by_seed({"m": 1}, [0])])
    with pytest.raises(ValueError, match="at least one"):
        gather([])


def test_provenance_tells_what_made_each_part(tmp_path):
    parts = [part(p.chosen, p.data, seconds=2.5) for p in (by_seed({"n": n}, [0]) for n in (1, 2))]
    made = grid_provenance({"notebook": "one", "grid": {"n": [1, 2]}}, parts)
    save(gather(parts), tmp_path / "whole.nc", made)
    found = made_by(load(tmp_path / "whole.nc"))
    assert found["grid"] == {"notebook": "one", "grid": {"n": [1, 2]}}
    assert found["jobs"] == [
        {"chosen": {"n": n}, "parameters": {"n": n}, "commit": None, "seconds": 2.5} for n in (1, 2)
    ]
