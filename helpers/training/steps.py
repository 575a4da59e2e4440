"""A training step of stacked networks, written out in plain PyTorch: forward, backward, update.

Written out, the step needs no record of operations for automatic differentiation, computes each derivative
from what the forward pass has left, and updates all parameters of all members as one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor, nn

from helpers.models.ensemble import Ensemble
from helpers.models.losses import Loss


@dataclass(frozen=True)
class Moment:
    """Where in its training a step is.

    Attributes:
        progress: share of the epochs that are done, 0 to 1.
        streams: one stream of random numbers for each member, its own and new in every epoch.
    """

    progress: float
    streams: Sequence[torch.Generator]


class Objective(Protocol):
    """What a step makes smaller, where that is not simply the mean loss of the batch (`differentiate`).

    A member's result must depend on its own numbers, points and stream alone.
    """

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        """Write the derivative of the objective into ``gradient`` and return its value, as `differentiate` does.

        Args:
            ensemble: the networks.
            gradient: an ensemble of the same shape, whose parameters are overwritten.
            x: a batch for each member, ``[n_networks, n_points, n_in]``.
            y: its targets.
            loss: the protocol's.
            moment: where in its training the step is.

        Returns:
            The value of each member, ``[n_networks]``.
        """


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
    stepper: torch.optim.Optimizer = (
        torch.optim.Adam(groups, weight_decay=decay, fused=True)
        if name == "adam"
        else torch.optim.SGD(groups, lr=rates[0], momentum=momentum, weight_decay=decay, fused=True)
    )
    stepper.state |= moments
    return stepper
