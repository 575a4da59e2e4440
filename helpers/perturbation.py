"""Constraining the hidden values of trained networks: which of them does a network need?

While a network trains, the perturbation layer is the identity; so it is put in afterwards, and no protocol of
training needs to know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from helpers.activations import ACTIVATIONS
from helpers.checks import Choice, Integer, ListOf, Real
from helpers.models import Ensemble

# A name's ending says what becomes of the last layer: z, ψ(z) or −ψ(z).
ENDINGS = {"": "linear", "2": "activated", "2_neg": "negated"}
HEADS = ("relu", "abs", "relu2", "abs2", "relu2_neg", "abs2_neg")
HEAD_NAME = Choice(tuple(name + ending for name in ACTIVATIONS for ending in ENDINGS))

SIDES = ("below", "above")
SCOPES = ("layer", "unit", "both")

# Rows of hidden values constrained at once: enough to be worth a call, few enough to stay in a core's cache.
ROWS = 8192


@dataclass(frozen=True)
class Head:
    """What a network applies behind its hidden layer and behind its last one.

    Attributes:
        activation: ψ.
        output: see `Ensemble`.
    """

    activation: str
    output: str


def head(name: str) -> Head:
    """Return the head of this name: an activation's, ``"relu"``, with ``"2"`` if it is applied to the output again,
    ``"relu2"``, and with ``"2_neg"`` if that is then negated, ``"relu2_neg"``.

    Raises:
        ValueError: there is no such activation or ending.

    References:
        Oursland (2024), whose six are `HEADS`; the rule carries over to every registered activation.
    """
    HEAD_NAME("head", name)
    ending = max((ending for ending in ENDINGS if name.endswith(ending)), key=len)
    return Head(name.removesuffix(ending), ENDINGS[ending])


@torch.no_grad()
def hidden_values(ensemble: Ensemble, x: Tensor, layer: int = 1) -> Tensor:
    """Return the input of a layer, ``[n_networks, n_points, width]``: the activations of the one before it."""
    Integer(at_least=1, at_most=len(ensemble.weights) - 1)("layer", layer)
    values, _ = next(islice(ensemble.pre_activations(x), layer, None))
    return values


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
def value_span(ensemble: Ensemble, hidden: Tensor, layer: int = 1, *, scope: str = "layer") -> Span:
    """Return the range of hidden values.

    Args:
        ensemble: the networks.
        hidden: as `hidden_values` returns it.
        layer: the layer that these values are the input of.
        scope: over each ``"unit"`` alone; over the whole ``"layer"``; or, as the study's code does, over ``"both"``
            activations where ψ is applied to the output again: the layer's and ψ(z) of the last one.

    Raises:
        ValueError: the scope is another.
    """
    dims = (1,) if Choice(SCOPES)("scope", scope) == "unit" else (1, 2)
    low, high = hidden.amin(dims, keepdim=True), hidden.amax(dims, keepdim=True)
    if scope == "both" and ensemble.output != "linear":
        output = ensemble(hidden, first=layer)
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
        made = values
        if self.scale != 1 or self.offset != 0:
            made = self.scale * made + self.offset * (span.high - span.low)
        if self.floor is not None:
            made = torch.maximum(made, span.at(self.floor))
        if self.cutoff is not None:
            made = torch.minimum(made, span.at(self.cutoff))
        if self.units is None:
            return made
        ListOf(Integer(at_least=0, at_most=values.shape[2] - 1))("units", self.units)
        chosen = torch.zeros(values.shape[2], dtype=torch.bool, device=values.device)
        chosen[list(self.units)] = True
        return torch.where(chosen, made, values)


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
    """An ensemble with a perturbation layer before one of its layers.

    Args:
        ensemble: the networks.
        span: what constraints are measured by, see `value_span`.
        layer: the layer before which the perturbation sits, at least 1.
    """

    def __init__(self, ensemble: Ensemble, span: Span, layer: int = 1) -> None:
        super().__init__()
        self.ensemble, self.perturbation = ensemble, Perturbation(span)
        self.layer = Integer(at_least=1, at_most=len(ensemble.weights) - 1)("layer", layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``[n_networks, n_points, n_out]``."""
        values, _ = next(islice(self.ensemble.pre_activations(x), self.layer, None))
        logits: Tensor = self.ensemble(self.perturbation(values), first=self.layer)
        return logits


