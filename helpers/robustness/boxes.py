"""What a point may become: boxes and balls around the points of an ensemble, and linear functions on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from helpers.models.ensemble import Ensemble
from helpers.norms import NORM_NAME, Limits, NormName, check_limits, within

# Lower and upper bounds of the same quantities.
Bounds = tuple[Tensor, Tensor]


class Region(ABC):
    """A convex region around every point, whose ``centre`` is ``[n_networks, n_points, n_in]``."""

    centre: Tensor

    @abstractmethod
    def least(self, rows: Tensor) -> Tensor:
        """Smallest value of linear functions on the region.

        Args:
            rows: their coefficients, ``[n_networks, n_points, n_rows, n_in]``.

        Returns:
            ``[n_networks, n_points, n_rows]``.
        """

    @abstractmethod
    def affine(self, weight: Tensor, bias: Tensor) -> Bounds:
        """Smallest and largest value of ``Wx + b``: exact, but for rounding.

        Args:
            weight: ``[n_networks, n_out, n_in]``.
            bias: ``[n_networks, n_out]``.

        Returns:
            Two tensors ``[n_networks, n_points, n_out]``.
        """

    @property
    @abstractmethod
    def size(self) -> Tensor:
        """Largest |x_i| in the region, ``[n_networks, n_points, n_in]``."""

    @abstractmethod
    def points(self, part: slice) -> Region:
        """The regions of some of the points."""


@dataclass(frozen=True)
class Box(Region):
    """All x with |x − centre| ≤ half in each coordinate.

    Attributes:
        centre: ``[n_networks, n_points, n_in]``.
        half: half the widths, same shape.
    """

    centre: Tensor
    half: Tensor

    @classmethod
    def around(cls, x: Tensor, radius: float | Tensor, limits: Limits | None) -> Box:
        """The box of this radius around points, cut by the limits of the data."""
        # A point on a limit may lie beyond it by its rounding, and belongs to its box all the same.
        lower, upper = torch.minimum(within(x - radius, limits), x), torch.maximum(within(x + radius, limits), x)
        return cls.between(lower, upper)

    @classmethod
    def between(cls, lower: Tensor, upper: Tensor) -> Box:
        """The box between two corners, each ``[n_networks, n_points, n_in]``."""
        return cls((lower + upper) / 2, (upper - lower) / 2)

    def least(self, rows: Tensor) -> Tensor:
        return ((rows @ self.centre[..., None]) - rows.abs() @ self.half[..., None])[..., 0]

    def affine(self, weight: Tensor, bias: Tensor) -> Bounds:
        middle = torch.baddbmm(bias[:, None], self.centre, weight.mT)
        spread = self.half @ weight.abs().mT
        return middle - spread, middle + spread

    @property
    def size(self) -> Tensor:
        return self.centre.abs() + self.half

    def points(self, part: slice) -> Box:
        return Box(self.centre[:, part], self.half[:, part])


@dataclass(frozen=True)
class Ball(Region):
    """All x with ‖x − centre‖₂ ≤ radius.

    Attributes:
        centre: ``[n_networks, n_points, n_in]``.
        radius: ``[n_networks, n_points, 1]``.
    """

    centre: Tensor
    radius: Tensor

    @classmethod
    def around(cls, x: Tensor, radius: Tensor, limits: Limits | None) -> Ball:
        """The ball of this radius around points; limits of the data leave it whole, which is sound."""
        return cls(x, radius)

    def least(self, rows: Tensor) -> Tensor:
        spread: Tensor = rows.norm(dim=-1) * self.radius
        return (rows @ self.centre[..., None])[..., 0] - spread

    def affine(self, weight: Tensor, bias: Tensor) -> Bounds:
        middle = torch.baddbmm(bias[:, None], self.centre, weight.mT)
        spread = self.radius * weight.norm(dim=2)[:, None]
        return middle - spread, middle + spread

    @property
    def size(self) -> Tensor:
        return self.centre.abs() + self.radius

    def points(self, part: slice) -> Ball:
        return Ball(self.centre[:, part], self.radius[:, part])


AROUND: Mapping[str, Callable[[Tensor, Tensor, Limits | None], Region]] = MappingProxyType(
    {"linf": Box.around, "l2": Ball.around}
)


def region(
    ensemble: Ensemble,
    x: Tensor,
    epsilon: float | Tensor,
    *,
    norm: NormName = "linf",
    limits: Limits | None = None,
) -> Region:
    """All that points may become within ε.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` shared by all.
        epsilon: ε ≥ 0, data units; one number, or a tensor that broadcasts against ``[n_networks, n_points]``.
        norm: ``"linf"`` or ``"l2"``.
        limits: lowest and highest value of an input, or of each coordinate, if there are such. They cut boxes; a ball
            is left whole, which is sound.

    Returns:
        The region, in float64.

    Raises:
        ValueError: the shapes do not fit, ε is negative or not finite, or x lies outside its limits.
    """
    NORM_NAME("norm", norm)
    check_outputs(ensemble)
    check_limits(limits, x)
    x = ensemble.own(x.double())
    radius = torch.as_tensor(epsilon, dtype=torch.float64, device=x.device)
    if not bool((radius.isfinite() & (radius >= 0)).all()):
        raise ValueError(f"epsilon must be finite numbers at least 0, got {epsilon!r}.")
    return AROUND[norm](x, radius.expand(x.shape[:2])[..., None], limits)


def check_outputs(ensemble: Ensemble) -> None:
    """Raise ValueError unless the outputs are at least two, and linear: no bound here knows of others."""
    if ensemble.output != "linear":
        raise ValueError(f"ensemble must have linear outputs to be bounded, got {ensemble.output!r} ones.")
    if ensemble.layer_sizes[-1] < 2:
        raise ValueError(f"ensemble must have at least two outputs to be bounded, got {ensemble.layer_sizes[-1]}.")
