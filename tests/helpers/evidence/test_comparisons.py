"""Families of paired comparisons against scipy, and rank correlations with known answers."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from helpers.evidence.comparisons import comparisons, rank_correlation
from helpers.evidence.intervals import effect_size, holm

NAMES = ["relu", "tanh", "abs"]


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    data = random.standard_normal((3, 2, 12))
    data[1] += 2  # tanh differs from relu, abs does not
    return xr.DataArray(
        data,
        dims=("activation", "epsilon", "seed"),
        coords={"activation": NAMES, "epsilon": [0.5, 1.0], "seed": range(12)},
    )


def test_cells_hold_difference_effect_and_corrected_p(values):
    table = comparisons(values, "relu", digits=2)
    assert list(table.index) == ["tanh", "abs"]
    assert list(table.columns) == [0.5, 1.0]
    cells = [(name, eps) for name in ("tanh", "abs") for eps in (0.5, 1.0)]
    gaps = [
        (values.sel(activation=name, epsilon=eps) - values.sel(activation="relu", epsilon=eps)).to_numpy()
        for name, eps in cells
    ]
    p_values = holm([stats.ttest_1samp(gap, 0).pvalue for gap in gaps])
    for (name, eps), gap, p in zip(cells, gaps, p_values, strict=True):
        cell = table.loc[name, eps]
        assert cell.startswith(f"{gap.mean():.2f}".replace("-", "−"))
        assert f"g = {effect_size(gap):.1f}" in cell
        assert ("p < 0.001" if p < 0.001 else f"p = {p:.3f}") in cell


def test_correction_is_for_the_whole_table(values):
    alone = comparisons(values.sel(epsilon=[1.0]), "relu")
    together = comparisons(values, "relu")
    assert alone.loc["abs", 1.0] != together.loc["abs", 1.0]


def test_order_of_the_dimensions_does_not_matter(values):
    assert comparisons(values.transpose("seed", "epsilon", "activation"), "relu").equals(comparisons(values, "relu"))


def test_rank_correlation_is_spearmans_for_each_seed():
    random = np.random.default_rng(1)
    first, second = (
        xr.DataArray(random.standard_normal((4, 6)), dims=("seed", "entanglement"), coords={"entanglement": range(6)})
        for _ in range(2)
    )
    second[1] = np.exp(first[1])  # any rising function
    second[2] = -first[2]
    first[3] = 1.0  # does not vary
    found = rank_correlation(first, second, "entanglement")
    assert found.dims == ("seed",)
    assert float(found[0]) == pytest.approx(stats.spearmanr(first[0], second[0]).statistic)
    assert found[1:].values == pytest.approx([1, -1, 0])
