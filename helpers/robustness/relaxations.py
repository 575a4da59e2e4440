"""Straight lines around activation functions: what a bound on a network puts in the place of each neuron's curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from helpers.checks import Choice
from helpers.models.activations import LEFT_SLOPES, activation

Slope = Literal["chord", "adaptive"]
# Where ψ' turns (ψ'' = 0) and where ψ itself does (ψ' = 0), for the two that are not monotone though smooth: z·F(z)
# with F(z) + F(−z) = 1, hence ψ'(z) + ψ'(−z) = 1.
TURNS = MappingProxyType({"gelu": 2**0.5, "silu": 2.3993572805154675})
LOWEST = MappingProxyType({"gelu": -0.7517915246935646, "silu": -1.2784645427610738})
# Largest |ψ'|; PReLU's is max(1, |slope|).
STEEPEST: Mapping[str, float] = MappingProxyType(
    {"gelu": 1.1289042, "silu": 1.0998394, "sigmoid": 0.25}
    | dict.fromkeys(("tanh", "relu", "leaky_relu", "prelu", "elu", "softsign", "abs"), 1.0)
)


class Lines(NamedTuple):
    """Two lines with ``lower_slope·z + lower_offset ≤ ψ(z) ≤ upper_slope·z + upper_offset`` on an interval."""

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor


@torch.no_grad()
def relax(name: str, lower: Tensor, upper: Tensor, *slope: Tensor, lines: Slope = "chord") -> Lines:
    """Bound an activation on intervals by two lines each.

    ``chord``: both lines have the slope of the chord m = (ψ(u) − ψ(l)) / (u − l), and the offsets are the smallest
    and largest value of ψ(z) − mz on [l, u], which lie at an end, at the kink, or where ψ'(z) = m. As the interval
    shrinks, the gap between the lines does with its square.

    ``adaptive``: for the piecewise linear ones the line through the kink takes the slope of the longer side, so that
    one of two sides is exact; for the smooth ones m = ψ'((l + u)/2).

    Args:
        name: of the activation.
        lower: l, any shape, finite.
        upper: u ≥ l, same shape.
        *slope: PReLU's, broadcasting against l.
        lines: ``"chord"`` or ``"adaptive"``.

    Returns:
        Slopes and offsets, each of the shape of l. Offsets are widened by a few units in the last place for the
        rounding of their own computation.

    References:
        Zhang et al. (2018), CROWN, §3.3; Singh et al. (2018), DeepZ, for parallel lines.
    """
    Choice(get_args(Slope))("lines", lines)
    psi = activation(name)
    left = _left_slope(name, lower, slope)
    at_lower, at_upper = psi.function(lower, *slope), psi.function(upper, *slope)
    middle, width = (lower + upper) / 2, upper - lower
    # On an interval of a few units in the last place the difference quotient is noise; the derivative is not.
    narrow = width <= 1e3 * torch.finfo(lower.dtype).eps * (lower.abs() + 1e-3)
    m = torch.where(narrow, psi.derivative(middle, *slope), (at_upper - at_lower) / torch.where(narrow, 1.0, width))
    if lines == "adaptive" and left is None:
        m = psi.derivative(middle, *slope)
    ends = [at_lower - m * lower, at_upper - m * upper]
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    for z, slack in _stationary(name, m):
        z = torch.minimum(torch.maximum(z, lower), upper)
        value = psi.function(z, *slope) - m * z
        low, high = torch.minimum(low, value - slack), torch.maximum(high, value + slack)
    rounding = 4 * torch.finfo(lower.dtype).eps
    size = torch.maximum(lower.abs(), upper.abs())
    spare = rounding * (torch.maximum(at_lower.abs(), at_upper.abs()) + m.abs() * size)
    low, high = low - spare, high + spare
    if lines == "chord" or left is None:
        return Lines(m, low, m, high)
    # Convex where the left side is less steep: then the line through the kink lies below, else above.
    longer = torch.where(upper > -lower, 1.0, left)
    crossing = (lower < 0) & (upper > 0)
    below, above = crossing & (left <= 1), crossing & (left > 1)
    return Lines(
        torch.where(below, longer, m), torch.where(below, 0.0, low), torch.where(above, longer, m),
        torch.where(above, 0.0, high),
    )  # fmt: skip


def image(name: str, lower: Tensor, upper: Tensor, *slope: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of ψ on [l, u]; differentiable, for training with intervals.

    Args:
        name: of the activation.
        lower: l, any shape.
        upper: u ≥ l, same shape.
        *slope: PReLU's, broadcasting against l.

    Returns:
        Two tensors of the shape of l.
    """
    psi = activation(name)
    ends = psi.function(lower, *slope), psi.function(upper, *slope)
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    turn = LOWEST.get(name, 0.0 if name in ("abs", "prelu") else None)
    if turn is not None:
        # ψ may fall on the left of the turn; |z| and a PReLU of negative slope have it at 0.
        inside = (lower < turn) & (upper > turn)
        bottom = psi.function(torch.full_like(lower, turn), *slope)
        low = torch.where(inside, torch.minimum(low, bottom), low)
    return low, high


