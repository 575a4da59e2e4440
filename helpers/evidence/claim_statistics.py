"""The statistics that decide claims: each takes results and the name of a measure, and reduces one dimension of it.

It returns one number for each seed and each of the remaining dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from scipy import stats

# An eigenvalue this many times the next largest is an outlier.
OUTLIER = 1.5
# The accuracy at which a network is taken to have learned its task.
SUFFICIENT = 0.95


def _line(values: xr.DataArray) -> xr.DataArray:
    """Least-squares line over entanglement, evaluated everywhere: coefficients by degree."""
    return values.polyfit("entanglement", 1)["polyfit_coefficients"]


def slope(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Least-squares slope over entanglement, units of the measure per radian."""
    values = results[measure]
    # A constant has no slope; the fit would leave it some rounding of either sign.
    constant = values.max("entanglement") == values.min("entanglement")
    return _line(values).sel(degree=1, drop=True).where(~constant, 0.0)


def departure(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Distance of the value at the highest entanglement from the line through the others."""
    values = results[measure].sortby("entanglement")
    line = _line(values.isel(entanglement=slice(None, -1)))
    last = values.isel(entanglement=-1)
    expected = line.sel(degree=0, drop=True) + line.sel(degree=1, drop=True) * last["entanglement"]
    return abs(last - expected).drop_vars("entanglement")


def roughness(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Root mean square distance from the least-squares line over entanglement."""
    values = results[measure]
    line = _line(values)
    expected = line.sel(degree=0, drop=True) + line.sel(degree=1, drop=True) * values["entanglement"]
    return ((values - expected) ** 2).mean("entanglement") ** 0.5


def rise(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Value at the highest entanglement less the one at the lowest."""
    values = results[measure].sortby("entanglement")
    return values.isel(entanglement=-1, drop=True) - values.isel(entanglement=0, drop=True)


def relative_rise(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Rise from the lowest to the highest entanglement as a share of the value at the lowest."""
    lowest = results[measure].sortby("entanglement").isel(entanglement=0, drop=True)
    return rise(results, measure) / lowest


def rank_trend(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Spearman's rank correlation of the measure with entanglement."""
    values = results[measure].transpose(..., "entanglement")
    ranks = stats.rankdata(values, axis=-1)
    grid = stats.rankdata(values["entanglement"])
    ranks, grid = ranks - ranks.mean(axis=-1, keepdims=True), grid - grid.mean()
    spread = np.sqrt((ranks**2).sum(axis=-1) * (grid**2).sum())
    correlation = (ranks * grid).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    return values.isel(entanglement=0, drop=True).copy(data=correlation)


def lead_of_last(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Value of the last layer less the largest of the layers before it."""
    values = results[measure]
    before = values.isel(layer=slice(None, -1)).max("layer")
    return values.isel(layer=-1, drop=True) - before


def last_is_largest(results: xr.Dataset, measure: str) -> xr.DataArray:
    """1 where the last layer has the largest value, else 0."""
    return (lead_of_last(results, measure) > 0).astype(float)


def share_outlying(results: xr.Dataset, measure: str) -> xr.DataArray:
    """1 where the value is at least `OUTLIER`, else 0."""
    return (results[measure] >= OUTLIER).astype(float)


def share_due_to_smallest(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Share of the variance of log(|λmax|/|λmin|) due to |λmin|, over layers and entanglements.

    With c = log |λmax| − log |λmin|, var(c) = cov(log |λmax|, c) + cov(−log |λmin|, c); this is the second
    term as a share of the whole.
    """
    dims = ["layer", "entanglement"]
    condition: xr.DataArray = xr.apply_ufunc(np.log, results[measure])
    smallest: xr.DataArray = -xr.apply_ufunc(np.log, results["eigenvalue_min"])
    covariance = ((condition - condition.mean(dims)) * (smallest - smallest.mean(dims))).mean(dims)
    return covariance / condition.var(dims)


def width_needed(results: xr.Dataset, measure: str) -> xr.DataArray:
    """log₂ of the smallest width from which the measure is at least `SUFFICIENT`.

    Where no width is, the next one up, twice the largest, is taken; so that this is, at worst, too small.
    """
    values = results[measure].sortby("width")
    width = values["width"].astype(float)
    enough = width.where(values >= SUFFICIENT).min("width")
    needed: xr.DataArray = xr.apply_ufunc(np.log2, enough.fillna(2 * width.max()))
    return needed


def setbacks(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Sum of all falls from one width to the next larger: 0 where the measure never falls."""
    return (-results[measure].sortby("width").diff("width")).clip(min=0).sum("width")


def magnitude(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Absolute value of the measure."""
    return abs(results[measure])


def share(results: xr.Dataset, measure: str) -> xr.DataArray:
    """The measure itself, which says yes (1) or no (0) of each network; its interval is the exact one of a share."""
    return results[measure]


def mean(results: xr.Dataset, measure: str) -> xr.DataArray:
    """The measure itself."""
    return results[measure]


def deviation(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Distance from the mean over the seeds."""
    return abs(results[measure] - results[measure].mean("seed"))


def change_between_ends(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Size of the change from the lowest to the highest of the selected percents of a range."""
    values = results[measure].sortby("percent")
    return abs(values.isel(percent=0, drop=True) - values.isel(percent=-1, drop=True))


def steepest_step(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Size of the largest change from one of the selected percents of a range to the next."""
    return abs(results[measure].sortby("percent").diff("percent")).max("percent")


STATISTICS: Mapping[str, Callable[[xr.Dataset, str], xr.DataArray]] = {
    function.__name__: function
    for function in (
        slope,
        departure,
        roughness,
        rise,
        relative_rise,
        rank_trend,
        lead_of_last,
        last_is_largest,
        share_outlying,
        share_due_to_smallest,
        width_needed,
        setbacks,
        magnitude,
        share,
        mean,
        deviation,
        change_between_ends,
        steepest_step,
    )
}
