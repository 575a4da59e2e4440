"""Effect sizes, p values and their correction; comparisons of many activations; rank correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy import stats

from helpers.checks import Integer
from helpers.evidence.intervals import CONFIDENCE, N_RESAMPLES, Interval, bootstrap_interval, formatted
from helpers.names import caption, display


def effect_size(values: ArrayLike, *, null: float = 0.0) -> float:
    """Standardised distance of a mean from a null value, Hedges' correction for few seeds included.

    g = (mean − null) / sd · (1 − 3 / (4 (n − 1) − 1)); for paired differences this is Cohen's d_z, corrected.
    Infinite (with its sign) where the values do not vary but differ from the null, 0 where they equal it.

    Args:
        values: one value for each seed, ``[n]``, at least 3.
        null: the value of no effect.

    Raises:
        ValueError: fewer than three values, or values that are not finite.

    References:
        Hedges (1981); Lakens (2013).
    """
    array = np.asarray(values, dtype=float)
    n = Integer(at_least=3)("number of values", array.size)
    if not np.isfinite(array).all():
        raise ValueError(f"values must be finite numbers, got {values!r}.")
    distance, spread = float(array.mean()) - null, float(array.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(float(array.mean()))):
        return float(np.sign(distance) * np.inf) if abs(distance) > 1e-12 else 0.0
    return distance / spread * (1 - 3 / (4 * (n - 1) - 1))


def one_sided_p(values: ArrayLike, *, above: float = -np.inf, below: float = np.inf, share: bool = False) -> float:
    """Probability of a mean at least as far inside two bounds, if the truth lay on one of them.

    Student's t test of one side for each finite bound, of which the larger p counts (for two bounds, the test of
    equivalence by two one-sided tests); of a share the exact binomial test. Values that do not vary are certain.

    Args:
        values: one value for each seed, ``[n]``, at least 2, all finite.
        above: lower bound.
        below: upper bound.
        share: whether the values are zeros and ones, and their mean a share.

    Raises:
        ValueError: fewer than two values, values that are not finite, or no bound.

    References:
        Schuirmann (1987), for two bounds.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(f"values must be at least two finite numbers in one dimension, got {values!r}.")
    bounds = [(bound, side) for bound, side in ((above, "greater"), (below, "less")) if np.isfinite(bound)]
    if not bounds:
        raise ValueError(f"above or below must be finite, got {above!r} and {below!r}.")
    return max(
        float(stats.binomtest(int(array.sum()), len(array), bound, alternative=side).pvalue)
        if share
        else _one_sided_t(array, bound, side)
        for bound, side in bounds
    )


def _one_sided_t(values: np.ndarray[Any, Any], bound: float, side: str) -> float:
    if np.ptp(values) <= 1e-12 * max(1.0, abs(float(values.mean()))):
        inside = values.mean() > bound if side == "greater" else values.mean() < bound
        return 0.0 if inside else 1.0
    return float(stats.ttest_1samp(values, bound, alternative=side).pvalue)


def holm(p_values: ArrayLike) -> list[float]:
    """Adjust p values for the number of comparisons, by Holm's method.

    In ascending order the k-th of m is multiplied by m − k + 1, and is no smaller than the one before it: to reject
    what stays below α is wrong anywhere with probability at most α.

    Args:
        p_values: of one family, each from 0 to 1.

    Returns:
        The adjusted values, at most 1, in the order given.

    Raises:
        ValueError: a value lies outside 0 … 1.

    References:
        Holm (1979).
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values must lie between 0 and 1, in one dimension, got {p_values!r}.")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def probability_of_improvement(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Probability that a run of the first kind beats one of the second, with its bootstrap interval.

    P(X > Y) + ½ P(X = Y) over all pairs, Mann and Whitney's U as a share; ½ where there is nothing to choose. Unlike a
    difference of means it does not care by how much.

    Args:
        first: one value for each seed, ``[n]``, at least 2, all finite.
        second: the same of the other kind, ``[m]``.
        confidence: coverage of the interval, above 0 and below 1.
        seed: seed of the resampling.

    Raises:
        ValueError: fewer than two values, values that are not finite, or a confidence outside its range.

    References:
        Agarwal et al. (2021), §4.3; Mann & Whitney (1947).
    """
    samples = [np.asarray(values, dtype=float) for values in (first, second)]
    for name, sample in zip(("first", "second"), samples, strict=True):
        if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
            raise ValueError(f"{name} must be at least two finite numbers in one dimension, got {sample.tolist()!r}.")
    CONFIDENCE("confidence", confidence)

    def share(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
        return float((np.sign(x[:, None] - y[None, :]).mean() + 1) / 2)

    value = share(*samples)
    result = stats.bootstrap(
        samples,
        share,
        n_resamples=N_RESAMPLES,
        vectorized=False,
        confidence_level=confidence,
        method="percentile",  # where one kind always wins, the other methods divide by zero
        rng=np.random.default_rng(seed),
    )
    ends = result.confidence_interval
    return Interval(value, float(ends.low), float(ends.high), min(len(sample) for sample in samples))


def rank_correlation(first: xr.DataArray, second: xr.DataArray, dim: str) -> xr.DataArray:
    """Spearman's rank correlation of two measures along a dimension; 0 where one of them does not vary."""

    def correlate(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        ranks = [stats.rankdata(values, axis=-1) for values in (a, b)]
        centred = [values - values.mean(axis=-1, keepdims=True) for values in ranks]
        spread = np.sqrt((centred[0] ** 2).sum(axis=-1) * (centred[1] ** 2).sum(axis=-1))
        correlation: np.ndarray[Any, Any] = (centred[0] * centred[1]).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
        return correlation

    correlations: xr.DataArray = xr.apply_ufunc(correlate, first, second, input_core_dims=[[dim], [dim]])
    return correlations


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
    table: dict[str, dict[str, str]] = {display(other): {} for other in others}
    for (other, entry), gap, p in zip(cells, gaps, holm(p_values), strict=True):
        words = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        cell = f"{bootstrap_interval(gap):.{digits}f}; g = {formatted(effect_size(gap), '.1f')}, {words}"
        table[display(other)][caption(third, entry)] = cell
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(f"less {display(reference)}")
