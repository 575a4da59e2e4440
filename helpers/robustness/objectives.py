"""Training for a property: objectives that ask a network to be right around its points, not only at them.

Each is a frozen configuration to pass to `helpers.training.train` as ``objective``. Members of the same seeds start
from the same weights and see their points in the same order as without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.checks import Flag, Integer, Real
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import InputGradients, differentiate
from helpers.models.losses import Loss
from helpers.norms import NORM_NAME, NORMS, into_ball
from helpers.robustness.bounds import box, interval_bounds
from helpers.training.steps import Moment


@dataclass(frozen=True)
class Augmented:
    """Mean loss at points moved at random, anew in every step: augmentation with noise.

    Attributes:
        epsilon: radius of the ball that moves are drawn from uniformly, data units, at least 0.
        norm: of the ball, from `helpers.norms`.
        bounds: lowest and highest value of an input, where there are such.

    Raises:
        ValueError: an attribute is outside its range.
    """

    epsilon: float
    norm: str = "linf"
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        Real(at_least=0)("epsilon", self.epsilon)
        NORM_NAME("norm", self.norm)

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        """See `helpers.training.steps.Objective`."""
        moved = _cut(x + self.epsilon * _draw(self.norm, x, moment.streams), self.bounds)
        return differentiate(ensemble, gradient, moved, y, loss)


@dataclass(frozen=True)
class Adversarial:
    """Mean loss at the points that an attack moved against the network as it is at that step.

    x ← cut(x + step · ε · ascent(∇ₓ loss)), every step taken at every point, as `helpers.attacks.gradient` does with
    ``last``. One step from the centre, of length ε, is FGSM training; several from a random start are PGD training.

    Attributes:
        epsilon: radius of the ball, data units, at least 0.
        steps: of the attack, at least 1.
        step: length of one as a share of ε, above 0.
        norm: of the ball, from `helpers.norms`.
        random_start: begin at a random point of the ball, a new one in every step of the training.
        ramp: share of the training in which ε grows from 0 to its full size, 0 to 1.
        bounds: lowest and highest value of an input, where there are such.

    Raises:
        ValueError: an attribute is outside its range.

    References:
        Goodfellow et al. (2015), §6; Madry et al. (2018), equation 2.1.
    """

    epsilon: float
    steps: int = 7
    step: float = 0.3
    norm: str = "linf"
    random_start: bool = True
    ramp: float = 0.3
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        Real(at_least=0)("epsilon", self.epsilon)
        Integer(at_least=1)("steps", self.steps)
        Real(above=0)("step", self.step)
        NORM_NAME("norm", self.norm)
        Flag()("random_start", self.random_start)
        Real(at_least=0, at_most=1)("ramp", self.ramp)

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        """See `helpers.training.steps.Objective`."""
        radius = self.epsilon * _grown(moment.progress, 0.0, self.ramp)
        moved = self.attacked(ensemble, x, y, loss, radius, moment.streams) if radius else x
        return differentiate(ensemble, gradient, moved, y, loss)

    def attacked(
        self, ensemble: Ensemble, x: Tensor, y: Tensor, loss: Loss, radius: float, streams: Sequence[torch.Generator]
    ) -> Tensor:
        """Return the points moved against the networks, within a radius."""
        norm, shape = NORMS[self.norm], x.shape
        gradients = InputGradients(ensemble, loss.name)
        member = torch.arange(shape[0], device=x.device).repeat_interleave(shape[1])
        centre, classes = x.flatten(0, 1), y.flatten()
        point = centre
        if self.random_start:
            start = radius * _draw(self.norm, x, streams).flatten(0, 1)
            point = into_ball(centre.double() + start, centre, radius, norm, self.bounds)
        for _ in range(self.steps):
            _, slope = gradients.both(member, point, classes)
            step = self.step * radius * norm.ascent(slope).double()
            point = into_ball(point.double() + step, centre, radius, norm, self.bounds)
        return point.view(shape)


@dataclass(frozen=True)
class Certified:
    """Loss at the points, and loss of the worst logits that intervals cannot rule out in the L∞ box around them.

    κ · loss(f(x)) + (1 − κ) · loss(z), where z has the lower bound of the class's logit and the upper bounds of the
    others. ε grows from 0 to its full size, and 1 − κ from 0 to ``weight``, between two moments of the training: at
    first the bounds of wide boxes say nothing, and a network asked for them would learn to be constant.

    Attributes:
        epsilon: half the width of the box, data units, at least 0.
        weight: of the worst case in the end, 0 to 1.
        start: share of the training after which ε begins to grow.
        end: share after which it has its full size, at least ``start``.
        bounds: lowest and highest value of an input, where there are such.

    Raises:
        ValueError: an attribute is outside its range, or at a step, the loss is not of classes.

    References:
        Gowal et al. (2018), IBP, equations 11–12 and §4.
    """

    epsilon: float
    weight: float = 0.5
    start: float = 0.1
    end: float = 0.6
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        Real(at_least=0)("epsilon", self.epsilon)
        Real(at_least=0, at_most=1)("weight", self.weight)
        Real(at_least=0, at_most=1)("start", self.start)
        Real(at_least=self.start, at_most=1)("end", self.end)

    def __call__(
        self, ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss, moment: Moment
    ) -> Tensor:
        """See `helpers.training.steps.Objective`."""
        if loss.name != "cross_entropy":
            raise ValueError(f"loss must be cross_entropy to be certified, got {loss.name}.")
        grown = _grown(moment.progress, self.start, self.end)
        if not grown * self.epsilon * self.weight:
            return differentiate(ensemble, gradient, x, y, loss)
        with torch.enable_grad():
            where = box(*(_cut(x + sign * grown * self.epsilon, self.bounds) for sign in (-1, 1)))
            lower, upper = interval_bounds(ensemble, where, rounding=0.0)[-1]
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


def _cut(x: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    return x if bounds is None else x.clamp(*bounds)


def _draw(norm: str, x: Tensor, streams: Sequence[torch.Generator]) -> Tensor:
    """A vector of the unit ball for each point, from its member's own stream."""
    return torch.stack([NORMS[norm].sample(tuple(x.shape[1:]), stream) for stream in streams]).to(x)


def _grown(progress: float, start: float, end: float) -> float:
    """0 until start, 1 from end, a straight line between."""
    return 1.0 if progress >= end else max(0.0, (progress - start) / (end - start))
