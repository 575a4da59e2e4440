"""Intervals and effect sizes over seeds."""

from __future__ import annotations

from dataclasses import dataclass

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


def bootstrap_interval(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of a mean.

    Args:
        values: one value for each seed, ``[n]``, at least 2, all finite.
        confidence: coverage of the interval, above 0 and below 1.
        seed: seed of the resampling; the same values always give the same interval.

    Raises:
        ValueError: fewer than two values, values that are not finite, or a confidence outside its range.

    References:
        Efron & Tibshirani (1993), §14.3.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(f"values must be at least two finite numbers in one dimension, got {values!r}.")
    CONFIDENCE("confidence", confidence)
    mean = float(array.mean())
    # Equal values (up to rounding) have no spread to resample, and BCa would divide zero by zero.
    if np.ptp(array) <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean, len(array))
    result = stats.bootstrap(
        (array,),
        np.mean,
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
