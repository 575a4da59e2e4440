"""The registry of losses, each with its derivative written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.checks import Choice

LossName = Literal["cross_entropy", "binary_cross_entropy", "squared_error", "margin"]


@dataclass(frozen=True)
class Loss:
    """A loss of each point.

    Attributes:
        name: its name.
        function: takes logits ``[..., n_points, n_out]`` and targets; returns the loss of each point
            ``[..., n_points]`` and its derivative by the logits.
        classes: whether targets are classes ``[..., n_points]``, int64, 0 … n_out − 1, rather than numbers
            ``[..., n_points, n_out]``.
    """

    name: LossName
    function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    classes: bool

    def check(self, y: Tensor, n_out: int) -> None:
        """Raise ValueError unless y can be the targets of networks with ``n_out`` outputs."""
        if self.classes:
            if y.is_floating_point() or (y.numel() and not 0 <= int(y.min()) <= int(y.max()) < n_out):
                raise ValueError(
                    f"y must hold classes from 0 to {n_out - 1}, whole numbers, for {self.name}, "
                    f"got {y.dtype} from {y.min().item():g} to {y.max().item():g}."
                )
        elif not y.is_floating_point() or y.shape[-1] != n_out:
            raise ValueError(
                f"y must hold {n_out} floating point targets for each point for {self.name}, "
                f"got shape {list(y.shape)} of {y.dtype}."
            )


def _cross_entropy(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    log_probability, y = logits.log_softmax(-1), y[..., None]
    value = -log_probability.gather(-1, y)[..., 0]
    return value, log_probability.exp_().scatter_add_(-1, y, logits.new_tensor(-1.0).expand(y.shape))


def _binary_cross_entropy(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    value = F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1)
    return value, (logits.sigmoid() - y) / y.shape[-1]


def _squared_error(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    error = logits - y
    return error.square().mean(-1), 2 * error / y.shape[-1]


def _margin(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    y = y[..., None]
    right = logits.gather(-1, y)
    rival, number = logits.scatter(-1, y, -torch.inf).max(-1, keepdim=True)
    derivative = torch.zeros_like(logits).scatter_(-1, number, 1.0).scatter_(-1, y, -1.0)
    return (rival - right)[..., 0], derivative


LOSSES: Mapping[LossName, Loss] = MappingProxyType(
    {
        loss.name: loss
        for loss in (
            Loss("cross_entropy", _cross_entropy, classes=True),
            Loss("binary_cross_entropy", _binary_cross_entropy, classes=False),
            Loss("squared_error", _squared_error, classes=False),
            # The largest logit of another class less that of its own: negative where the class is right, and its
            # gradient never vanishes with the confidence of the network, as that of the cross-entropy does.
            Loss("margin", _margin, classes=True),
        )
    }
)

LOSS_NAME = Choice(tuple(LOSSES))
