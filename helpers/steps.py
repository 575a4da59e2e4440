"""A training step of stacked networks, written out in plain PyTorch: forward, backward, update.

Written out, the step needs no record of operations for automatic differentiation, computes each derivative
from what the forward pass has left, and updates all parameters of all members as one array.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.losses import Loss
from helpers.models import Ensemble


@torch.no_grad()
def differentiate(ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Write the derivative of each member's mean loss by its parameters into ``gradient``.

    Args:
        ensemble: the networks.
        gradient: an ensemble of the same shape, whose parameters are overwritten.
        x: a batch for each member, ``[n_networks, n_points, n_in]``.
        y: its targets.
        loss: averaged over the points.

    Returns:
        The mean loss of each member, ``[n_networks]``.
    """
    passes = list(ensemble.pre_activations(x))
    logits = passes[-1][1]
    delta = loss.gradient(logits, y) / x.shape[1]
    for layer in reversed(range(len(passes))):
        value = passes[layer][0]
        torch.bmm(delta.transpose(1, 2), value, out=gradient.weights[layer])
        torch.sum(delta, dim=1, out=gradient.biases[layer])
        if layer:
            delta = torch.bmm(delta, ensemble.weights[layer])
            z = passes[layer - 1][1]
            ensemble.slope_gradient(delta, z, layer - 1, out=gradient.slopes[layer - 1])
            delta *= ensemble.derivative(z, layer - 1, value)
    return loss.value(logits, y).mean(dim=1)


# Both take arrays [n_networks, n_parameters], or [n_networks, 1] for the rates, and change all but the gradient.


@torch.no_grad()
def adam(
    parameters: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, rate: Tensor, decay: float
) -> None:
    """Take step number ``step`` (from 1) of Adam, as ``torch.optim.Adam`` does it.

    References:
        Kingma & Ba (2015), algorithm 1.
    """
    beta, gamma, epsilon = 0.9, 0.999, 1e-8
    if decay:
        gradient = gradient + decay * parameters
    first.lerp_(gradient, 1 - beta)
    second.mul_(gamma).addcmul_(gradient, gradient, value=1 - gamma)
    scale = (second.sqrt() / (1 - gamma**step) ** 0.5).add_(epsilon)
    parameters.sub_((first / scale).mul_(rate / (1 - beta**step)))


@torch.no_grad()
def sgd(parameters: Tensor, gradient: Tensor, first: Tensor, momentum: float, rate: Tensor, decay: float) -> None:
    """Take a step of gradient descent with momentum, as ``torch.optim.SGD`` does it."""
    if decay:
        gradient = gradient + decay * parameters
    first.mul_(momentum).add_(gradient)
    parameters.sub_(first * rate)
