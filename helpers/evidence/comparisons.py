"""Comparisons of many activations, paired by seed and corrected for their number; and rank correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from helpers.evidence.intervals import bootstrap_interval, effect_size, holm, one_sided_p


def rank_correlation(first: xr.DataArray, second: xr.DataArray, dim: str) -> xr.DataArray:
    """Spearman's rank correlation of two measures along a dimension; 0 where one of them does not vary."""

    def correlate(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        ranks = [stats.rankdata(values, axis=-1) for values in (a, b)]
        centred = [values - values.mean(axis=-1, keepdims=True) for values in ranks]
        spread = np.sqrt((centred[0] ** 2).sum(axis=-1) * (centred[1] ** 2).sum(axis=-1))
        found: np.ndarray[Any, Any] = (centred[0] * centred[1]).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
        return found

    found: xr.DataArray = xr.apply_ufunc(correlate, first, second, input_core_dims=[[dim], [dim]])
    return found


def comparisons(values: xr.DataArray, reference: str, *, digits: int = 1) -> pd.DataFrame:
    """Compare every activation with one of them, paired by seed, with a correction for the number of comparisons.

    Args:
        values: dimensions activation, seed and one more, whose entries are compared separately; all of them and all
            activations are one family.
        reference: the activation to compare with.
        digits: after the point, of the mean.

    Returns:
        A row for each other activation; for each entry of the third dimension mean and 95 % interval of the difference,
        Hedges's g, and the p value of Student's paired test, two-sided, adjusted by Holm's method.
    """
    (third,) = set(values.dims) - {"activation", "seed"}
    others = [name for name in values["activation"].values if name != reference]
    cells = [(other, entry) for other in others for entry in values[third].values]
    base = values.sel(activation=reference, drop=True)
    gaps = [
        (values.sel({"activation": other, third: entry}) - base.sel({third: entry})).to_numpy()
        for other, entry in cells
    ]
    p_values = [min(1.0, 2 * min(one_sided_p(gap, above=0), one_sided_p(gap, below=0))) for gap in gaps]
    table: dict[str, dict[Any, str]] = {other: {} for other in others}
    for (other, entry), gap, p in zip(cells, gaps, holm(p_values), strict=True):
        words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        table[other][entry] = f"{bootstrap_interval(gap):.{digits}f}; g = {effect_size(gap):.1f}, {words}"
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(f"less {reference}")
