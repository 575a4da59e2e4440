"""The statistics that decide claims are what they say."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from helpers.evidence import claim_statistics
from helpers.evidence.claim_statistics import STATISTICS

ENTANGLEMENTS = [6, 2, 10, 4]  # in no order


def array(function, *, seeds=3, layers=(1, 2, 3, 4), activations=("relu", "tanh"), names=ENTANGLEMENTS):
    """function(activation, layer, entanglement, seed) as a labelled array, dimensions in an unusual order."""
    values = [[[[function(a, k, e, s) for a in activations] for s in range(seeds)] for e in names] for k in layers]
    coords = {"layer": list(layers), "entanglement": list(names), "seed": range(seeds), "activation": list(activations)}
    return xr.DataArray(np.asarray(values, dtype=float), dims=tuple(coords), coords=coords)


def rough(a, k, e, s):
    return np.sin(7.0 * e + 3 * k + 11 * s) + (a == "tanh") * np.cos(e * k) + 5


def column(values, **where):
    """Values in the order of the sorted entanglement."""
    return values.sel(**where).sortby("entanglement").values


WHERE = [{"activation": a, "layer": k, "seed": s} for a in ("relu", "tanh") for k in (1, 4) for s in (0, 2)]
E = np.sort(np.asarray(ENTANGLEMENTS, dtype=float))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slope", lambda y: stats.linregress(E, y).slope),
        ("rise", lambda y: y[-1] - y[0]),
        ("relative_rise", lambda y: (y[-1] - y[0]) / y[0]),
        ("rank_trend", lambda y: stats.spearmanr(E, y).statistic),
        ("departure", lambda y: abs(y[-1] - np.polyval(np.polyfit(E[:-1], y[:-1], 1), E[-1]))),
        ("roughness", lambda y: np.sqrt(np.mean((y - np.polyval(np.polyfit(E, y, 1), E)) ** 2))),
    ],
)
def test_statistics_over_entanglement(name, expected):
    values = array(rough)
    found = STATISTICS[name](xr.Dataset({"m": values}), "m")
    assert "entanglement" not in found.dims
    for where in WHERE:
        np.testing.assert_allclose(float(found.sel(where)), expected(column(values, **where)), rtol=1e-9, atol=1e-12)


def test_rank_trend_averages_ties_and_knows_none_without_change():
    tied = xr.Dataset({"m": array(lambda a, k, e, s: (e > 4) * 1.0)})
    expected = stats.spearmanr(E, E > 4).statistic
    np.testing.assert_allclose(claim_statistics.rank_trend(tied, "m"), expected)
    flat = xr.Dataset({"m": array(lambda a, k, e, s: 3.0)})
    assert float(abs(claim_statistics.rank_trend(flat, "m")).max()) == 0


def test_statistics_over_layers():
    data = xr.Dataset({"m": array(rough)})
    lead, largest = claim_statistics.lead_of_last(data, "m"), claim_statistics.last_is_largest(data, "m")
    for where in ({"activation": "tanh", "seed": 1, "entanglement": e} for e in ENTANGLEMENTS):
        y = data["m"].sel(where).values
        np.testing.assert_allclose(float(lead.sel(where)), y[-1] - y[:-1].max())
        assert float(largest.sel(where)) == (np.argmax(y) == 3)
    assert set(np.unique(largest)) == {0.0, 1.0}


def test_outliers_and_means():
    data = xr.Dataset({"m": array(lambda a, k, e, s: claim_statistics.OUTLIER + (k - 2) / 10)})
    np.testing.assert_array_equal(
        claim_statistics.share_outlying(data, "m").isel(seed=0, activation=0, entanglement=0), [0, 1, 1, 1]
    )
    assert claim_statistics.mean(data, "m").identical(data["m"])


def test_share_of_the_smallest_is_a_share_of_variance():
    smallest = array(lambda a, k, e, s: np.exp(-abs(rough(a, k, e, s))))
    largest = array(lambda a, k, e, s: 2 + 0.1 * np.cos(e + k + s))
    data = xr.Dataset({"eigenvalue_min": smallest, "eigenvalue_condition": largest / smallest})
    found = claim_statistics.share_due_to_smallest(data, "eigenvalue_condition")
    for a in ("relu", "tanh"):
        for s in range(3):
            small, large = (v.sel(activation=a, seed=s).values.ravel() for v in (smallest, largest))
            condition = np.log(large / small)
            expected = np.cov(-np.log(small), condition, ddof=0)[0, 1] / condition.var()
            np.testing.assert_allclose(float(found.sel(activation=a, seed=s)), expected)


def by_width(*accuracies):
    """One accuracy for each of the widths 4, 2 and 8, in this order, for one seed."""
    return xr.Dataset({"m": xr.DataArray([accuracies], dims=("seed", "width"), coords={"width": [4, 2, 8]})})


@pytest.mark.parametrize(
    ("accuracies", "needed"),
    [((0.96, 0.5, 0.99), 2.0), ((0.2, 0.95, 0.1), 1.0), ((0.5, 0.5, 0.951), 3.0), ((0.5, 0.5, 0.5), 4.0)],
)
def test_width_needed_is_the_smallest_that_suffices_or_the_next_one_up(accuracies, needed):
    assert claim_statistics.width_needed(by_width(*accuracies), "m").item() == needed


@pytest.mark.parametrize(
    ("accuracies", "sum_of_falls"), [((0.6, 0.5, 0.7), 0.0), ((0.4, 0.5, 0.7), 0.1), ((0.4, 0.5, 0.1), 0.4)]
)
def test_setbacks_add_up_the_falls(accuracies, sum_of_falls):
    assert claim_statistics.setbacks(by_width(*accuracies), "m").item() == pytest.approx(sum_of_falls)


def test_magnitude_forgets_the_sign():
    assert claim_statistics.magnitude(by_width(-1, 2, 0), "m").values.tolist() == [[1, 2, 0]]


def over_percents(*rows):
    """One row for each seed, at 30, 0 and 20 percent of a range, in this order."""
    coords = {"seed": range(len(rows)), "percent": [30, 0, 20]}
    return xr.Dataset({"m": xr.DataArray(list(rows), dims=tuple(coords), coords=coords)})


def test_deviation_is_the_distance_from_the_mean_of_the_seeds():
    found = claim_statistics.deviation(over_percents((1.0, 2.0, 3.0), (5.0, 2.0, 1.0)), "m")
    assert found.values.tolist() == [[2, 0, 1], [2, 0, 1]]


def test_changes_over_percents_by_hand():
    data = over_percents((1.0, 2.0, 9.0), (6.0, 2.0, 3.0))
    assert claim_statistics.change_between_ends(data, "m").values.tolist() == [1, 4]
    assert claim_statistics.steepest_step(data, "m").values.tolist() == [8, 3]
