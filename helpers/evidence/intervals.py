"""Intervals and effect sizes over seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import stats

from helpers.checks import Integer, Real

N_RESAMPLES = 9999
CONFIDENCE = Real(above=0, below=1)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: the mean.
        low, high: ends of the interval.
        n: number of values behind it.
    """

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        """Format as ``mean [low, high]``, each number by ``spec``, with a true minus sign and no minus zero."""
        mean, low, high = (_number(value, spec) for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def _number(value: float, spec: str) -> str:
    text = f"{value:{spec}}"
    is_zero = not text.strip("-0.,e+%")
    return text.replace("-", "" if is_zero else "−", 1) if text.startswith("-") else text


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    statistic: Callable[..., Any] = np.mean,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of a mean.

    Args:
        values: one value for each seed, ``[n]``, at least 2, all finite.
        confidence: coverage of the interval, above 0 and below 1.
        seed: seed of the resampling; the same values always give the same interval.
        statistic: another statistic than the mean; takes values and an axis.

    Raises:
        ValueError: fewer than two values, values that are not finite, or a confidence outside its range.

    References:
        Efron & Tibshirani (1993), §14.3.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(f"values must be at least two finite numbers in one dimension, got {values!r}.")
    CONFIDENCE("confidence", confidence)
    mean = float(statistic(array))
    # Equal values (up to rounding) have no spread to resample, and BCa would divide zero by zero.
    if np.ptp(array) <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean, len(array))
    result = stats.bootstrap(
        (array,),
        statistic,
        n_resamples=N_RESAMPLES,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high), len(array))


def share_interval(flags: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's exact interval of a share, for flags that are 1 (yes) or 0 (no).

    Unlike a bootstrap it knows that twenty times no does not mean never.

    Args:
        flags: one for each seed, ``[n]``, at least 1.
        confidence: coverage of the interval, above 0 and below 1.

    Raises:
        ValueError: there are no flags, values other than 0 and 1, or a confidence outside its range.

    References:
        Clopper & Pearson (1934).
    """
    array = np.asarray(flags, dtype=float)
    if array.ndim != 1 or not len(array) or not np.isin(array, (0, 1)).all():
        raise ValueError(f"flags must be zeros and ones in one dimension, at least one, got {flags!r}.")
    CONFIDENCE("confidence", confidence)
    ends = stats.binomtest(int(array.sum()), len(array)).proportion_ci(confidence, method="exact")
    return Interval(float(array.mean()), float(ends.low), float(ends.high), len(array))


def paired_interval(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Bootstrap interval of the mean of ``first − second``, paired by position (the same seeds in both).

    Raises:
        ValueError: the lengths differ; otherwise as `bootstrap_interval`.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"first and second must have the same shape to be paired, got {a.shape} and {b.shape}.")
    return bootstrap_interval(a - b, confidence=confidence, seed=seed)


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


def interquartile_mean(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Mean of the middle half of the values with its bootstrap interval: deaf to a quarter of outliers on either side.

    Args:
        values: one value for each seed, ``[n]``, at least 4, all finite.
        confidence: see `bootstrap_interval`.
        seed: see `bootstrap_interval`.

    Raises:
        ValueError: fewer than four values; otherwise as `bootstrap_interval`.

    References:
        Agarwal et al. (2021), §4.3.
    """
    Integer(at_least=4)("number of values", np.asarray(values).size)
    return bootstrap_interval(values, confidence=confidence, seed=seed, statistic=_middle_mean)


def _middle_mean(values: np.ndarray[Any, Any], axis: int = -1) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


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


def interval_over(values: xr.DataArray, dim: str = "seed", *, confidence: float = 0.95) -> xr.Dataset:
    """Mean and t interval along one dimension, for bands in figures.

    The verdicts of this book use `bootstrap_interval`; a band of many points uses Student's t, which is
    quicker and, at these numbers of seeds, indistinguishable in print.

    Args:
        values: labelled values.
        dim: the dimension to average over, with at least two entries.
        confidence: coverage, above 0 and below 1.

    Returns:
        Variables ``mean``, ``low`` and ``high`` without the dimension.

    Raises:
        ValueError: the dimension is missing or has fewer than two entries, or the confidence is outside its range.
    """
    if dim not in values.dims or values.sizes[dim] < 2:
        raise ValueError(f"values must have at least two entries along {dim!r}, got dimensions {dict(values.sizes)}.")
    CONFIDENCE("confidence", confidence)
    n = values.sizes[dim]
    half = values.std(dim, ddof=1) / n**0.5 * stats.t.ppf((1 + confidence) / 2, n - 1)
    mean = values.mean(dim)
    return xr.Dataset({"mean": mean, "low": mean - half, "high": mean + half})
