"""Constraints on hidden values: from below, from above, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from helpers.checks import Choice, Integer, ListOf, Real
from helpers.models.ensemble import Ensemble

Side = Literal["below", "above"]
ScopeName = Literal["layer", "unit", "both"]


@dataclass(frozen=True)
class Span:
    """The smallest and the largest of the values that a constraint is measured by.

    Attributes:
        low, high: ``[n_networks, 1, 1]``, or ``[n_networks, 1, width]`` where each unit has its own.
    """

    low: Tensor
    high: Tensor

    def at(self, fraction: float) -> Tensor:
        """Return the value at a fraction of the way from low to high; exactly those at 0 and 1."""
        return self.low * (1 - fraction) + self.high * fraction


@torch.no_grad()
def value_span(ensemble: Ensemble, hidden: Tensor, layer: int = 0, *, scope: ScopeName = "layer") -> Span:
    """Return the range of hidden values.

    Args:
        ensemble: the networks.
        hidden: values of a hidden layer, as `Ensemble.hidden` returns them.
        layer: which hidden layer, as there.
        scope: over each ``"unit"`` alone; over the whole ``"layer"``; or, as the study's code does, over ``"both"``
            activations where ψ is applied to the output again: the layer's and ψ(z) of the last one.

    Raises:
        ValueError: the scope is another.
    """
    dims = (1,) if Choice(get_args(ScopeName))("scope", scope) == "unit" else (1, 2)
    low, high = hidden.amin(dims, keepdim=True), hidden.amax(dims, keepdim=True)
    if scope == "both" and ensemble.output != "linear":
        output = ensemble(hidden, first=ensemble.hidden_layer(layer) + 1)
        output = -output if ensemble.output == "negated" else output
        low = torch.minimum(low, output.amin(dims, keepdim=True))
        high = torch.maximum(high, output.amax(dims, keepdim=True))
    return Span(low, high)


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """What a hidden value x becomes: y = min(max(scale · x + offset · (hi − lo), floor), cutoff).

    Floor and cutoff are fractions of the way from lo to hi, so that ``Constraint(floor=0.35)`` clamps from below at
    lo + 0.35 (hi − lo) and ``Constraint(cutoff=0.35)`` from above at the same point.

    Attributes:
        floor: smallest value let through, a fraction of the range; None for none.
        cutoff: largest value let through, likewise.
        scale: factor of the values, and with them of their range.
        offset: what is added, a fraction of the range.
        units: units that it is for; None for all.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is not finite, a unit is negative or named twice, or there is none.

    References:
        Oursland (2024).
    """

    floor: float | None = None
    cutoff: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name in ("floor", "cutoff", "scale", "offset"):
            if getattr(self, name) is not None:
                Real()(name, getattr(self, name))
        if self.units is not None:
            ListOf(Integer(at_least=0))("units", self.units)

    def __call__(self, values: Tensor, span: Span) -> Tensor:
        """Return the constrained values, ``[n_networks, n_points, width]``.

        Raises:
            ValueError: a unit is named that is not there.
        """
        constrained = values
        if self.scale != 1 or self.offset != 0:
            constrained = self.scale * constrained + self.offset * (span.high - span.low)
        if self.floor is not None:
            constrained = torch.maximum(constrained, span.at(self.floor))
        if self.cutoff is not None:
            constrained = torch.minimum(constrained, span.at(self.cutoff))
        if self.units is None:
            return constrained
        ListOf(Integer(at_least=0, at_most=values.shape[2] - 1))("units", self.units)
        chosen = torch.zeros(values.shape[2], dtype=torch.bool, device=values.device)
        chosen[list(self.units)] = True
        return torch.where(chosen, constrained, values)


class Perturbation(nn.Module):
    """A layer that constrains the values passing through it once it is told to.

    In training, and while no constraint is set, it returns its input itself.

    Args:
        span: what the constraint is measured by.

    Attributes:
        constraint: the constraint, or None.
    """

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span
        self.constraint: Constraint | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, constrained or as they came."""
        return values if self.training or self.constraint is None else self.constraint(values, self.span)


class Perturbed(nn.Module):
    """An ensemble with a perturbation layer behind one of its hidden layers.

    Args:
        ensemble: the networks.
        span: what constraints are measured by, see `value_span`.
        layer: the hidden layer behind which the perturbation sits, from 0; −1 is the last one.
    """

    def __init__(self, ensemble: Ensemble, span: Span, layer: int = 0) -> None:
        super().__init__()
        self.ensemble, self.perturbation = ensemble, Perturbation(span)
        self.layer = ensemble.hidden_layer(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``[n_networks, n_points, n_out]``."""
        following = self.layer + 1
        values, _ = next(islice(self.ensemble.pre_activations(x), following, None))
        logits: Tensor = self.ensemble(self.perturbation(values), first=following)
        return logits
