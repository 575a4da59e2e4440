"""Attacks along the gradient: FGSM, BIM and PGD are one loop with different settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from helpers.attacks.attack import Attacked, Front, attack_members
from helpers.checks import Choice, Flag, Integer, Real
from helpers.models.ensemble import Ensemble
from helpers.norms import NORM_NAME, Bounds


@dataclass(frozen=True)
class GradientAttack:
    """Steps along the gradient of a loss, each cut back into the ball.

    x ← cut(x + step · ε · ascent(∇ₓ loss)), where ascent is the sign for L∞ and the unit vector for L2.

    Attributes:
        steps: how many, at least 1.
        step: length of one, as a share of ε, above 0.
        norm: of the ball, from `helpers.norms`.
        loss: a loss of classes from `helpers.models.losses`.
        random_start: begin at a random point of the ball, rather than at its centre.
        restarts: how many times to begin; more than one needs random starts.
        last: judge the last point alone, as the formulas of the papers do, instead of the worst one passed on the
            way, the point under attack included. All steps are then taken.
        around_iterate: cut back into the ball around the point just left instead of that around the one under attack;
            the attack can then leave its ball, see `bim_as_coded`.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.
    """

    steps: int = 50
    step: float = 0.1
    norm: str = "linf"
    loss: str = "margin"
    random_start: bool = False
    restarts: int = 1
    last: bool = False
    around_iterate: bool = False

    def __post_init__(self) -> None:
        Integer(at_least=1)("steps", self.steps)
        Real(above=0)("step", self.step)
        NORM_NAME("norm", self.norm)
        Choice(("cross_entropy", "margin"))("loss", self.loss)
        for name in ("random_start", "last", "around_iterate"):
            Flag()(name, getattr(self, name))
        Integer(at_least=1, at_most=None if self.random_start else 1)("restarts", self.restarts)

    @property
    def reach(self) -> float:
        """See `helpers.attacks.attack.Attack`."""
        return (float(self.random_start) + self.steps * min(self.step, 1.0)) if self.around_iterate else 1.0

    def __call__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        y: Tensor,
        epsilon: float,
        *,
        bounds: Bounds = None,
        safe: Tensor | None = None,
        record: bool = False,
        compiled: bool = True,
    ) -> Attacked:
        """Attack; see `Attack`.

        Args:
            ensemble: see `Attack`.
            x: see `Attack`.
            y: see `Attack`.
            epsilon: see `Attack`.
            bounds: see `Attack`.
            safe: see `Attack`.
            record: keep the path of the last start; points that are done stay where they are.
            compiled: whether compiled code may be used.
        """

        def run(front: Front) -> list[Tensor]:
            path: list[Tensor] = []
            for _ in range(self.restarts):
                front.begin(all_points=self.last)
                point = front.x[front.active]
                if self.random_start:
                    point = front.inside(point.double() + front.draw())
                path = [front.x.clone()] if record else []
                if path:
                    path[0][front.active] = point
                self._climb(front, point, path)
            return path

        return attack_members(
            run,
            ensemble,
            x,
            y,
            epsilon,
            norm=self.norm,
            loss=self.loss,
            bounds=bounds,
            safe=safe,
            compiled=compiled,
        )

    def _climb(self, front: Front, point: Tensor, path: list[Tensor]) -> None:
        for _ in range(self.steps):
            margin, gradient = front.differentiate(point)
            if not self.last:
                front.keep_worst(point, margin)
                stay = front.drop_lost()
                point, gradient = point[stay], gradient[stay]
                if not len(point) and not path:
                    return
            step = self.step * front.epsilon * front.norm.ascent(gradient).double()
            point = front.inside(point.double() + step, centre=point if self.around_iterate else None)
            if path:
                path.append(path[-1].clone())
                path[-1][front.active] = point
        margin = front.look(point)
        if self.last:
            front.worst[front.active], front.margin[front.active] = point, margin
        else:
            front.keep_worst(point, margin)


def fgsm(*, norm: str = "linf", loss: str = "cross_entropy") -> GradientAttack:
    """Fast gradient sign method: one step of length ε along the gradient at the point.

    References:
        Goodfellow, Shlens & Szegedy (2015), §4; Ślusarz (2021), equation 4.4.
    """
    return GradientAttack(1, 1.0, norm, loss)


def bim(
    steps: int = 4, step: float = 0.5, *, norm: str = "linf", loss: str = "cross_entropy", random_start: bool = False
) -> GradientAttack:
    """Basic iterative method, with the thesis's α = 0.5 ε and four iterations by default.

    References:
        Kurakin, Goodfellow & Bengio (2017), §2.2; Ślusarz (2021), equations 4.5 and 4.6.
    """
    return GradientAttack(steps, step, norm, loss, random_start=random_start)


def bim_as_coded() -> GradientAttack:
    """The thesis's BIM as its code has it: a random start, and every step clipped around the point it leaves.

    As no step is longer than ε, the clipping never does anything, and four steps of 0.5 ε from a random start may end
    3 ε away from the point. The last point is judged alone.

    References:
        Ślusarz (2021), §4.3.2, and the code published with it.
    """
    return replace(bim(random_start=True), last=True, around_iterate=True)


def pgd(
    steps: int = 50, step: float = 0.1, *, norm: str = "linf", loss: str = "margin", restarts: int = 1
) -> GradientAttack:
    """Projected gradient descent (on the margin; ascent on a loss) from random starts.

    References:
        Mądry et al. (2018), §2.1; Carlini & Wagner (2017), §IV.D for the loss on the margin.
    """
    return GradientAttack(steps, step, norm, loss, random_start=True, restarts=restarts)
