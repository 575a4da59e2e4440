"""A training step of stacked networks, written out in plain PyTorch: forward, backward, update.

Written out, the step needs no record of operations for automatic differentiation, computes each derivative
from what the forward pass has left, and updates all parameters of all members as one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

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
    last, z = len(passes) - 1, passes[-1][1]
    logits = ensemble.logits(z)
    losses, delta = loss.function(logits, y)
    delta /= x.shape[1]
    if ensemble.output != "linear":
        if ensemble.output == "negated":
            logits, delta = logits.neg_(), delta.neg_()  # back to ψ(z), and the derivative by it
        ensemble.slope_gradient(delta, z, last, out=gradient.slopes[last])
        delta = ensemble.backward(delta, z, logits, last)
    for layer in reversed(range(len(passes))):
        value = passes[layer][0]
        torch.bmm(delta.transpose(1, 2), value, out=gradient.weights[layer])
        if layer < last or ensemble.output_bias:
            torch.sum(delta, dim=1, out=gradient.biases[layer])
        else:
            gradient.biases[layer].zero_()
        if layer:
            delta = torch.bmm(delta, ensemble.weights[layer])
            z = passes[layer - 1][1]
            ensemble.slope_gradient(delta, z, layer - 1, out=gradient.slopes[layer - 1])
            delta = ensemble.backward(delta, z, value, layer - 1)
    return losses.mean(dim=1)


def optimiser(
    name: str,
    state: Sequence[Tensor],
    gradient: Tensor,
    rates: Sequence[float],
    *,
    steps: int,
    momentum: float = 0.9,
    decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Return PyTorch's optimiser, at work on arrays of all parameters of all members and on given moments.

    Args:
        name: ``"adam"`` or ``"sgd"``.
        state: parameters, first and second moments, each ``[n_networks, n_parameters]``; changed by its steps.
        gradient: where it finds the gradient at a step.
        rates: learning rate of each member.
        steps: steps taken before.
        momentum: of SGD.
        decay: weight decay.

    References:
        Kingma & Ba (2015), algorithm 1.
    """
    groups: list[dict[str, object]] = []
    moments: dict[Tensor, dict[str, Tensor]] = {}
    start = 0
    for rate, members in groupby(rates):
        rows = slice(start, start := start + len(list(members)))
        parameter = nn.Parameter(state[0][rows])
        parameter.grad = gradient[rows]
        groups.append({"params": [parameter], "lr": rate})
        moments[parameter] = (
            {"step": torch.tensor(float(steps), device=gradient.device), "exp_avg": state[1][rows]}
            | {"exp_avg_sq": state[2][rows]}
            if name == "adam"
            else {"momentum_buffer": state[1][rows]}
        )
    # Fused: one pass over memory for each step instead of ten.
    made: torch.optim.Optimizer = (
        torch.optim.Adam(groups, weight_decay=decay, fused=True)
        if name == "adam"
        else torch.optim.SGD(groups, lr=rates[0], momentum=momentum, weight_decay=decay, fused=True)
    )
    made.state |= moments
    return made