@dataclass(frozen=True)
class Sensitivity:
    """What is left of networks whose hidden layer is clamped, at every fraction of its range and from both sides.

    Attributes:
        fractions: of the way from lo to hi, ``[n_fractions]``.
        accuracy: share of points still classified rightly, ``[2, n_fractions, n_networks]``: clamped from below,
            from above.
        touched: share of the hidden values that the clamp changes, of the same shape.
        mass: by how much it changes them, Σ|y − x|, as a share of Σ(x − lo); from below it can exceed 1.
    """

    fractions: Tensor
    accuracy: Tensor
    touched: Tensor
    mass: Tensor


def sensitivity(
    ensemble: Ensemble, x: Tensor, y: Tensor, fractions: Tensor, *, layer: int = 1, scope: str = "layer"
) -> Sensitivity:
    """Clamp a hidden layer from below and from above at every fraction of its range.

    The hidden values are computed once; all fractions are then tried on a few points at a time.

    Args:
        ensemble: the networks; they are looked at side by side, one in each core.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        fractions: ascending.
        layer: the layer whose input is constrained.
        scope: see `value_span`.
    """

    def one(k: int) -> tuple[Tensor, Tensor, Tensor]:
        own_x, own_y = (x if x.dim() == 2 else x[k]), (y if y.dim() == 1 else y[k])
        return _sensitivity(ensemble.select([k]), own_x, own_y, fractions, layer, scope)

    found = _side_by_side(one, len(ensemble))
    return Sensitivity(fractions, *(torch.stack(part, dim=2) for part in zip(*found, strict=True)))


def _side_by_side(function: Callable[[int], Any], n: int) -> list[Any]:
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, range(n)))


