"""Measures of weight matrices against numpy and against known answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.metrics.weights import (
    EIGENVALUE_MEASURES,
    SINGULAR_MEASURES,
    WEIGHT_MEASURES,
    eigenvalues,
    singular_values,
    weight_measures,
)

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SIZE, SEED = st.integers(1, 8), st.integers(0, 10**6)


def matrix(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def measures(weight):
    return {name: float(value) for name, value in weight_measures(torch.as_tensor(weight)).items()}


def by_numpy(weight):
    weight = weight.double().numpy()
    sigma = np.linalg.svd(weight, compute_uv=False)
    frobenius, spectral = np.linalg.norm(weight), np.linalg.norm(weight, 2)
    found = {
        "frobenius_norm": frobenius,
        "spectral_norm": spectral,
        "stable_rank": frobenius**2 / spectral**2,
        "condition_number": sigma.max() / sigma.min(),
    }
    if weight.shape[0] != weight.shape[1]:
        return found | dict.fromkeys(EIGENVALUE_MEASURES, np.nan)
    values = np.linalg.eigvals(weight)
    modulus = np.sort(np.abs(values))[::-1]
    return found | {
        "eigenvalue_mean": modulus.mean(),
        "eigenvalue_max": modulus[0],
        "eigenvalue_min": modulus[-1],
        "eigenvalue_range": modulus[0] - modulus[-1],
        "eigenvalue_condition": modulus[0] / modulus[-1],
        "n_complex_eigenvalues": sum(value.imag != 0 for value in values),
        "outlier_ratio": modulus[0] / modulus[min(1, len(modulus) - 1)],
    }


def test_all_measures_have_words():
    assert list(WEIGHT_MEASURES) == [*SINGULAR_MEASURES, *EIGENVALUE_MEASURES]
    assert list(weight_measures(matrix(3, 3))) == list(WEIGHT_MEASURES)
    assert list(weight_measures(matrix(3, 2))) == list(WEIGHT_MEASURES)


@QUICK
@given(SIZE, SIZE, SEED)
def test_measures_are_numpys(n_out, n_in, seed):
    weight = matrix(n_out, n_in, seed=seed)
    found, expected = measures(weight), by_numpy(weight)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-12, err_msg=name)


@QUICK
@given(SIZE, SEED)
def test_square_measures_are_numpys(n, seed):
    weight = matrix(n, n, seed=seed)
    found = measures(weight)
    for name, value in by_numpy(weight).items():
        assert not math.isnan(found[name])
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-12, err_msg=name)


def test_stack_is_measured_matrix_by_matrix():
    weight = matrix(3, 4, 5, 5)
    found = weight_measures(weight.float())
    for name, value in found.items():
        assert value.shape == (3, 4)
        assert value.dtype == torch.float64
        expected = by_numpy(weight[1, 2].float())[name]
        assert float(value[1, 2]) == pytest.approx(expected, rel=1e-9), name


def test_parameters_with_gradients_are_welcome():
    weight = nn.Parameter(matrix(2, 3, 3))
    assert not any(value.requires_grad for value in weight_measures(weight).values())


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        pytest.param(torch.eye(4), [2, 1, 4, 1, 1, 1, 1, 0, 1, 0, 1], id="identity"),
        pytest.param(
            torch.diag(torch.tensor([1.0, -4.0, 2.0])),
            [21**0.5, 4, 21 / 16, 4, 7 / 3, 4, 1, 3, 4, 0, 2],
            id="diagonal",
        ),
        pytest.param(
            2 * torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64),
            [8**0.5, 2, 2, 1, 2, 2, 2, 0, 1, 2, 1],
            id="turn by a complex pair",
        ),
        pytest.param(
            torch.block_diag(torch.tensor([[0.0, -3.0], [3.0, 0.0]]), torch.tensor([[1.0]])),
            [19**0.5, 3, 19 / 9, 3, 7 / 3, 3, 1, 2, 3, 2, 1],
            id="largest eigenvalues are a pair",
        ),
        pytest.param(torch.tensor([[-5.0]]), [5, 5, 1, 1, 5, 5, 5, 0, 1, 0, 1], id="one by one"),
        pytest.param(
            torch.tensor([[0.0, 2.0], [0.0, 0.0]]),
            [2, 2, 1, math.inf, 0, 0, 0, 0, math.nan, 0, math.nan],
            id="nilpotent of rank one",
        ),
        pytest.param(
            torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]]),
            [5, 4, 25 / 16, 4 / 3] + [math.nan] * 7,
            id="not square",
        ),
    ],
)
def test_known_answers(weight, expected):
    found = measures(weight)
    for (name, value), answer in zip(found.items(), expected, strict=True):
        assert value == pytest.approx(answer, rel=1e-12, abs=1e-12, nan_ok=True), name


def test_orthogonal_matrix():
    q = torch.linalg.qr(matrix(6, 6)).Q
    found = measures(q)
    for name in ("spectral_norm", "condition_number", "eigenvalue_mean", "eigenvalue_condition"):
        assert found[name] == pytest.approx(1, abs=1e-12)
    assert found["stable_rank"] == pytest.approx(6)
    assert found["eigenvalue_range"] == pytest.approx(0, abs=1e-12)


@QUICK
@given(SIZE, SIZE, SEED, st.integers(1, 8))
def test_inequalities(n_out, n_in, seed, rank):
    rank = min(rank, n_out, n_in)
    weight = matrix(n_out, rank, seed=seed) @ matrix(rank, n_in, seed=seed + 1)
    found = measures(weight)
    assert found["frobenius_norm"] >= found["spectral_norm"] * (1 - 1e-12)
    assert 1 - 1e-12 <= found["stable_rank"] <= rank + 1e-9
    assert found["condition_number"] >= 1
    if n_out == n_in:
        assert found["eigenvalue_max"] <= found["spectral_norm"] * (1 + 1e-9)
        assert found["outlier_ratio"] >= 1
        assert found["eigenvalue_min"] <= found["eigenvalue_mean"] <= found["eigenvalue_max"]
        assert found["n_complex_eigenvalues"] % 2 == 0


@QUICK
@given(SIZE, SEED, st.floats(0.01, 100), st.booleans())
def test_scaling(n, seed, factor, negative):
    weight = matrix(n, n, seed=seed)
    before, after = measures(weight), measures(weight * (-factor if negative else factor))
    scaled = {
        "frobenius_norm",
        "spectral_norm",
        "eigenvalue_mean",
        "eigenvalue_max",
        "eigenvalue_min",
        "eigenvalue_range",
    }
    for name, value in before.items():
        expected = value * factor if name in scaled else value
        assert after[name] == pytest.approx(expected, rel=1e-6, abs=1e-9), name


def test_singular_values_and_eigenvalues_are_ordered():
    weight = matrix(20, 6, 6)
    sigma, values = singular_values(weight.float()), eigenvalues(weight.float())
    assert sigma.dtype == torch.float64
    assert values.dtype == torch.complex128
    assert (sigma.diff() <= 0).all()
    assert (values.abs().diff() <= 1e-15).all()
    assert (values.abs().diff() < -0.01).any()
    torch.testing.assert_close(values.prod(-1).real, torch.linalg.det(weight.float().double()))


@pytest.mark.parametrize("shape", [(3, 2), (5, 2, 3), (3,)])
def test_eigenvalues_need_a_square(shape):
    with pytest.raises(ValueError, match=r"weight must have shape \[\.\.\., n, n\]"):
        eigenvalues(torch.zeros(shape))
