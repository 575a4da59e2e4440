"""Attacks along the gradient: FGSM, BIM and PGD are one loop with different settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor

from helpers.attacks.attack import Attack, Attacked, Front
from helpers.checks import Choice, Flag, Integer, Real
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import InputGradients
from helpers.norms import NormName

AttackLoss = Literal["cross_entropy", "margin"]


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """Steps along the gradient of a loss, each cut back into the ball (`climb`).

    Attributes:
        norm: of the ball, a name from `helpers.norms`.
        steps: how many, at least 1.
        step: length of one, as a share of ε, above 0.
        loss: a loss of classes from `helpers.models.losses`.
        random_start: begin at a random point of the ball, rather than at its centre.
        restarts: how many times to begin; more than one needs random starts.
        last: judge the last point alone, as the formulas of the papers do, instead of the worst one passed on the
            way, the point under attack included. All steps are then taken.
        around_iterate: cut back into the ball around the point just left instead of that around the one under attack;
            the attack can then leave its ball, see `bim_as_coded`.
        record: keep the path of the last start; points that are done stay where they are.
        compiled: whether compiled code may be used.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.
    """

    steps: int = 50
    step: float = 0.1
    loss: AttackLoss = "margin"
    random_start: bool = False
    restarts: int = 1
    last: bool = False
    around_iterate: bool = False
    record: bool = False
    compiled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        Integer(at_least=1)("steps", self.steps)
        Real(above=0)("step", self.step)
        Choice(get_args(AttackLoss))("loss", self.loss)
        for name in ("random_start", "last", "around_iterate", "record", "compiled"):
            Flag()(name, getattr(self, name))
        Integer(at_least=1, at_most=None if self.random_start else 1)("restarts", self.restarts)

    @property
    def reach(self) -> float:
        return (float(self.random_start) + self.steps * min(self.step, 1.0)) if self.around_iterate else 1.0

    def gradients(self, ensemble: Ensemble) -> InputGradients:
        return InputGradients(ensemble, self.loss, compiled=self.compiled)

    def run(self, front: Front) -> Attacked:
        path: list[Tensor] = []
        for _ in range(self.restarts):
            front.begin(all_points=self.last)
            point = front.centre
            if self.random_start:
                point = front.inside(point.double() + front.draw())
            path = [front.x.index_copy(0, front.active, point)] if self.record else []
            climb(front, point, self.steps, self.step, last=self.last, around_iterate=self.around_iterate, path=path)
        return front.result(path)


def climb(
    front: Front,
    point: Tensor,
    steps: int,
    step: float,
    *,
    last: bool = False,
    around_iterate: bool = False,
    path: list[Tensor] | None = None,
) -> None:
    """Follow the gradient from points of the active balls, and leave the worst points found in the front.

    x ← cut(x + step · ε · ascent(∇ₓ loss)), where ascent is the sign for L∞ and the unit vector for L2.

    Args:
        front: the points under attack.
        point: where to begin, one for each active point, ``[n_active, n_in]``.
        steps: how many.
        step: length of one, as a share of ε.
        last: take all steps and keep the last point, instead of the worst one passed until a point is lost.
        around_iterate: cut back into the ball around the point just left.
        path: where all points stood before the first step; where they stand after each step is added to it.
    """
    for _ in range(steps):
        margin, gradient = front.differentiate(point)
        if not last:
            front.keep_worst(point, margin)
            stay = front.drop_lost()
            point, gradient = point[stay], gradient[stay]
            if not len(point) and not path:
                return
        move = step * front.epsilon * front.norm.ascent(gradient).double()
        point = front.inside(point.double() + move, centre=point if around_iterate else None)
        if path:
            path.append(path[-1].index_copy(0, front.active, point))
    if last:
        front.worst[front.active] = point
    else:
        front.keep_worst(point, front.look(point))


def fgsm(*, norm: NormName = "linf", loss: AttackLoss = "cross_entropy") -> GradientAttack:
    """Fast gradient sign method: one step of length ε along the gradient at the point.

    References:
        Goodfellow, Shlens & Szegedy (2015), §4; Ślusarz (2021), equation 4.4.
    """
    return GradientAttack(steps=1, step=1.0, norm=norm, loss=loss)


def bim(
    steps: int = 4,
    step: float = 0.5,
    *,
    norm: NormName = "linf",
    loss: AttackLoss = "cross_entropy",
    random_start: bool = False,
) -> GradientAttack:
    """Basic iterative method, with the thesis's α = 0.5 ε and four iterations by default.

    References:
        Kurakin, Goodfellow & Bengio (2017), §2.2; Ślusarz (2021), equations 4.5 and 4.6.
    """
    return GradientAttack(steps=steps, step=step, norm=norm, loss=loss, random_start=random_start)


def bim_as_coded() -> GradientAttack:
    """The thesis's BIM as its code has it: a random start, and every step clipped around the point it leaves.

    As no step is longer than ε, the clipping never does anything, and four steps of 0.5 ε from a random start may end
    3 ε away from the point. The last point is judged alone.

    References:
        Ślusarz (2021), §4.3.2, and the code published with it.
    """
    return replace(bim(random_start=True), last=True, around_iterate=True)


def pgd(
    steps: int = 50, step: float = 0.1, *, norm: NormName = "linf", loss: AttackLoss = "margin", restarts: int = 1
) -> GradientAttack:
    """Projected gradient descent (on the margin; ascent on a loss) from random starts.

    References:
        Mądry et al. (2018), §2.1; Carlini & Wagner (2017), §IV.D for the loss on the margin.
    """
    return GradientAttack(steps=steps, step=step, norm=norm, loss=loss, random_start=True, restarts=restarts)