@torch.no_grad()
def _sensitivity(
    network: Ensemble, x: Tensor, y: Tensor, fractions: Tensor, layer: int, scope: str
) -> tuple[Tensor, Tensor, Tensor]:
    hidden = hidden_values(network, x, layer)
    span = value_span(network, hidden, layer, scope=scope)
    thresholds = torch.cat([span.at(float(fraction)) for fraction in fractions], dim=1)  # [1, n_fractions, 1 or width]
    n_points, width = hidden.shape[1:]
    n = len(fractions)
    size = max(1, ROWS // n)
    workplace = torch.empty(n * size * width, dtype=hidden.dtype)
    hits = torch.zeros(2, n)
    for start in range(0, n_points, size):
        values, classes = hidden[:, start : start + size], y[start : start + size]
        clamped = workplace[: n * values.shape[1] * width].view(n, -1, width)
        for side, clamp in enumerate((torch.maximum, torch.minimum)):
            clamp(values, thresholds[0, :, None], out=clamped)
            logits = network(clamped.view(1, -1, width), first=layer)
            hits[side] += (logits.argmax(dim=2).view(n, -1) == classes).sum(dim=1)
    touched, mass = _amounts(hidden[0], thresholds[0], span.low[0])
    return hits.double() / n_points, touched, mass


def _amounts(hidden: Tensor, thresholds: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Share of values that each clamp changes, and by how much, both ``[2, n_thresholds]``; see `Sensitivity`."""
    n, n_columns = thresholds.shape
    values = hidden.T.contiguous() if n_columns > 1 else hidden.reshape(1, -1)
    edges = thresholds.T.contiguous()
    counts: list[Tensor] = []
    sums: list[Tensor] = []
    for right in (True, False):  # of the values below each threshold, and of those not above it
        place = torch.searchsorted(edges, values, right=right)
        flat = (place + torch.arange(n_columns)[:, None] * (n + 1)).flatten()
        for into, weights in ((counts, None), (sums, values.flatten().double())):
            binned = torch.bincount(flat, weights, minlength=n_columns * (n + 1)).view(n_columns, n + 1)
            into.append(binned.double().cumsum(dim=1)[:, :n])
    edges = edges.double()
    total = values.double().sum(dim=1, keepdim=True)
    above = values.shape[1] - counts[1]
    touched = torch.stack([counts[0], above])
    moved = torch.stack([counts[0] * edges - sums[0], (total - sums[1]) - above * edges])
    whole = (hidden.double() - low.double()).sum()
    # Where all units are dead there is no mass, and no clamp moves any.
    share = moved.sum(dim=1).clamp(min=0) / whole.clamp(min=torch.finfo(whole.dtype).tiny)
    return touched.sum(dim=1) / hidden.numel(), share


@torch.no_grad()
def unit_accuracy(ensemble: Ensemble, x: Tensor, y: Tensor, constraint: Constraint, *, layer: int = 1) -> Tensor:
    """Accuracy with one unit constrained at a time, by its own range, ``[n_networks, width]``.

    The rest of the layer stays, so the next layer's z changes by one column of its weights: z + (y_j − x_j) W_j.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        constraint: what each unit in turn is put under.
        layer: the layer whose input the units are.
    """

    def one(k: int) -> Tensor:
        with torch.no_grad():  # holds for one thread only
            network = ensemble.select([k])
            own_x, own_y = (x if x.dim() == 2 else x[k]), (y if y.dim() == 1 else y[k])
            hidden = hidden_values(network, own_x, layer)
            change = constraint(hidden, value_span(network, hidden, layer, scope="unit")) - hidden
            _, z = next(network.pre_activations(hidden, first=layer))
            weight = network.weights[layer]
            shares = []
            for unit in range(hidden.shape[2]):
                moved = z + change[:, :, unit, None] * weight[:, None, :, unit]
                last = layer == len(network.weights) - 1
                logits = network.logits(moved) if last else network(network.activate(moved, layer), first=layer + 1)
                shares.append((logits[0].argmax(dim=1) == own_y).double().mean())
            return torch.stack(shares)

    return torch.stack(_side_by_side(one, len(ensemble)))


@torch.no_grad()
def constrained_accuracy(
    ensemble: Ensemble, x: Tensor, y: Tensor, constraints: Sequence[Constraint], *, layer: int = 1, scope: str = "unit"
) -> Tensor:
    """Accuracy under each of some constraints, ``[n_constraints, n_networks]``; arguments as in `sensitivity`."""

    def one(k: int) -> Tensor:
        with torch.no_grad():
            network = ensemble.select([k])
            own_x, own_y = (x if x.dim() == 2 else x[k]), (y if y.dim() == 1 else y[k])
            hidden = hidden_values(network, own_x, layer)
            span = value_span(network, hidden, layer, scope=scope)
            predicted = [network(rule(hidden, span), first=layer)[0].argmax(dim=1) for rule in constraints]
            return torch.stack([(one == own_y).double().mean() for one in predicted])

    return torch.stack(_side_by_side(one, len(ensemble)), dim=1)


def dead_units(ensemble: Ensemble, x: Tensor, *, layer: int = 1) -> Tensor:
    """Share of a layer's units that have the same value at every point, ``[n_networks]``.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        layer: the layer whose input the units are.
    """

    def one(k: int) -> Tensor:
        hidden = hidden_values(ensemble.select([k]), x if x.dim() == 2 else x[k], layer)[0]
        return (hidden.amin(dim=0) == hidden.amax(dim=0)).double().mean()

    return torch.stack(_side_by_side(one, len(ensemble)))


def drop_off(accuracy: Tensor, fractions: Tensor, *, chance: float = 0.0) -> Tensor:
    """The fraction of the range at which accuracy has fallen half way from what it is without a constraint to chance.

    From below it is the smallest such fraction, from above the largest, interpolated linearly between its neighbours;
    1 and 0, the ends that the constraint moves to, where accuracy never falls so far.

    Args:
        accuracy: ``[2, n_fractions, n_networks]``, see `Sensitivity`.
        fractions: ascending from 0 to 1.
        chance: accuracy of guessing, from which halves are counted; 0 to halve the accuracy itself, as the study does.

    Returns:
        ``[2, n_networks]``.

    References:
        Oursland (2024), who takes the accuracy averaged over networks.
    """
    ends = []
    for curve, grid, end in ((accuracy[0], fractions, 1.0), (accuracy[1].flip(0), fractions.flip(0), 0.0)):
        half = (curve[0] + chance) / 2
        fallen = curve <= half
        first = fallen.int().argmax(dim=0)
        before, after = (first - 1).clamp(min=0), first
        high, low = (curve.gather(0, place[None])[0] for place in (before, after))
        share = ((high - half) / (high - low)).where(high > low, 0.0)
        found = grid[before].lerp(grid[after], share.to(grid.dtype))
        ends.append(torch.where(fallen.any(dim=0), found, torch.full_like(found, end)))
    return torch.stack(ends)
