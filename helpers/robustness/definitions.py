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

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from helpers.attacks.attack import Attack
from helpers.checks import Real
from helpers.models.ensemble import Ensemble
from helpers.norms import NORMS, Limits, NormName
from helpers.robustness.bounds import ROUNDING, Relaxed, differences
from helpers.robustness.boxes import check_outputs, region
from helpers.robustness.lipschitz import decide_lipschitz, gradient_bounds
from helpers.robustness.verification import leads, positive_radii


class Definition(ABC):
    """What every definition can say of given points, of logits, and of networks with bounds.

    Attributes:
        of_two: whether it is a definition for two classes only.
    """

    of_two: ClassVar[bool] = False

    @abstractmethod
    def holds(self, logits: Tensor, at_centre: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        """Whether it holds at points x.

        Args:
            logits: at x, ``[..., n_out]``.
            at_centre: logits at x̂, ``[..., n_out]``.
            y: classes, ``[...]``.
            distance: ‖x − x̂‖, ``[...]``.

        Returns:
            ``[...]``, bool.
        """

    def linear(self, at_centre: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rows ``[..., n_rows, n_out]`` and offsets ``[..., n_rows]``: it holds where rows · logits + offsets ≥ 0.

        None where there are no such rows.
        """
        return None

    def verdict(
        self, ensemble: Ensemble, x: Tensor, at_centre: Tensor, y: Tensor, epsilon: float, norm: NormName
    ) -> Tensor | None:
        """Decide points of the plane by branch and bound; None where this definition cannot be.

        Args:
            ensemble: networks with two inputs.
            x: points, ``[n_networks, n_points, 2]``, float64.
            at_centre: their logits, float64.
            y: their classes.
            epsilon: radius of the ball.
            norm: of the ball.

        Returns:
            As `Decided.verdict`.
        """
        rows = self.linear(at_centre, y)
        return None if rows is None else positive_radii(ensemble, x, *rows, epsilon, norm=norm).decide([epsilon])[0]

    def proved(self, relaxed: Relaxed, at_centre: Tensor, y: Tensor, norm: NormName) -> Tensor:
        """Whether bounds on the networks show that it holds in the whole region, ``[n_networks, n_points]``."""
        rows = self.linear(at_centre, y)
        assert rows is not None
        return (relaxed.least(rows[0]) + rows[1] > 0).all(-1)


@dataclass(frozen=True)
class ClassificationRobustness(Definition):
    """argmax f(x) = y within ε."""

    def holds(self, logits: Tensor, at_centre: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        return (logits.argmax(-1) == y) & ~logits.isnan().any(-1)

    def linear(self, at_centre: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return leads(y, at_centre.shape[-1])


@dataclass(frozen=True)
class StrongClassificationRobustness(Definition):
    """p_y(x) ≥ η within ε.

    Attributes:
        confidence: η, above 0 and below 1.
    """

    confidence: float

    def __post_init__(self) -> None:
        Real(above=0, below=1)("confidence", self.confidence)

    def holds(self, logits: Tensor, at_centre: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        return logits.softmax(-1).gather(-1, y[..., None])[..., 0] >= self.confidence

    def linear(self, at_centre: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        if at_centre.shape[-1] != 2:
            return None  # of more than two classes p_y is no function of one linear one
        rows, offsets = leads(y, 2)
        return rows, torch.zeros_like(offsets) - torch.tensor(self.confidence, dtype=torch.float64).logit()

    def proved(self, relaxed: Relaxed, at_centre: Tensor, y: Tensor, norm: NormName) -> Tensor:
        if at_centre.shape[-1] == 2:
            return super().proved(relaxed, at_centre, y, norm)
        # p_y = 1 / Σ exp(−margin), the class's own margin being 0.
        margins = relaxed.least(differences(y, at_centre.shape[-1])).scatter(2, y[..., None], 0.0)
        return (-torch.logsumexp(-margins, dim=2)).exp() > self.confidence


@dataclass(frozen=True)
class StandardRobustness(Definition):
    """|p(x) − p(x̂)| ≤ δ within ε, for two classes.

    Attributes:
        delta: δ, above 0 and below 1.
    """

    of_two = True
    delta: float

    def __post_init__(self) -> None:
        Real(above=0, below=1)("delta", self.delta)

    def holds(self, logits: Tensor, at_centre: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        return _change(logits, at_centre) <= self.delta

    def linear(self, at_centre: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # The lead of class 1 stays between two values; none limits it where p would leave [0, 1].
        p = _probability(at_centre)
        rising = torch.tensor([-1.0, 1.0], dtype=torch.float64, device=p.device)
        rows = torch.stack([rising, -rising]).expand(*y.shape, -1, -1).clone()
        low, high = (p - self.delta).clamp(min=0), (p + self.delta).clamp(max=1)
        offsets = torch.stack([-low.logit(), high.logit()], dim=-1)
        free = offsets.isinf()
        rows[free] = 0.0
        return rows, torch.where(free, 1.0, offsets)


@dataclass(frozen=True)
class LipschitzRobustness(Definition):
    """|p(x) − p(x̂)| ≤ L ‖x − x̂‖ within ε, for two classes.

    Attributes:
        constant: L, per data unit, above 0.
    """

    of_two = True
    constant: float

    def __post_init__(self) -> None:
        Real(above=0)("constant", self.constant)

    def holds(self, logits: Tensor, at_centre: Tensor, y: Tensor, distance: Tensor) -> Tensor:
        return _change(logits, at_centre) <= self.constant * distance + 1e-12  # at x̂ itself, rounding is all the change

    def verdict(
        self, ensemble: Ensemble, x: Tensor, at_centre: Tensor, y: Tensor, epsilon: float, norm: NormName
    ) -> Tensor:
        return decide_lipschitz(ensemble, x, self.constant, epsilon, norm)

    def proved(self, relaxed: Relaxed, at_centre: Tensor, y: Tensor, norm: NormName) -> Tensor:
        return gradient_bounds(relaxed.ensemble, relaxed.bounds, norm) / 4 <= self.constant  # |σ'| ≤ ¼


@dataclass(frozen=True)
class Decided:
    """Which points a definition holds for.

    Attributes:
        verdict: 1 where it is proved, 0 where a counterexample refutes it, −1 undecided, ``[n_networks, n_points]``,
            int8.
        by: ``"verification"``, complete but for its budget and rounding, or ``"bounds and attack"``.
    """

    verdict: Tensor
    by: Literal["verification", "bounds and attack"]

    @property
    def shares(self) -> Tensor:
        """Shares of points that are robust for certain, and that may be, ``[2, n_networks]``."""
        return torch.stack([(self.verdict == 1).double().mean(1), (self.verdict != 0).double().mean(1)])


@torch.no_grad()
def decide(
    definition: Definition,
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    norm: NormName = "linf",
    attack: Attack | None = None,
    limits: Limits | None = None,
) -> Decided:
    """Decide for every point whether a definition of robustness holds within ε.

    In the plane, without limits of the data, by branch and bound. Otherwise it counts as proved where linear bounds
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
        limits: lowest and highest value of an input, or of each coordinate, if there are such.

    Raises:
        ValueError: the shapes do not fit, a number is outside its range, x lies outside its limits, or the definition
            is not one for so many classes.
    """
    Real(above=0)("epsilon", epsilon)
    check_outputs(ensemble)
    given, n_out = x, ensemble.layer_sizes[-1]
    x, y = ensemble.own(x.double(), y)
    if definition.of_two and n_out != 2:
        raise ValueError(f"ensemble must have two classes for {type(definition).__name__}, got {n_out}.")
    double = ensemble.select(slice(None)).double()
    at_centre = double(x)
    if x.shape[2] == 2 and limits is None:
        verdict = definition.verdict(ensemble, x, at_centre, y, epsilon, norm)
        if verdict is not None:
            return Decided(verdict, "verification")
    relaxed = Relaxed(double, region(double, given, epsilon, norm=norm, limits=limits), ROUNDING)
    verdict = torch.where(definition.proved(relaxed, at_centre, y, norm), 1, -1).to(torch.int8)
    refuted = ~definition.holds(at_centre, at_centre, y, torch.zeros_like(at_centre[..., 0]))
    if attack is not None:
        worst = attack(ensemble, given, y, epsilon, limits=limits).x.double()
        distance = NORMS[norm].length(worst - x)
        refuted |= ~definition.holds(double(worst), at_centre, y, distance) & (distance <= epsilon * (1 + 1e-6))
    return Decided(torch.where(refuted, 0, verdict), "bounds and attack")


def _probability(logits: Tensor) -> Tensor:
    """Probability of class 1 of two."""
    return (logits[..., 1] - logits[..., 0]).sigmoid()


def _change(logits: Tensor, at_centre: Tensor) -> Tensor:
    return (_probability(logits) - _probability(at_centre)).abs()