@torch.no_grad()
def derivative_image(name: str, lower: Tensor, upper: Tensor, *slope: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of ψ' on [l, u]; at a kink in the interval both one-sided slopes count.

    Args:
        name: of the activation.
        lower: l, any shape.
        upper: u ≥ l, same shape.
        *slope: PReLU's, broadcasting against l.

    Returns:
        Two tensors of the shape of l.
    """
    left = _left_slope(name, lower, slope)
    if left is not None:
        right = torch.ones_like(left)
        on_left, on_right = torch.where(lower <= 0, left, right), torch.where(upper >= 0, right, left)
        return torch.minimum(on_left, on_right), torch.maximum(on_left, on_right)
    psi = activation(name)
    ends = [psi.derivative(lower), psi.derivative(upper)]
    # ψ' is monotone between 0 and infinity for the S-shaped ones, everywhere for ELU, else up to the turns.
    turns = (-TURNS[name], TURNS[name]) if name in TURNS else () if name == "elu" else (0.0,)
    between = [psi.derivative(torch.minimum(torch.maximum(lower, lower.new_tensor(z)), upper)) for z in turns]
    extremes = torch.stack(ends + between)
    spare = 8 * torch.finfo(lower.dtype).eps
    return extremes.amin(0) - spare, extremes.amax(0) + spare


def _left_slope(name: str, like: Tensor, slope: tuple[Tensor, ...]) -> Tensor | None:
    if name not in LEFT_SLOPES:
        return None
    left = LEFT_SLOPES[name]
    return slope[0].expand_as(like) if left is None else torch.full_like(like, left)


def _stationary(name: str, m: Tensor) -> list[tuple[Tensor, Tensor | float]]:
    """Points where ψ'(z) = m or ψ has its kink, each with what ψ(z) − mz may miss of its extreme there."""
    if name in LEFT_SLOPES:
        return [(torch.zeros_like(m), 0.0)]
    if name in TURNS:
        middle, tail = _table(name)
        inner, outer = _invert(name, m, *middle), _invert(name, m, *tail)
        mirrored, slack = _invert(name, 1 - m, *tail)
        return [inner, outer, (-mirrored, slack)]
    if name == "elu":
        return [(m.clamp(torch.finfo(m.dtype).tiny, 1).log(), 0.0)]
    z = SOLUTIONS[name](m)
    return [(z, 0.0), (-z, 0.0)]


def _artanh_root(m: Tensor) -> Tensor:
    """artanh √(1 − m), precise for small m too."""
    m = m.clamp(torch.finfo(m.dtype).tiny, 1)
    return torch.log((1 + (1 - m).sqrt()) / m.sqrt())


# The z ≥ 0 with ψ'(z) = m. For an m beyond the range of ψ' any number will do: ψ(z) − mz then is monotone.
SOLUTIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "tanh": _artanh_root,
        "sigmoid": lambda m: 2 * _artanh_root(4 * m),
        "softsign": lambda m: m.clamp(1e-30, 1).rsqrt() - 1,
    }
)


@cache
def _table(name: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Values of ψ' and where it takes them, rising in ψ': between the turns, and left of them.

    The grids are dense at the turns, where z(m) is as steep as a square root.
    """
    turn, psi = TURNS[name], activation(name)
    steps = torch.linspace(0, 1, 2049, dtype=torch.float64)
    middle = turn * torch.sin(torch.pi * (steps - 0.5))
    tail = -turn - 38 * steps.square()  # farther out |ψ'| < 1e-15
    return (psi.derivative(middle), middle), (psi.derivative(tail), tail)


def _invert(name: str, m: Tensor, values: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Solve ψ'(z) = m on one monotone branch: look up the cell, interpolate, and take one step of Newton's.

    On a branch, what ψ(z) − mz still is from its extreme is at most |ψ'(z) − m| times the distance to it, which the
    cell bounds.
    """
    values, grid, psi = values.to(m), grid.to(m), activation(name)
    cell = torch.searchsorted(values, m.contiguous()).clamp(1, len(values) - 1)
    start, stop = grid[cell - 1], grid[cell]
    share = (m - values[cell - 1]) / (values[cell] - values[cell - 1])
    z = start + share.clamp(0, 1) * (stop - start)
    second = _second_derivative(name, z)
    step = (psi.derivative(z) - m) / torch.where(second == 0, 1.0, second)
    z = torch.minimum(torch.maximum(z - step, torch.minimum(start, stop)), torch.maximum(start, stop))
    reachable = (m >= values[0]) & (m <= values[-1])  # elsewhere there is no extreme on this branch to miss
    return z, torch.where(reachable, (psi.derivative(z) - m).abs() * (stop - start).abs(), 0.0)


def _second_derivative(name: str, z: Tensor) -> Tensor:
    if name == "gelu":
        density: Tensor = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
        return density * (2 - z.square())
    s = torch.sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))
