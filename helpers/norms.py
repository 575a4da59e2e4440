"""Balls around points, in which an attack may move: L∞ boxes and L2 balls, cut by the bounds of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from helpers.checks import Choice

# Lowest and highest value of an input, or of each coordinate; None where the data have none.
Bounds = tuple[float | Tensor, float | Tensor] | None


@dataclass(frozen=True)
class Norm:
    """A norm on the input space, with what an attack needs of its unit ball.

    Attributes:
        name: its name.
        length: the norm of ``[..., n_in]`` along the last dimension.
        ascent: the step of length 1 along which a loss with this gradient rises most; 0 for a gradient of 0.
        sample: points drawn uniformly from the unit ball, of this shape, with this generator.
        project: the nearest vector of at most this length.
    """

    name: str
    length: Callable[[Tensor], Tensor]
    ascent: Callable[[Tensor], Tensor]
    sample: Callable[[tuple[int, ...], torch.Generator], Tensor]
    project: Callable[[Tensor, float], Tensor]


def _l2(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return length


def _l2_ascent(gradient: Tensor) -> Tensor:
    # Dividing by the largest entry first keeps squares of tiny gradients above zero.
    scaled = gradient / gradient.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
    return scaled / _l2(scaled).clamp(min=torch.finfo(gradient.dtype).tiny)


def _linf_sample(shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=stream, dtype=torch.float64) - 1


def _l2_sample(shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
    # A uniform direction, and a radius whose n-th power is uniform.
    direction = torch.randn(shape, generator=stream, dtype=torch.float64)
    radius = torch.rand((*shape[:-1], 1), generator=stream, dtype=torch.float64) ** (1 / shape[-1])
    return direction / _l2(direction) * radius


def _l2_project(delta: Tensor, radius: float) -> Tensor:
    length = _l2(delta)
    return torch.where(length > radius, delta * (radius / length), delta)


NORMS: Mapping[str, Norm] = MappingProxyType(
    {
        norm.name: norm
        for norm in (
            Norm(
                "linf",
                lambda delta: delta.abs().amax(-1),
                torch.sign,
                _linf_sample,
                lambda delta, radius: delta.clamp(-radius, radius),
            ),
            Norm("l2", lambda delta: _l2(delta)[..., 0], _l2_ascent, _l2_sample, _l2_project),
        )
    }
)

NORM_NAME = Choice(tuple(NORMS))


def into_ball(point: Tensor, centre: Tensor, epsilon: float, norm: Norm, bounds: Bounds = None) -> Tensor:
    """Return the point of the ball, and of the bounds, to which an attack's step is cut back.

    The step is projected onto the ball and then clamped to the bounds, in float64, and rounded towards the centre, so
    that the result lies in both to the last bit whatever the size of the numbers.

    Args:
        point: where the attack wants to go, ``[..., n_in]``.
        centre: the ball's centre, within the bounds, of the same shape.
        epsilon: its radius, data units.
        norm: its norm.
        bounds: of the data.
    """
    middle = centre.double()
    wanted = middle + norm.project(point.double() - middle, epsilon)
    if bounds is not None:
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in bounds)
        wanted = torch.minimum(torch.maximum(wanted, low), high)
    rounded = wanted.to(centre.dtype)
    too_far = (rounded.double() - middle).abs() > (wanted - middle).abs()
    return torch.where(too_far, torch.nextafter(rounded, centre.expand_as(rounded)), rounded)


NORM = Choice(("linf", "l2"))
