"""Effect sizes and p values by hand, families of comparisons against scipy, rank correlations with known answers."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.evidence.comparisons import (
    comparisons,
    effect_size,
    holm,
    one_sided_p,
    probability_of_improvement,
    rank_correlation,
)
from helpers.evidence.intervals import formatted
from helpers.names import caption, display

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
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
    assert table.index.name == "less ReLU"
    assert list(table.index) == ["tanh", "Abs"]
    assert list(table.columns) == ["ε = 0.5", "ε = 1"]
    cells = [(name, eps) for name in ("tanh", "abs") for eps in (0.5, 1.0)]
    gaps = [
        (values.sel(activation=name, epsilon=eps) - values.sel(activation="relu", epsilon=eps)).to_numpy()
        for name, eps in cells
    ]
    p_values = holm([stats.ttest_1samp(gap, 0).pvalue for gap in gaps])
    for (name, eps), gap, p in zip(cells, gaps, p_values, strict=True):
        cell = table.loc[display(name), caption("epsilon", eps)]
        assert cell.startswith(f"{gap.mean():.2f}".replace("-", "−"))
        assert f"g = {formatted(effect_size(gap), '.1f')}" in cell
        assert ("p < 0.001" if p < 0.001 else f"p = {p:.3f}") in cell


def test_correction_is_for_the_whole_table(values):
    alone = comparisons(values.sel(epsilon=[1.0]), "relu")
    together = comparisons(values, "relu")
    assert alone.loc["Abs", "ε = 1"] != together.loc["Abs", "ε = 1"]


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


@QUICK
@given(st.integers(3, 30), st.integers(0, 10**6), st.floats(-3, 3))
def test_effect_size_is_the_formula(n, seed, null):
    values = np.random.default_rng(seed).standard_normal(n)
    mean = sum(values) / n
    deviation = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    expected = (mean - null) / deviation * (1 - 3 / (4 * (n - 1) - 1))
    assert effect_size(values, null=null) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_effect_size_known_answer():
    assert effect_size([1, 2, 3, 4, 5]) == pytest.approx(3 / 2.5**0.5 * 0.8)
    assert effect_size([1, 2, 3, 4, 5], null=3) == 0
    assert effect_size([1, 2, 3, 4, 5], null=5) == pytest.approx(-2 / 2.5**0.5 * 0.8)


@pytest.mark.parametrize(
    ("value", "null", "expected"),
    [(2.0, 1.0, np.inf), (2.0, 3.0, -np.inf), (2.0, 2.0, 0.0), (0.1, 0.1, 0.0), (-1, 0, -np.inf)],
)
def test_effect_of_values_that_do_not_vary(value, null, expected):
    assert effect_size([value] * 3, null=null) == expected


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_effect_size_needs_three_values(values):
    with pytest.raises(ValueError, match="number of values must be a whole number at least 3"):
        effect_size(values)


def test_p_values_are_those_of_one_sided_tests():
    values = [0.3, 0.5, 0.2, 0.9, 0.4]
    greater = stats.ttest_1samp(values, 0.2, alternative="greater").pvalue
    less = stats.ttest_1samp(values, 0.6, alternative="less").pvalue
    assert one_sided_p(values, above=0.2) == pytest.approx(greater)
    assert one_sided_p(values, below=0.6) == pytest.approx(less)
    assert one_sided_p(values, above=0.2, below=0.6) == pytest.approx(max(greater, less))
    assert one_sided_p([0, 1, 1, 1, 1, 1], above=0.5, share=True) == pytest.approx(7 / 64)  # 6 ones or 5 of 6 coins
    assert one_sided_p([0] * 20, below=0.1, share=True) == pytest.approx(0.9**20)
    assert one_sided_p([0.0] * 20, below=0.1) == 0  # zeros of another kind


@pytest.mark.parametrize(("bound", "p"), [({"above": 2}, 0.0), ({"above": 3}, 1.0), ({"below": 3.5}, 0.0)])
def test_values_that_do_not_vary_are_certain(bound, p):
    assert one_sided_p([3.0, 3.0, 3.0], **bound) == p


@pytest.mark.parametrize(
    ("values", "bounds", "words"),
    [
        ([1.0], {"above": 0}, "values must be at least two finite numbers"),
        ([1.0, np.nan], {"above": 0}, "values must be at least two finite numbers"),
        ([1.0, 2.0], {}, "above or below must be finite"),
    ],
)
def test_no_p_value_of_nonsense(values, bounds, words):
    with pytest.raises(ValueError, match=words):
        one_sided_p(values, **bounds)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match="p_values must lie between 0 and 1"):
        holm([0.5, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferronis(p):
    adjusted = holm(p)
    assert all(a >= raw - 1e-12 for raw, a in zip(p, adjusted, strict=True))
    assert all(a <= min(1, raw * len(p)) + 1e-12 for raw, a in zip(p, adjusted, strict=True))
    in_order = [adjusted[k] for k in np.argsort(p, kind="stable")]
    assert in_order == sorted(in_order)


def test_probability_of_improvement_counts_pairs():
    found = probability_of_improvement([3.0, 5.0], [1.0, 3.0, 4.0])
    # 3 > 1, 3 = 3, 3 < 4, and 5 beats all three: 4 wins and a tie of 6.
    assert found.mean == pytest.approx(4.5 / 6)
    assert found.n == 2
    assert 0 <= found.low <= found.mean <= found.high <= 1
    always = probability_of_improvement([5.0, 6.0, 7.0], [1.0, 2.0])
    assert (always.mean, always.low, always.high) == (1, 1, 1)
    u = stats.mannwhitneyu([3.0, 5.0, 9.0, 1.0], [1.0, 3.0, 4.0]).statistic
    assert probability_of_improvement([3.0, 5.0, 9.0, 1.0], [1.0, 3.0, 4.0]).mean == pytest.approx(u / 12)
    with pytest.raises(ValueError, match="second must be at least two finite numbers"):
        probability_of_improvement([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="confidence must be a finite number above 0 and below 1"):
        probability_of_improvement([1.0, 2.0], [1.0, 2.0], confidence=1)
