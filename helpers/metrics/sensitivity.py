"""Constraining the hidden values of trained networks: which of them does a network need?

While a network trains, the perturbation layer is the identity; so it is put in afterwards, and no protocol of
training needs to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

import torch
from torch import Tensor

from helpers.models.constraints import Constraint, ScopeName, Side, value_span
from helpers.models.ensemble import Ensemble
from helpers.threads import side_by_side

# From where a clamp moves, in the order of `Sensitivity`.
CLAMPED_FROM: tuple[Side, ...] = get_args(Side)
# Rows of hidden values constrained at once: enough to be worth a call, few enough to stay in a core's cache.
ROWS = 8192


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
    ensemble: Ensemble, x: Tensor, y: Tensor, fractions: Tensor, *, layer: int = 0, scope: ScopeName = "layer"
) -> Sensitivity:
    """Clamp a hidden layer from below and from above at every fraction of its range.

    The hidden values are computed once; all fractions are then tried on a few points at a time.

    Args:
        ensemble: the networks; they are looked at side by side, one in each core.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        fractions: ascending.
        layer: the hidden layer that is constrained, from 0; −1 is the last one.
        scope: what the range is taken over, ``"layer"``, ``"unit"`` or ``"both"``, as `value_span` takes it.

    Raises:
        ValueError: the shapes do not fit, y holds other than classes, or there is no such layer or scope.
    """
    x, y = ensemble.own(x, y)

    def clamp_one(k: int) -> tuple[Tensor, Tensor, Tensor]:
        return _sensitivity(ensemble.select([k]), x[k], y[k], fractions, layer, scope)

    parts = side_by_side(clamp_one, range(len(ensemble)))
    return Sensitivity(fractions, *(torch.stack(part, dim=2) for part in zip(*parts, strict=True)))


@torch.no_grad()
def _sensitivity(
    network: Ensemble, x: Tensor, y: Tensor, fractions: Tensor, layer: int, scope: ScopeName
) -> tuple[Tensor, Tensor, Tensor]:
    hidden = network.hidden(x, layer)
    span, following = value_span(network, hidden, layer, scope=scope), network.hidden_layer(layer) + 1
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
            logits = network(clamped.view(1, -1, width), first=following)
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
def unit_accuracy(ensemble: Ensemble, x: Tensor, y: Tensor, constraint: Constraint, *, layer: int = 0) -> Tensor:
    """Accuracy with one unit constrained at a time, by its own range, ``[n_networks, width]``.

    The rest of the layer stays, so the next layer's z changes by one column of its weights: z + (y_j − x_j) W_j.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        constraint: what each unit in turn is put under.
        layer: the hidden layer that the units are of, from 0; −1 is the last one.

    Raises:
        ValueError: the shapes do not fit, y holds other than classes, or there is no such layer.
    """
    x, y = ensemble.own(x, y)
    following = ensemble.hidden_layer(layer) + 1

    def hold_one(k: int) -> Tensor:
        with torch.no_grad():  # holds for one thread only
            network = ensemble.select([k])
            hidden = network.hidden(x[k], layer)
            change = constraint(hidden, value_span(network, hidden, layer, scope="unit")) - hidden
            _, z = next(network.pre_activations(hidden, first=following))
            weight = network.weights[following]
            shares = []
            for unit in range(hidden.shape[2]):
                moved = z + change[:, :, unit, None] * weight[:, None, :, unit]
                if following == len(network.weights) - 1:
                    logits = network.logits(moved)
                else:
                    logits = network(network.activate(moved, following), first=following + 1)
                shares.append((logits[0].argmax(dim=1) == y[k]).double().mean())
            return torch.stack(shares)

    return torch.stack(side_by_side(hold_one, range(len(ensemble))))


@torch.no_grad()
def constrained_accuracy(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    constraints: Sequence[Constraint],
    *,
    layer: int = 0,
    scope: ScopeName = "unit",
) -> Tensor:
    """Accuracy under each of some constraints, ``[n_constraints, n_networks]``.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        constraints: at least one.
        layer: the hidden layer that is constrained, from 0; −1 is the last one.
        scope: what the range is taken over, ``"layer"``, ``"unit"`` or ``"both"``, as `value_span` takes it.

    Raises:
        ValueError: the shapes do not fit, y holds other than classes, or there is no such layer or scope.
    """
    x, y = ensemble.own(x, y)
    following = ensemble.hidden_layer(layer) + 1

    def constrain_one(k: int) -> Tensor:
        with torch.no_grad():
            network = ensemble.select([k])
            hidden = network.hidden(x[k], layer)
            span = value_span(network, hidden, layer, scope=scope)
            predictions = [network(rule(hidden, span), first=following)[0].argmax(dim=1) for rule in constraints]
            return torch.stack([(predicted == y[k]).double().mean() for predicted in predictions])

    return torch.stack(side_by_side(constrain_one, range(len(ensemble))), dim=1)


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
        crossing = grid[before].lerp(grid[after], share.to(grid.dtype))
        ends.append(torch.where(fallen.any(dim=0), crossing, torch.full_like(crossing, end)))
    return torch.stack(ends)


# Share of a layer's mass that is moved where both sides are to be asked for the same.
EQUAL_MASS = 0.1
UNIT_FATES: Mapping[str, Constraint] = MappingProxyType(
    {"lowest": Constraint(cutoff=0), "highest": Constraint(floor=1)}
)


def at_fraction(curves: Tensor, fractions: Tensor, wanted: Tensor) -> Tensor:
    """Read curves at a fraction of their own, linearly between the grid's.

    Args:
        curves: ``[2, n_fractions, n_networks]``.
        fractions: ascending.
        wanted: within those, ``[2, n_networks]``.

    Returns:
        ``[2, n_networks]``.
    """
    right = torch.searchsorted(fractions, wanted.to(fractions.dtype)).clamp(1, len(fractions) - 1)
    share = (wanted - fractions[right - 1]) / (fractions[right] - fractions[right - 1])
    before, after = (curves.gather(1, place[:, None])[:, 0] for place in (right - 1, right))
    return before.lerp(after, share.to(curves.dtype))


def loss_at_mass(curves: Sensitivity, mass: float) -> Tensor:
    """Accuracy lost where a clamp has moved this share of the mass, ``[2, n_networks]``; linear between the steps."""
    lost = []
    for accuracies, moved in zip(curves.accuracy, curves.mass, strict=True):
        start = int(moved.sum(dim=1).argmin())  # the end of the grid at which a clamp touches nothing
        order = slice(None) if start == 0 else torch.arange(len(moved) - 1, -1, -1)
        curve, amounts = accuracies[order], moved[order]
        right = (amounts < mass).sum(dim=0).clamp(1, len(amounts) - 1)
        near, far = (amounts.gather(0, place[None])[0] for place in (right - 1, right))
        share = ((mass - near) / (far - near)).clamp(0, 1)
        before, after = (curve.gather(0, place[None])[0] for place in (right - 1, right))
        lost.append(curve[0] - before.lerp(after, share))
    return torch.stack(lost)
