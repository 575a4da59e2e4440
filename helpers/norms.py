"""Norms of the input space and their balls, in which an attack may move and a network is to hold its class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from torch import Tensor

from helpers.checks import Choice

NormName = Literal["linf", "l2"]
# Lowest and highest value that an input can have, or each coordinate of one.
Limits = tuple[float | Tensor, float | Tensor]


class Norm(ABC):
    """A norm, with what attacks and bounds need of it; vectors lie along the last dimension, ``[..., n_in]``.

    Attributes:
        name: its name.
    """

    name: ClassVar[NormName]

    @abstractmethod
    def length(self, vectors: Tensor) -> Tensor:
        """The norm ‖v‖, ``[...]``."""

    @abstractmethod
    def dual(self, rows: Tensor) -> Tensor:
        """The dual norm, max g·v over ‖v‖ ≤ 1, ``[...]``: how fast a function of this gradient g can change."""

    @abstractmethod
    def ascent(self, gradient: Tensor) -> Tensor:
        """The v of length 1 with the largest g·v, along which a loss rises most; 0 for a gradient of 0."""

    @abstractmethod
    def outward(self, offset: Tensor) -> Tensor:
        """A gradient g of dual length 1 with g·v = ‖v‖: the way in which the norm of v grows; v must not be 0."""

    @abstractmethod
    def sample(self, shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
        """Vectors drawn uniformly from the unit ball, of this shape, float64."""

    @abstractmethod
    def project(self, vectors: Tensor, radius: float) -> Tensor:
        """The nearest vectors of at most this length."""

    @abstractmethod
    def turns(self, start: Tensor, step: Tensor) -> list[Tensor]:
        """In the plane, all t at which ‖start + t·step‖ can have its least value, each ``[...]``; NaN where none is."""


class _Largest(Norm):
    """L∞, max |vᵢ|: its balls are boxes."""

    name = "linf"

    def length(self, vectors: Tensor) -> Tensor:
        return vectors.abs().amax(-1)

    def dual(self, rows: Tensor) -> Tensor:
        return rows.abs().sum(-1)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def outward(self, offset: Tensor) -> Tensor:
        chosen = torch.zeros_like(offset).scatter_(-1, offset.abs().argmax(-1, keepdim=True), 1.0)
        return chosen * offset.sign()

    def sample(self, shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
        return 2 * torch.rand(shape, generator=stream, dtype=torch.float64) - 1

    def project(self, vectors: Tensor, radius: float) -> Tensor:
        return vectors.clamp(-radius, radius)

    def turns(self, start: Tensor, step: Tensor) -> list[Tensor]:
        # max(|u|, |v|) along a line bends where u = 0, v = 0 or u = ±v.
        (u, v), (du, dv) = start.unbind(-1), step.unbind(-1)
        return [-u / du, -v / dv, (v - u) / (du - dv), -(u + v) / (du + dv)]


class _Euclidean(Norm):
    """L2, √Σvᵢ²."""

    name = "l2"

    def length(self, vectors: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
        return length

    def dual(self, rows: Tensor) -> Tensor:
        return self.length(rows)

    def ascent(self, gradient: Tensor) -> Tensor:
        # Dividing by the largest entry first keeps squares of tiny gradients above zero.
        tiny = torch.finfo(gradient.dtype).tiny
        scaled = gradient / gradient.abs().amax(-1, keepdim=True).clamp(min=tiny)
        return scaled / self.length(scaled)[..., None].clamp(min=tiny)

    def outward(self, offset: Tensor) -> Tensor:
        return offset / self.length(offset)[..., None]

    def sample(self, shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
        # A uniform direction, and a radius whose n-th power is uniform.
        direction = torch.randn(shape, generator=stream, dtype=torch.float64)
        radius = torch.rand((*shape[:-1], 1), generator=stream, dtype=torch.float64) ** (1 / shape[-1])
        return direction / self.length(direction)[..., None] * radius

    def project(self, vectors: Tensor, radius: float) -> Tensor:
        length = self.length(vectors)[..., None]
        return torch.where(length > radius, vectors * (radius / length), vectors)

    def turns(self, start: Tensor, step: Tensor) -> list[Tensor]:
        return [-(start * step).sum(-1) / (step * step).sum(-1)]


NORMS: Mapping[str, Norm] = MappingProxyType({norm.name: norm for norm in (_Largest(), _Euclidean())})

NORM_NAME = Choice(tuple(NORMS))


def check_limits(limits: Limits | None, x: Tensor | None = None) -> None:
    """Refuse limits of the data that no input can keep, or that a given one does not.

    Args:
        limits: lowest and highest value, if there are such. A coordinate that is the same in all data may have both
            alike.
        x: points, ``[..., n_in]``.

    Raises:
        ValueError: the lowest value is not below the highest, or a point lies outside.
    """
    if limits is None:
        return
    low, high = (torch.as_tensor(limit, dtype=torch.float64) for limit in limits)
    if not bool((low <= high).all() and (low < high).any()):
        raise ValueError(f"limits must be the lowest and the highest value of an input, in this order, got {limits!r}.")
    # In the precision of the points: those on a limit have its rounding.
    if x is not None and not bool(((x >= low.to(x)) & (x <= high.to(x))).all()):
        raise ValueError(f"x must lie within its limits {limits!r}, got values from {x.min():g} to {x.max():g}.")


def within(x: Tensor, limits: Limits | None) -> Tensor:
    """Return the nearest points that keep the limits of the data, if there are such; shapes as x."""
    if limits is None:
        return x
    low, high = (torch.as_tensor(limit, dtype=x.dtype, device=x.device) for limit in limits)
    return torch.minimum(torch.maximum(x, low), high)


def into_ball(point: Tensor, centre: Tensor, epsilon: float, norm: Norm, limits: Limits | None = None) -> Tensor:
    """Return the point of the ball, and within the limits, to which an attack's step is cut back.

    The step is projected onto the ball and then clamped to the limits, in float64, and rounded towards the centre, so
    that the result lies in both to the last bit whatever the size of the numbers.

    Args:
        point: where the attack wants to go, ``[..., n_in]``.
        centre: the ball's centre, within the limits, of the same shape.
        epsilon: its radius, data units.
        norm: its norm.
        limits: of the data, if there are such.
    """
    middle = centre.double()
    wanted = within(middle + norm.project(point.double() - middle, epsilon), limits)
    rounded = wanted.to(centre.dtype)
    too_far = (rounded.double() - middle).abs() > (wanted - middle).abs()
    return torch.where(too_far, torch.nextafter(rounded, centre.expand_as(rounded)), rounded)
