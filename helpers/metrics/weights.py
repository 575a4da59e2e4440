"""Measures of weight matrices, from their singular values and their eigenvalues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from helpers.threads import side_by_side

# Every measure that takes only singular values needs no square matrix; those of eigenvalues do.
SINGULAR_MEASURES = ("frobenius_norm", "spectral_norm", "stable_rank", "condition_number")
EIGENVALUE_MEASURES = (
    "eigenvalue_mean",
    "eigenvalue_max",
    "eigenvalue_min",
    "eigenvalue_range",
    "eigenvalue_condition",
    "n_complex_eigenvalues",
    "outlier_ratio",
)
WEIGHT_MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "frobenius_norm": "Frobenius norm √Σσᵢ²",
        "spectral_norm": "Spectral norm σ₁",
        "stable_rank": "Stable rank Σσᵢ²/σ₁²",
        "condition_number": "Condition number σ₁/σₙ",
        "eigenvalue_mean": "Mean eigenvalue modulus",
        "eigenvalue_max": "Largest eigenvalue modulus |λmax|",
        "eigenvalue_min": "Smallest eigenvalue modulus |λmin|",
        "eigenvalue_range": "Eigenvalue range |λmax| − |λmin|",
        "eigenvalue_condition": "Eigenvalue condition |λmax|/|λmin|",
        "n_complex_eigenvalues": "Complex eigenvalues",
        "outlier_ratio": "Outlier ratio |λ₁|/|λ₂|",
    }
)


def singular_values(weight: Tensor) -> Tensor:
    """Singular values σ₁ ≥ σ₂ ≥ … ≥ 0, in float64.

    Args:
        weight: matrices, ``[..., n_out, n_in]``.

    Returns:
        ``[..., min(n_out, n_in)]``.
    """
    return _of_each(torch.linalg.svdvals, weight.detach().double())


def eigenvalues(weight: Tensor) -> Tensor:
    """Eigenvalues, complex128, ordered by falling modulus.

    Args:
        weight: square matrices, ``[..., n, n]``.

    Returns:
        ``[..., n]``.

    Raises:
        ValueError: the matrices are not square.
    """
    if weight.dim() < 2 or weight.shape[-1] != weight.shape[-2]:
        raise ValueError(f"weight must have shape [..., n, n] to have eigenvalues, got {list(weight.shape)}.")
    values = _of_each(torch.linalg.eigvals, weight.detach().double())
    return values.gather(-1, values.abs().argsort(dim=-1, descending=True, stable=True))


def _of_each(function: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    """Apply a function of one matrix to a stack, each thread to its part: LAPACK itself takes one after the other."""
    if matrices.shape[:-2].numel() < 2:
        return function(matrices)
    values = torch.cat(side_by_side(function, matrices.flatten(0, -3).chunk(torch.get_num_threads())))
    return values.view(*matrices.shape[:-2], *values.shape[1:])


def weight_measures(weight: Tensor) -> dict[str, Tensor]:
    """All measures of `WEIGHT_MEASURES` for a stack of weight matrices, in float64.

    With singular values σ₁ ≥ … ≥ σₙ and eigenvalues |λ₁| ≥ … ≥ |λₙ|:

    * ``frobenius_norm`` √Σσᵢ² = √trace(WᵀW), ``spectral_norm`` σ₁, ``stable_rank`` Σσᵢ²/σ₁²,
      ``condition_number`` σ₁/σₙ;
    * for square matrices ``eigenvalue_mean`` Σ|λᵢ|/n, ``eigenvalue_max`` |λ₁|, ``eigenvalue_min`` |λₙ|,
      ``eigenvalue_range`` |λ₁| − |λₙ|, ``eigenvalue_condition`` |λ₁|/|λₙ|, ``n_complex_eigenvalues``
      (each of a conjugate pair counts), and ``outlier_ratio`` |λ₁|/|λ₂|, which is 1 where the largest
      eigenvalues are a conjugate pair; NaN for other matrices.

    Args:
        weight: matrices, ``[..., n_out, n_in]``.

    Returns:
        One ``[...]`` tensor for each name.

    References:
        Golub & Van Loan (2013), §2.3–2.4 and 7.1; Ślusarz (2021), §2.2.5 and 4.1;
        Vershynin (2018), §7.6 for the stable rank.
    """
    sigma = singular_values(weight)
    squares = sigma.square().sum(dim=-1)
    measures = {
        "frobenius_norm": squares.sqrt(),
        "spectral_norm": sigma[..., 0],
        "stable_rank": squares / sigma[..., 0].square(),
        "condition_number": sigma[..., 0] / sigma[..., -1],
    }
    if weight.shape[-1] != weight.shape[-2]:
        missing = torch.full_like(squares, torch.nan)
        return measures | dict.fromkeys(EIGENVALUE_MEASURES, missing)
    values = eigenvalues(weight)
    modulus = values.abs()
    second = modulus[..., min(1, modulus.shape[-1] - 1)]
    return measures | {
        "eigenvalue_mean": modulus.mean(dim=-1),
        "eigenvalue_max": modulus[..., 0],
        "eigenvalue_min": modulus[..., -1],
        "eigenvalue_range": modulus[..., 0] - modulus[..., -1],
        "eigenvalue_condition": modulus[..., 0] / modulus[..., -1],
        # LAPACK returns real eigenvalues of real matrices with an imaginary part of exactly 0.
        "n_complex_eigenvalues": (values.imag != 0).sum(dim=-1).double(),
        "outlier_ratio": modulus[..., 0] / second,
    }
