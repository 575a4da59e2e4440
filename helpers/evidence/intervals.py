"""Means over seeds with their intervals."""

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

    def scaled(self, factor: float) -> Interval:
        """Return the interval of the values times a factor, e.g. 100 for percent."""
        low, high = sorted((factor * self.low, factor * self.high))
        return Interval(factor * self.mean, low, high, self.n)

    def __format__(self, spec: str) -> str:
        """Format as ``mean [low, high]``, each number by ``spec``, with a true minus sign and no minus zero."""
        mean, low, high = (formatted(value, spec) for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def formatted(value: float, spec: str) -> str:
    """Return a number by a format, with a true minus sign and no minus zero."""
    text = f"{value:{spec}}"
    is_zero = not text.strip("-0.,e+%")
    return text.replace("-", "" if is_zero else "−", 1) if text.startswith("-") else text


def interval(values: ArrayLike | xr.DataArray, *, confidence: float = 0.95) -> Interval:
    """Return the mean over seeds with its confidence interval, made as the verdicts make it.

    Of yes and no (bool) it is the exact interval of a share, of numbers the bootstrap's.

    Args:
        values: one value for each seed, ``[n]``. A labelled array has no other dimension than ``seed``; seeds at which
            it was never taken (NaN) don't count.
        confidence: coverage of the interval, above 0 and below 1.

    Raises:
        ValueError: a labelled array has other dimensions; otherwise as `share_interval` and `bootstrap_interval`.
    """
    if isinstance(values, xr.DataArray):
        if values.dims != ("seed",):
            raise ValueError(f"values must have the dimension seed and no other, got {values.dims}.")
        values = values.dropna("seed")
    array = np.asarray(values)
    return (share_interval if array.dtype == np.bool_ else bootstrap_interval)(array, confidence=confidence)


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


def interquartile_mean(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Mean of the middle half of the values with its bootstrap interval: deaf to a quarter of outliers on either side.

    Args:
        values: one value for each seed, ``[n]``, at least 4, all finite.
        confidence: coverage of the interval, above 0 and below 1.
        seed: seed of the resampling.

    Raises:
        ValueError: fewer than four values; otherwise as `bootstrap_interval`.

    References:
        Agarwal et al. (2021), §4.3.
    """
    Integer(at_least=4)("number of values", np.asarray(values).size)
    return bootstrap_interval(values, confidence=confidence, seed=seed, statistic=_middle_mean)


def _middle_mean(values: np.ndarray[Any, Any], axis: int = -1) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


def interval_over(values: xr.DataArray, dim: str = "seed", *, confidence: float = 0.95) -> xr.Dataset:
    """Mean and t interval along one dimension, for bands in figures.

    The verdicts of this book use `bootstrap_interval`; a band of many points uses Student's t, which is
    quicker and, at these numbers of seeds, indistinguishable in print.

    Args:
        values: labelled values.
        dim: the dimension to average over, with at least two entries; where a value is missing (NaN), it doesn't count.
        confidence: coverage, above 0 and below 1.

    Returns:
        Variables ``mean``, ``low`` and ``high`` without the dimension.

    Raises:
        ValueError: the dimension is missing or has fewer than two entries, or the confidence is outside its range.
    """
    if dim not in values.dims or values.sizes[dim] < 2:
        raise ValueError(f"values must have at least two entries along {dim!r}, got dimensions {dict(values.sizes)}.")
    CONFIDENCE("confidence", confidence)
    n = values.count(dim)
    half = values.std(dim, ddof=1) / n**0.5 * stats.t.ppf((1 + confidence) / 2, n - 1)
    mean = values.mean(dim)
    return xr.Dataset({"mean": mean, "low": mean - half, "high": mean + half})
