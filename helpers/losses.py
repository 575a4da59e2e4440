"""The registry of losses, each with its gradient written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional as F

from helpers.checks import Choice


@dataclass(frozen=True)
class Loss:
    """A loss of each point.

    Attributes:
        name: its name.
        value: takes logits ``[..., n_points, n_out]`` and targets, returns ``[..., n_points]``.
        gradient: takes the same, returns the derivative of each point's loss by its logits.
        classes: whether targets are classes ``[..., n_points]``, int64, 0 … n_out − 1, rather than numbers
            ``[..., n_points, n_out]``.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    classes: bool

    def check(self, y: Tensor, n_out: int) -> None:
        """Raise ValueError unless y can be the targets of networks with ``n_out`` outputs."""
        if self.classes:
            if y.is_floating_point() or (y.numel() and not 0 <= int(y.min()) <= int(y.max()) < n_out):
                raise ValueError(f"y must hold classes from 0 to {n_out - 1}, whole numbers, for {self.name}.")
        elif not y.is_floating_point() or y.shape[-1] != n_out:
            raise ValueError(
                f"y must hold {n_out} floating point targets for each point for {self.name}, "
                f"got shape {list(y.shape)} of {y.dtype}."
            )


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    picked: Tensor = logits.gather(-1, y[..., None])[..., 0]
    return logits.logsumexp(-1) - picked


def _cross_entropy_gradient(logits: Tensor, y: Tensor) -> Tensor:
    return logits.softmax(-1).scatter_add(-1, y[..., None], logits.new_tensor(-1.0).expand(*y.shape, 1))


def _binary_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1)


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        loss.name: loss
        for loss in (
            Loss("cross_entropy", _cross_entropy, _cross_entropy_gradient, classes=True),
            Loss(
                "binary_cross_entropy",
                _binary_cross_entropy,
                lambda logits, y: (logits.sigmoid() - y) / y.shape[-1],
                classes=False,
            ),
            Loss(
                "squared_error",
                lambda logits, y: (logits - y).square().mean(-1),
                lambda logits, y: 2 * (logits - y) / y.shape[-1],
                classes=False,
            ),
        )
    }
)

LOSS_NAME = Choice(tuple(LOSSES))
