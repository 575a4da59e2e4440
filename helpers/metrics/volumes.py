"""How the layers change volumes and areas."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.models.ensemble import Ensemble


@torch.no_grad()
def log_volume_change(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Logarithm of the factor by which each layer scales volume at each point.

    Layer g(z) = ψ(Wz + b) has the Jacobian J = diag(ψ'(Wz + b)) W, and the factor is |det J| where the layer
    keeps the dimension, √det(JᵀJ) where it widens and √det(JJᵀ) where it narrows. −∞ means that the layer
    flattens space there: for ReLU that is every point at which any neuron of a square layer is off.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.

    Returns:
        Natural logarithms, ``[n_layers, n_networks, n_points]``, float64; the output layer has no ψ.

    References:
        Ślusarz (2021), equation 4.1; Ben-Israel (1999) for maps between dimensions.
    """
    double = ensemble.select(slice(None)).double()
    factors = []
    for layer, (_, z) in enumerate(double.pre_activations(x.double())):
        weight = double.weights[layer]
        n_out, n_in = weight.shape[1:]
        slope = double.derivative(z, layer) if layer < len(double.slopes) else torch.ones_like(z)
        if n_out <= n_in:
            # J Jᵀ = diag(ψ') W Wᵀ diag(ψ'): the points enter through the diagonal alone.
            gram = torch.linalg.slogdet(weight @ weight.transpose(1, 2)).logabsdet / 2
            if n_out == n_in:
                gram = torch.linalg.slogdet(weight).logabsdet
            factors.append(gram[:, None] + slope.abs().log().sum(dim=2))
        else:
            factors.append(_log_volume(slope[..., None] * weight[:, None]))
    return torch.stack(factors)


@torch.no_grad()
def log_area_change(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Logarithm of the factor by which the layers up to each one scale area of the input plane.

    With J_l the Jacobian of layers 0 … l together, ``[width_l, n_in]``, the factor is √det(J_lᵀJ_l): how
    much a small patch of the input space around the point has grown when it arrives behind layer l. Unlike
    `log_volume_change` it looks only at directions in which data can lie.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.

    Returns:
        Natural logarithms, ``[n_layers, n_networks, n_points]``, float64; −∞ where the patch is flattened, as it is
        from the first layer narrower than the input on.
    """
    double = ensemble.select(slice(None)).double()
    factors: list[Tensor] = []
    jacobian: Tensor | None = None
    for layer, (_, z) in enumerate(double.pre_activations(x.double())):
        weight = double.weights[layer][:, None]
        step = weight.expand(-1, z.shape[1], -1, -1) if jacobian is None else weight @ jacobian
        slope = double.derivative(z, layer) if layer < len(double.slopes) else torch.ones_like(z)
        jacobian = slope[..., None] * step
        factors.append(_log_volume(jacobian))
    return torch.stack(factors)


def _log_volume(jacobian: Tensor) -> Tensor:
    """log √det(JᵀJ), Σ log σᵢ; −∞ where a matrix lacks full column rank to working precision."""
    if jacobian.shape[-2] < jacobian.shape[-1]:
        return jacobian.new_full(jacobian.shape[:-2], -torch.inf)
    sigma = torch.linalg.svdvals(jacobian)
    # The usual threshold of numerical rank; rounding would otherwise leave a finite value of no meaning.
    floor = sigma[..., :1] * max(jacobian.shape[-2:]) * torch.finfo(sigma.dtype).eps
    return torch.where(sigma > floor, sigma, 0.0).log().sum(dim=-1)
