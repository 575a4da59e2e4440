"""What "robust" may mean: four definitions, each decided for every point by proof or counterexample.

With x̂ the point, x any point within ε of it, y the class, and p the softmax probabilities:

* classification robustness: argmax p(x) = y;
* strong classification robustness: p_y(x) ≥ η;
* standard robustness: |p(x) − p(x̂)| ≤ δ;
* Lipschitz robustness: |p(x) − p(x̂)| ≤ L ‖x − x̂‖.

In the plane all four are decided up to rounding by branch and bound; elsewhere bounds prove, an attack refutes, and
what is left is undecided. References: Casadio et al. (2021), §3; Ślusarz (2021), definition 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from helpers.attacks.attack import Attack
from helpers.checks import Real
from helpers.models.ensemble import Ensemble
from helpers.norms import NORMS
from helpers.robustness.bounds import ROUNDING, Relaxed, by_run, check_outputs, differences, region
from helpers.robustness.relaxations import derivative_image, relax
from helpers.robustness.verification import Radii, bands, others, search

# Computed in float32 no function is Lipschitz: its last places jump over the smallest distances. So that definition is
# decided for the network in exact arithmetic, up to the rounding of the proof itself.
EXACT = 2.0**-50
# Halvings of the ball after which what touches the point itself is given up.
DEEPEST = 10


class Definition(Protocol):
    """What every definition can say of given points, and of logits."""

    def holds(self, logits: Tensor, own: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        """Whether it holds at points x.

        Args:
            logits: at x, ``[..., n_out]``.
            own: at x̂, ``[..., n_out]``.
            y: classes, ``[...]``.
            distance: ‖x − x̂‖, ``[...]``.

        Returns:
            ``[...]``, bool.
        """

    def linear(self, own: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rows ``[..., n_rows, n_out]`` and offsets ``[..., n_rows]``: it holds where rows · logits + offsets ≥ 0.

        None where there are no such rows.
        """


