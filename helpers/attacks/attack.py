"""Attacks: for each point of each network, the worst point that can be found within a ball around it.

An attack is a frozen configuration that is called with an ensemble, its points and a radius ε. All members are attacked
at their own points in one pass. A point at which the network is wrong, or at which an attack has succeeded, is left
alone from then on, and so is one that is known to be safe. Inputs are in the data's own units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from helpers.checks import Real
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import InputGradients
from helpers.norms import NORM_NAME, NORMS, Limits, NormName, check_limits, into_ball
from helpers.seeding import torch_stream
from helpers.threads import side_by_side

# Parts that each thread takes the members in, one after the other.
SHARES = 4


@dataclass(frozen=True)
class Attacked:
    """What an attack found.

    Attributes:
        x: the point with the smallest margin that was found in each ball, ``[n_networks, n_points, n_in]``; the
            point itself where nothing worse was found.
        margin: logit of the class less the largest other at x, in float64, ``[n_networks, n_points]``.
        zero_gradients: share of the gradients looked at that were zero in every coordinate, ``[n_networks]``; NaN
            where none was looked at.
        path: where the attack stood after each step, ``[n_steps + 1, n_networks, n_points, n_in]``, if asked for.
    """

    x: Tensor
    margin: Tensor
    zero_gradients: Tensor
    path: Tensor | None = None

    @property
    def robust(self) -> Tensor:
        """Points that the attack has not lost to another class, ``[n_networks, n_points]``."""
        return self.margin > 0

    @property
    def robust_accuracy(self) -> Tensor:
        """Share of points that are right and stay right, ``[n_networks]``, 0 to 1."""
        return self.robust.double().mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """What every attack is: settings, and a way to run on the points of a `Front`.

    Attributes:
        norm: of the ball, a name from `helpers.norms`.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is outside its range.
    """

    norm: NormName = "linf"

    def __post_init__(self) -> None:
        NORM_NAME("norm", self.norm)

    @property
    def reach(self) -> float:
        """How far from a point it can get, as a multiple of ε: 1 but for attacks that leave their ball."""
        return 1.0

    def gradients(self, ensemble: Ensemble) -> InputGradients:
        """What it asks of networks: no more than margins, unless it follows the gradient of a loss."""
        return InputGradients(ensemble)

    @abstractmethod
    def run(self, front: Front) -> Attacked:
        """Attack the points of some members."""

    def __call__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        y: Tensor,
        epsilon: float,
        *,
        limits: Limits | None = None,
        safe: Tensor | None = None,
    ) -> Attacked:
        """Attack every member at its points, each thread some members at a time.

        Args:
            ensemble: the networks. Convert it and x to float64 to attack in float64.
            x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
            y: classes, ``[n_networks, n_points]`` or ``[n_points]``, int64.
            epsilon: radius of the ball, data units, at least 0.
            limits: lowest and highest value of an input, or of each coordinate, if there are such; x must lie within.
            safe: points known to have no adversarial point in the ball, ``[n_networks, n_points]``.

        Raises:
            ValueError: the shapes do not fit, ε is negative, or x lies outside its limits.
        """
        n = len(ensemble)
        x, y = ensemble.own(x.detach().to(ensemble.weights[0].dtype), y)
        check_limits(limits, x)
        if safe is not None and safe.shape != y.shape:
            raise ValueError(f"safe must have shape {list(y.shape)}, got {list(safe.shape)}.")
        epsilon = Real(at_least=0)("epsilon", epsilon)

        def attack(block: slice) -> Attacked:
            gradients = self.gradients(ensemble.select(block))
            done = None if safe is None else safe[block]
            return self.run(Front(gradients, x[block], y[block], epsilon, self.norm, limits=limits, safe=done))

        n_threads = min(torch.get_num_threads(), n)
        # Members have different numbers of points left, so that threads take them in more parts than there are threads.
        size = -(-n // (SHARES * n_threads)) if n_threads > 1 else n
        parts = side_by_side(attack, [slice(start, start + size) for start in range(0, n, size)])
        paths = [part.path for part in parts if part.path is not None]
        return Attacked(
            torch.cat([part.x for part in parts]),
            torch.cat([part.margin for part in parts]),
            torch.cat([part.zero_gradients for part in parts]),
            torch.cat(paths, dim=1) if paths else None,
        )


class Front:
    """The points under attack, as flat lists ordered by member, and the worst found so far for each.

    Args:
        gradients: what is asked of the networks.
        x: points, ``[n_networks, n_points, n_in]``.
        y: classes, ``[n_networks, n_points]``.
        epsilon: radius of the balls, data units.
        norm: of the balls.
        limits: of the data, if there are such.
        safe: points to leave alone, ``[n_networks, n_points]``.

    Attributes:
        active: numbers of the points still under attack, at first all.
        centre, label, member: of the active points: the point itself, its class, and the member it belongs to.
        n_active: how many each member has.
        worst: the worst point found for each of all.
    """

    def __init__(
        self,
        gradients: InputGradients,
        x: Tensor,
        y: Tensor,
        epsilon: float,
        norm: NormName,
        *,
        limits: Limits | None = None,
        safe: Tensor | None = None,
    ) -> None:
        n, n_points, n_in = self.shape = x.shape
        self.gradients, self.epsilon, self.norm, self.limits = gradients, epsilon, NORMS[norm], limits
        self.x, self.y = x.reshape(-1, n_in), y.reshape(-1)
        self.safe = torch.zeros_like(self.y, dtype=torch.bool) if safe is None else safe.reshape(-1)
        self.owner = torch.arange(n, device=x.device).repeat_interleave(n_points)
        self._attend(torch.arange(len(self.y), device=x.device))
        self.worst = self.x.clone()
        self.zeros, self.looked = torch.zeros(n, device=x.device), torch.zeros(n, device=x.device)

    @cached_property
    def margin(self) -> Tensor:
        """The margin at the worst point found for each, in the networks' own precision."""
        return self.gradients.margins(self.owner, self.x, self.y)

    @cached_property
    def streams(self) -> list[torch.Generator]:
        """Of random numbers, one for each member."""
        return [torch_stream(seed, f"attack {self.norm.name}") for seed in self.gradients.ensemble.seeds]

    def again(self, attack: Attack, safe: Tensor) -> Front:
        """The same points for a further attack, but for those that are safe from it."""
        x, y = self.x.view(self.shape), self.y.view(self.shape[:2])
        gradients = attack.gradients(self.gradients.ensemble)
        return Front(gradients, x, y, self.epsilon, attack.norm, limits=self.limits, safe=safe)

    def begin(self, *, all_points: bool = False) -> None:
        """Put under attack the points that are neither lost nor safe, or simply all."""
        chosen = torch.ones_like(self.safe) if all_points else (self.margin > 0) & ~self.safe
        self._attend(chosen.nonzero()[:, 0])

    def _attend(self, active: Tensor) -> None:
        self.active = active
        self.centre, self.label, self.member = self.x[active], self.y[active], self.owner[active]
        self.n_active = torch.bincount(self.member, minlength=self.shape[0])

    def draw(self) -> Tensor:
        """Draw one vector of the ball for every active point, each from its member's own stream."""
        shape = self.shape[1:]
        drawn = torch.cat([self.norm.sample(tuple(shape), stream) for stream in self.streams]).to(self.x.device)
        return self.epsilon * drawn[self.active]

    def inside(self, point: Tensor, *, centre: Tensor | None = None) -> Tensor:
        """Cut a step back into the balls of the active points, or of other centres."""
        return into_ball(point, self.centre if centre is None else centre, self.epsilon, self.norm, self.limits)

    def look(self, point: Tensor) -> Tensor:
        """Return the margins at these points of the active balls."""
        return self.gradients.margins(self.member, point, self.label)

    def look_at_many(self, points: Tensor) -> Tensor:
        """Return the margins at several points of each active ball, ``[n_active, n]`` of ``[n_active, n, n_in]``."""
        many = points.shape[1]
        member, label = (values.repeat_interleave(many) for values in (self.member, self.label))
        return self.gradients.margins(member, points.flatten(0, 1), label).view(-1, many)

    def differentiate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return margins and gradients there, and count the gradients that are zero."""
        margin, gradient = self.gradients.both(self.member, point, self.label)
        self.looked += self.n_active
        zero = ~gradient.any(dim=1)
        if bool(zero.any()):
            self.zeros += torch.bincount(self.member[zero], minlength=len(self.zeros))
        return margin, gradient

    def keep_worst(self, point: Tensor, margin: Tensor) -> None:
        """Remember points that are worse than those known."""
        worse = margin < self.margin[self.active]
        number = self.active[worse]
        self.worst[number], self.margin[number] = point[worse], margin[worse]

    def drop_lost(self) -> Tensor:
        """Take the lost points out of the attack; return which of the active ones stayed."""
        stay = self.margin[self.active] > 0
        if not bool(stay.all()):
            self._attend(self.active[stay])
        return stay

    def result(self, path: Sequence[Tensor] = ()) -> Attacked:
        """Judge the worst points in float64: what float32 saw as lost or safe may be its own rounding."""
        ensemble = self.gradients.ensemble
        worst, y = self.worst.view(self.shape), self.y.view(self.shape[:2])
        recorded = torch.stack([step.view(self.shape) for step in path]) if path else None
        return Attacked(worst, exact_margins(ensemble, worst, y), (self.zeros / self.looked).double(), recorded)


@torch.no_grad()
def exact_margins(ensemble: Ensemble, x: Tensor, y: Tensor) -> Tensor:
    """Return the logit of each point's class less the largest other, in float64, ``[n_networks, n_points]``.

    Args:
        ensemble: the networks, in any precision.
        x: points, ``[n_networks, n_points, n_in]``.
        y: classes, ``[n_networks, n_points]``.
    """
    n, n_points = y.shape
    member = torch.arange(n, device=x.device).repeat_interleave(n_points)
    double = InputGradients(ensemble.select(slice(None)).double())
    return double.margins(member, x.flatten(0, 1).double(), y.flatten()).view(n, n_points)


@dataclass(frozen=True, kw_only=True)
class WorstOf(Attack):
    """Several attacks in turn, each on the points that the ones before it could not break.

    The worst case *per point*: the share of points that survive is at most that of any single attack, and usually less
    than the smallest of theirs, for attacks break different points. The share of zero gradients is the largest of the
    attacks'.

    Attributes:
        attacks: at least one, all with the same norm, the cheapest first.
        norm: theirs.

    Raises:
        ValueError: there is none, or they differ in norm.
    """

    norm: NormName = field(init=False)
    attacks: Sequence[Attack]

    def __post_init__(self) -> None:
        if len({attack.norm for attack in self.attacks}) != 1:
            raise ValueError(f"attacks must be at least one, all with the same norm, got {list(self.attacks)}.")
        object.__setattr__(self, "norm", self.attacks[0].norm)

    @property
    def reach(self) -> float:
        return max(attack.reach for attack in self.attacks)

    def run(self, front: Front) -> Attacked:
        first, *others = self.attacks
        safe = front.safe.view(front.shape[:2])
        worst = first.run(front.again(first, safe))
        for attack in others:
            worst = worse_of(worst, attack.run(front.again(attack, safe | ~worst.robust)))
        return worst


def worse_of(first: Attacked, second: Attacked) -> Attacked:
    """Of two results for the same points, the worse for each point; without paths."""
    worse = second.margin < first.margin
    return Attacked(
        torch.where(worse[..., None], second.x, first.x),
        torch.where(worse, second.margin, first.margin),
        torch.fmax(first.zero_gradients, second.zero_gradients),
    )
