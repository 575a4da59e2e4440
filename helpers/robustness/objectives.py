"""Training for a property: objectives that ask a network to be right around its points, not only at them.

Each is a frozen configuration to pass to `helpers.training.train` as ``objective``. Members of the same seeds start
from the same weights and see their points in the same order as without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.attacks.attack import Front
from helpers.attacks.gradient import GradientAttack, bim, climb
from helpers.checks import Real
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import differentiate
from helpers.models.losses import Loss
from helpers.norms import NORM_NAME, NORMS, Limits, NormName, check_limits, within
from helpers.robustness.bounds import interval_bounds
from helpers.robustness.boxes import Box
from helpers.training.steps import Moment, Objective


@dataclass(frozen=True)
class Augmented(Objective):
    """Mean loss at points moved at random, anew in every step: augmentation with noise.

    Attributes:
        epsilon: radius of the ball that moves are drawn from uniformly, data units, at least 0.
        norm: of the ball, a name from `helpers.norms`.
        limits: lowest and highest value of an input, or of each coordinate, if there are such.

    Raises:
        ValueError: an attribute is outside its range, or at a step, a point lies outside its limits.
    """

    epsilon: float
    _: KW_ONLY
    norm: NormName = "linf"
    limits: Limits | None = None

    def __post_init__(self) -> None:
        Real(at_least=0)("epsilon", self.epsilon)
        NORM_NAME("norm", self.norm)
        check_limits(self.limits)

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        check_limits(self.limits, x)
        moved = within(x + self.epsilon * _draw(self.norm, x, moment.streams), self.limits)
        return differentiate(ensemble, gradient, moved, y, loss)


@dataclass(frozen=True)
class Adversarial(Objective):
    """Mean loss at the points that an attack moved against the network as it is at that step.

    Every step of the attack is taken at every point, and the last point counts, whatever `GradientAttack.last` says:
    training needs points, not a verdict. With ``fgsm()`` this is FGSM training, with several steps from a random start
    PGD training.

    Attributes:
        epsilon: radius of the ball, data units, at least 0.
        attack: that moves the points; it starts once in each step of the training, if at random, then from a point of
            the member's own stream.
        ramp: share of the training in which ε grows from 0 to its full size, 0 to 1.
        limits: lowest and highest value of an input, or of each coordinate, if there are such.

    Raises:
        ValueError: an attribute is outside its range, or at a step, a point lies outside its limits.

    References:
        Goodfellow et al. (2015), §6; Madry et al. (2018), equation 2.1.
    """

    epsilon: float
    attack: GradientAttack = field(default_factory=lambda: bim(7, 0.3, random_start=True))
    _: KW_ONLY
    ramp: float = 0.3
    limits: Limits | None = None

    def __post_init__(self) -> None:
        Real(at_least=0)("epsilon", self.epsilon)
        if not isinstance(self.attack, GradientAttack):
            raise TypeError(f"attack must be one along the gradient, such as fgsm() or pgd(), got {self.attack!r}.")
        if self.attack.restarts != 1:
            raise ValueError(f"attack must start once in a step of the training, got {self.attack.restarts} restarts.")
        Real(at_least=0, at_most=1)("ramp", self.ramp)
        check_limits(self.limits)

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        if not loss.classes:
            raise ValueError(f"loss must be one of classes to be attacked, got {loss.name}.")
        check_limits(self.limits, x)
        radius = self.epsilon * _grown(moment.progress, 0.0, self.ramp)
        moved = self.attacked(ensemble, x, y, radius, moment.streams) if radius else x
        return differentiate(ensemble, gradient, moved, y, loss)

    def attacked(
        self, ensemble: Ensemble, x: Tensor, y: Tensor, radius: float, streams: Sequence[torch.Generator]
    ) -> Tensor:
        """Return the points moved against the networks, within a radius."""
        attack = self.attack
        front = Front(attack.gradients(ensemble), x, y, radius, attack.norm, limits=self.limits)
        point = front.x
        if attack.random_start:
            point = front.inside(point.double() + radius * _draw(attack.norm, x, streams).flatten(0, 1))
        climb(front, point, attack.steps, attack.step, last=True, around_iterate=attack.around_iterate)
        return front.worst.view(x.shape)


@dataclass(frozen=True)
class Certified(Objective):
    """Loss at the points, and loss of the worst logits that intervals cannot rule out in the L∞ box around them.

    κ · loss(f(x)) + (1 − κ) · loss(z), where z has the lower bound of the class's logit and the upper bounds of the
    others. ε grows from 0 to its full size, and 1 − κ from 0 to ``weight``, between two moments of the training: at
    first the bounds of wide boxes say nothing, and a network asked for them would learn to be constant.

    Attributes:
        epsilon: half the width of the box, data units, at least 0.
        weight: of the worst case in the end, 0 to 1.
        start: share of the training after which ε begins to grow.
        end: share after which it has its full size, at least ``start``.
        limits: lowest and highest value of an input, or of each coordinate, if there are such.

    Raises:
        ValueError: an attribute is outside its range, or at a step, the loss is not of classes or a point lies outside
            its limits.

    References:
        Gowal et al. (2018), IBP, equations 11–12 and §4.
    """

    epsilon: float
    _: KW_ONLY
    weight: float = 0.5
    start: float = 0.1
    end: float = 0.6
    limits: Limits | None = None

    def __post_init__(self) -> None:
        Real(at_least=0)("epsilon", self.epsilon)
        Real(at_least=0, at_most=1)("weight", self.weight)
        Real(at_least=0, at_most=1)("start", self.start)
        Real(at_least=self.start, at_most=1)("end", self.end)
        check_limits(self.limits)

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        if loss.name != "cross_entropy":
            raise ValueError(f"loss must be cross_entropy to be certified, got {loss.name}.")
        check_limits(self.limits, x)
        grown = _grown(moment.progress, self.start, self.end)
        if not grown * self.epsilon * self.weight:
            return differentiate(ensemble, gradient, x, y, loss)
        with torch.enable_grad():
            box = Box.around(x, grown * self.epsilon, self.limits)
            lower, upper = interval_bounds(ensemble, box, rounding=0.0)[-1]
            worst = upper.scatter(2, y[..., None], lower.gather(2, y[..., None]))
            share = grown * self.weight
            value = (1 - share) * _cross_entropy(ensemble(x), y) + share * _cross_entropy(worst, y)
            parameters = list(ensemble.parameters())
            # Summed over members, never averaged: each one's gradient is its own.
            slopes = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
        for slot, slope in zip(gradient.parameters(), slopes, strict=True):
            slot.detach().copy_(torch.zeros_like(slot) if slope is None else slope)
        return value.detach()


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.view(y.shape).mean(1)


def _draw(norm: NormName, x: Tensor, streams: Sequence[torch.Generator]) -> Tensor:
    """A vector of the unit ball for each point, from its member's own stream."""
    return torch.stack([NORMS[norm].sample(tuple(x.shape[1:]), stream) for stream in streams]).to(x)


def _grown(progress: float, start: float, end: float) -> float:
    """0 until start, 1 from end, a straight line between."""
    if progress >= end:
        return 1.0
    return (progress - start) / (end - start) if progress > start else 0.0