@dataclass(frozen=True)
class ClassificationRobustness:
    """argmax f(x) = y within ε."""

    def holds(self, logits: Tensor, own: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        """See `Definition`."""
        return logits.argmax(-1) == y

    def linear(self, own: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Definition`."""
        return others(y, own.shape[-1])


@dataclass(frozen=True)
class StrongClassificationRobustness:
    """p_y(x) ≥ η within ε.

    Attributes:
        confidence: η, above 0 and below 1.
    """

    confidence: float

    def __post_init__(self) -> None:
        Real(above=0, below=1)("confidence", self.confidence)

    def holds(self, logits: Tensor, own: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        """See `Definition`."""
        return logits.softmax(-1).gather(-1, y[..., None])[..., 0] >= self.confidence

    def linear(self, own: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """See `Definition`; of more than two classes p_y is no function of one linear one."""
        if own.shape[-1] != 2:
            return None
        rows, offsets = others(y, 2)
        return rows, torch.zeros_like(offsets) - torch.tensor(self.confidence, dtype=torch.float64).logit()


@dataclass(frozen=True)
class StandardRobustness:
    """|p(x) − p(x̂)| ≤ δ within ε, for two classes.

    Attributes:
        delta: δ, above 0 and below 1.
    """

    delta: float

    def __post_init__(self) -> None:
        Real(above=0, below=1)("delta", self.delta)

    def holds(self, logits: Tensor, own: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        """See `Definition`."""
        return _change(logits, own) <= self.delta

    def linear(self, own: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Definition`: the lead of class 1 stays between two values; none limits it where p would leave [0, 1]."""
        p = _probability(own)
        rising = torch.tensor([-1.0, 1.0], dtype=torch.float64, device=own.device)
        rows = torch.stack([rising, -rising]).expand(*y.shape, -1, -1).clone()
        low, high = (p - self.delta).clamp(min=0), (p + self.delta).clamp(max=1)
        offsets = torch.stack([-low.logit(), high.logit()], dim=-1)
        free = offsets.isinf()
        rows[free] = 0.0
        return rows, torch.where(free, 1.0, offsets)


@dataclass(frozen=True)
class LipschitzRobustness:
    """|p(x) − p(x̂)| ≤ L ‖x − x̂‖ within ε, for two classes.

    Attributes:
        constant: L, per data unit, above 0.
    """

    constant: float

    def __post_init__(self) -> None:
        Real(above=0)("constant", self.constant)

    def holds(self, logits: Tensor, own: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        """See `Definition`."""
        return _change(logits, own) <= self.constant * distance + 1e-12  # at x̂ itself, rounding is all the change

    def linear(self, own: Tensor, y: Tensor) -> None:
        """See `Definition`."""
        return


@dataclass(frozen=True)
class Decided:
    """Which points a definition holds for.

    Attributes:
        verdict: 1 where it is proved, 0 where a counterexample refutes it, −1 undecided, ``[n_networks, n_points]``,
            int8.
        by: ``"verification"``, complete but for its budget and rounding, or ``"bounds and attack"``.
    """

    verdict: Tensor
    by: str

    @property
    def shares(self) -> Tensor:
        """Shares of points that are robust for certain, and that may be, ``[2, n_networks]``."""
        return torch.stack([(self.verdict == 1).double().mean(1), (self.verdict != 0).double().mean(1)])


def decide(
    definition: Definition,
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    norm: str = "linf",
    attack: Attack | None = None,
    bounds: tuple[float, float] | None = None,
) -> Decided:
    """Decide for every point whether a definition of robustness holds within ε.

    In the plane, without bounds of the data, by branch and bound. Otherwise it counts as proved where linear bounds
    over the whole ball say so, as refuted where it does not hold at the point an attack found, and else as undecided.

    Args:
        definition: one of this module.
        ensemble: the networks; of two classes for all but classification and strong classification robustness.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        epsilon: radius of the ball, data units, above 0.
        norm: ``"linf"`` or ``"l2"``.
        attack: what looks for counterexamples where nothing is complete; without it nothing is refuted but what does
            not hold at the point itself.
        bounds: lowest and highest value of an input.

    Raises:
        ValueError: the shapes do not fit, a number is outside its range, or the definition is not one for so many
            classes.
    """
    Real(above=0)("epsilon", epsilon)
    check_outputs(ensemble)
    given, n_out = x, ensemble.layer_sizes[-1]
    x, y = ensemble.own(x.double(), y)
    if isinstance(definition, StandardRobustness | LipschitzRobustness) and n_out != 2:
        raise ValueError(f"ensemble must have two classes for {type(definition).__name__}, got {n_out}.")
    double = ensemble.select(slice(None)).double()
    with torch.no_grad():
        own = double(x)
    linear = definition.linear(own, y)
    if x.shape[2] == 2 and bounds is None:
        if linear is not None:
            radii: Radii = search(ensemble, x, *linear, epsilon, norm=norm)
            return Decided(radii.decide([epsilon])[0], "verification")
        if isinstance(definition, LipschitzRobustness):
            return Decided(_decide_lipschitz(double, x, own, definition, epsilon, norm), "verification")
    low, high = bounds or (None, None)
    relaxed = Relaxed(double, region(double, x, epsilon, norm=norm, lowest=low, highest=high), ROUNDING)
    verdict = torch.where(_proved(definition, relaxed, linear, y, norm), 1, -1).to(torch.int8)
    wrong = ~definition.holds(own, own, y, torch.zeros_like(own[..., 0]))
    if attack is not None:
        worst = attack(ensemble, given, y, epsilon, bounds=bounds).x.double()
        with torch.no_grad():
            distance = NORMS[norm].length(worst - x)
            wrong |= ~definition.holds(double(worst), own, y, distance) & (distance <= epsilon * (1 + 1e-6))
    return Decided(torch.where(wrong, 0, verdict).to(torch.int8), "bounds and attack")


def _proved(
    definition: Definition, relaxed: Relaxed, linear: tuple[Tensor, Tensor] | None, y: Tensor, norm: str
) -> Tensor:
    if linear is not None:
        return (relaxed.least(linear[0]) + linear[1] > 0).all(-1)
    if isinstance(definition, LipschitzRobustness):
        steepest = gradient_bounds(relaxed.ensemble, relaxed.bounds, norm)
        return steepest / 4 <= definition.constant  # |σ'| ≤ ¼
    assert isinstance(definition, StrongClassificationRobustness)
    # p_y = 1 / Σ exp(−margin), the class's own margin being 0.
    margins = relaxed.least(differences(y, relaxed.ensemble.layer_sizes[-1]))
    margins = margins.scatter(2, y[..., None], 0.0)
    return (-torch.logsumexp(-margins, dim=2)).exp() > definition.confidence


@torch.no_grad()
def gradient_bounds(ensemble: Ensemble, hidden: list[tuple[Tensor, Tensor]], norm: str) -> Tensor:
    """Upper bounds of ‖∇(z_1 − z_0)‖ over regions, in the dual norm: how fast the lead of class 1 can change.

    The derivative is carried back through the layers as an interval for each neuron, ψ' being anything that it is for
    some pre-activation within its bounds.

    Args:
        ensemble: networks with two outputs, float64.
        hidden: bounds of the hidden layers' pre-activations, each ``[n_networks, n_regions, width]``.
        norm: in which distances are measured, ``"linf"`` or ``"l2"``.

    Returns:
        ``[n_networks, n_regions]``.

    References:
        Zhang et al. (2019), RecurJac, §3, its first bound.
    """
    weight = ensemble.weights[-1]
    middle = (weight[:, 1] - weight[:, 0])[:, None].expand(-1, hidden[0][0].shape[1], -1)
    spread = torch.zeros_like(middle)
    for layer in reversed(range(len(hidden))):
        low, high = by_run(ensemble, layer, hidden[layer], derivative_image)
        ends = torch.stack([(middle + sign * spread) * slope for sign in (-1, 1) for slope in (low, high)])
        least, most = ends.amin(0), ends.amax(0)
        middle = torch.bmm((least + most) / 2, ensemble.weights[layer])
        spread = torch.bmm((most - least) / 2, ensemble.weights[layer].abs())
    largest = middle.abs() + spread
    found: Tensor = largest.sum(2) if norm == "linf" else largest.norm(dim=2)
    return found * (1 + 1e-9)


@torch.no_grad()
def _decide_lipschitz(
    ensemble: Ensemble, x: Tensor, own: Tensor, definition: LipschitzRobustness, epsilon: float, norm: str
) -> Tensor:
    """Branch and bound over the quarters around each point, one member after the other.

    A piece is proved if lines around p and below L‖x − x̂‖ show that the one changes less than the other allows; a
    piece that touches the point, where nothing is allowed, if its gradient is bounded by L.
    """
    length = NORMS[norm].length
    verdicts = torch.ones(x.shape[:2], dtype=torch.int8)
    signs = torch.cartesian_prod(*2 * [torch.tensor([-1.0, 1.0], dtype=x.dtype)])
    lead = torch.tensor([[-1.0, 1.0]], dtype=x.dtype)
    for k in range(len(ensemble)):
        network, start = ensemble.select([k]), _probability(own[k])
        point = torch.arange(x.shape[1])
        centre, half = x[k], torch.full_like(x[k], epsilon)
        for _ in range(DEEPEST):
            half = half.repeat_interleave(4, 0) / 2
            centre = (centre[:, None] + half.view(-1, 4, 2) * signs).flatten(0, 1)
            point = point.repeat_interleave(4)
            offset = centre - x[k, point]
            nearest = offset - offset.clamp(-half, half)
            distance = length(nearest)
            inside = distance < epsilon  # corners of the box that are no part of an L2 ball
            point, centre, half, offset, distance = (v[inside] for v in (point, centre, half, offset, distance))
            if not len(point):
                break
            rows, offsets = lead.expand(1, len(point), 1, 2), centre.new_zeros(1, len(point), 1)
            found = bands(network, centre[None], half[None], rows, offsets, rounding=EXACT)
            value, slope, error = found.value[0, :, 0], found.slope[0, :, 0], found.error[0, :, 0]
            reach = (slope.abs() * half).sum(1) + error
            # |σ'| is largest where its argument is nearest to 0.
            flat = ((value.abs() - reach).clamp(min=0)).sigmoid()
            steepest = gradient_bounds(network, found.hidden, norm)[0] * flat * (1 - flat)
            # L‖x − x̂‖ is at least L g·(x − x̂) for every g of dual length 1, and p lies between two lines of x.
            allowed = definition.constant * _outward(offset, norm)
            band = relax("sigmoid", value - reach, value + reach)
            room = []
            for sign, at_centre in ((-1, band.upper_offset), (1, band.lower_offset)):
                least = (allowed * offset).sum(1) + sign * (band.lower_slope * value + at_centre - start[point])
                tilt = allowed + sign * band.lower_slope[:, None] * slope
                room.append(least - (tilt.abs() * half).sum(1) - band.lower_slope.abs() * error)
            touches = distance <= 1e-9 * epsilon
            proved = torch.where(touches, steepest <= definition.constant, torch.minimum(*room) >= 0)
            # Rounding aside, a centre at which p changed too much refutes it.
            away = length(offset)
            moved = (network(centre[None])[0] @ lead[0]).sigmoid() - start[point]
            refuted = (moved.abs() > definition.constant * away * (1 + 1e-6)) & (away <= epsilon)
            verdicts[k, point[refuted]] = 0
            left = ~proved & (verdicts[k, point] != 0)
            # What is this small for its distance and not proved is as steep as L allows, to all intents.
            steep = left & ~touches & (half[:, 0] < distance / 256)
            verdicts[k, point[steep]] = -1
            left &= ~steep
            point, centre, half = point[left], centre[left], half[left]
        verdicts[k, point] = -1
    return verdicts


def _outward(offset: Tensor, norm: str) -> Tensor:
    """Vectors of length 1 in the dual norm, whose product with the offset is its length."""
    if norm == "l2":
        unit: Tensor = offset / torch.linalg.vector_norm(offset, dim=1, keepdim=True)
        return unit
    chosen = torch.zeros_like(offset).scatter_(1, offset.abs().argmax(1, keepdim=True), 1.0)
    outward: Tensor = chosen * offset.sign()
    return outward


def _probability(logits: Tensor) -> Tensor:
    """Probability of class 1 of two."""
    return (logits[..., 1] - logits[..., 0]).sigmoid()


def _change(logits: Tensor, own: Tensor) -> Tensor:
    return (_probability(logits) - _probability(own)).abs()
