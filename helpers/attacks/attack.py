"""Attacks: for each point of each network, the worst point that can be found within a ball around it.

An attack is a frozen configuration that is called with an ensemble, its points and a radius ε. All members are attacked
at their own points in one pass. A point at which the network is wrong, or at which an attack has succeeded, is left
alone from then on, and so is one that is known to be safe. Inputs are in the data's own units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from helpers.checks import Real
from helpers.metrics.accuracy import BLOCK
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import InputGradients
from helpers.norms import NORMS, Bounds, into_ball
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


class Attack(Protocol):
    """What every attack is."""

    @property
    def norm(self) -> str:
        """Name of the norm of its ball, from `helpers.norms`."""

    @property
    def reach(self) -> float:
        """How far from a point it can get, as a multiple of ε: 1 but for attacks that leave their ball."""

    def __call__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        y: Tensor,
        epsilon: float,
        *,
        bounds: Bounds = None,
        safe: Tensor | None = None,
    ) -> Attacked:
        """Attack every member at its points.

        Args:
            ensemble: the networks. Convert it and x to float64 to attack in float64.
            x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
            y: classes, ``[n_networks, n_points]`` or ``[n_points]``, int64.
            epsilon: radius of the ball, data units, at least 0.
            bounds: lowest and highest value of an input, or of each coordinate; x must lie within.
            safe: points known to have no adversarial point in the ball, ``[n_networks, n_points]``.

        Raises:
            ValueError: the shapes do not fit, ε is negative, or x lies outside its bounds.
        """


class Front:
    """The points under attack, as flat lists ordered by member, and the worst found so far for each.

    Attributes:
        x, y, member: of all points.
        active: numbers of the points still under attack.
        worst, margin: the point with the smallest margin found for each, and that margin.
    """

    def __init__(
        self,
        gradients: InputGradients,
        x: Tensor,
        y: Tensor,
        epsilon: float,
        norm: str,
        bounds: Bounds,
        safe: Tensor,
    ) -> None:
        n, n_points, n_in = x.shape
        self.gradients, self.bounds = gradients, bounds
        self.epsilon, self.norm = epsilon, NORMS[norm]
        self.shape = x.shape
        self.x, self.y, self.safe = x.reshape(-1, n_in), y.reshape(-1), safe.reshape(-1)
        self.member = torch.arange(n).repeat_interleave(n_points)
        self.worst = self.x.clone()
        self.margin = gradients.margins(self.member, self.x, self.y)
        self.active = torch.arange(len(self.y))
        self.zeros, self.looked = torch.zeros(n), torch.zeros(n)
        self.streams = [torch_stream(seed, f"attack {norm}") for seed in gradients.ensemble.seeds]

    def begin(self, *, all_points: bool = False) -> None:
        """Put under attack the points that are neither lost nor safe, or simply all."""
        chosen = torch.ones_like(self.safe) if all_points else (self.margin > 0) & ~self.safe
        self.active = chosen.nonzero()[:, 0]

    def draw(self) -> Tensor:
        """Draw one vector of the ball for every active point, each from its member's own stream."""
        shape = self.shape[1:]
        drawn = torch.cat([self.norm.sample(tuple(shape), stream) for stream in self.streams])
        return self.epsilon * drawn[self.active]

    def inside(self, point: Tensor, *, centre: Tensor | None = None) -> Tensor:
        """Cut a step back into the balls of the active points, or of other centres."""
        centre = self.x[self.active] if centre is None else centre
        return into_ball(point, centre, self.epsilon, self.norm, self.bounds)

    def look(self, point: Tensor) -> Tensor:
        """Return the margins at these points of the active balls."""
        return self.gradients.margins(self.member[self.active], point, self.y[self.active])

    def look_at_many(self, points: Tensor) -> Tensor:
        """Return the margins at several points of each active ball, ``[n_active, n]`` of ``[n_active, n, n_in]``."""
        many = points.shape[1]
        member, y = (values[self.active].repeat_interleave(many) for values in (self.member, self.y))
        return self.gradients.margins(member, points.flatten(0, 1), y).view(-1, many)

    def differentiate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return margins and gradients there, and count the gradients that are zero."""
        member = self.member[self.active]
        margin, gradient = self.gradients.both(member, point, self.y[self.active])
        self.looked += torch.bincount(member, minlength=self.shape[0])
        self.zeros += torch.bincount(member[~gradient.any(dim=1)], minlength=self.shape[0])
        return margin, gradient

    def keep_worst(self, point: Tensor, margin: Tensor) -> None:
        """Remember points that are worse than those known."""
        worse = margin < self.margin[self.active]
        number = self.active[worse]
        self.worst[number], self.margin[number] = point[worse], margin[worse]

    def drop_lost(self) -> Tensor:
        """Take the lost points out of the attack; return which of the active ones stayed."""
        stay = self.margin[self.active] > 0
        self.active = self.active[stay]
        return stay

    def result(self, path: Sequence[Tensor] = ()) -> Attacked:
        """Judge the worst points in float64: what float32 saw as lost or safe may be its own rounding."""
        ensemble = self.gradients.ensemble
        worst, y = self.worst.view(self.shape), self.y.view(self.shape[:2])
        recorded = torch.stack([step.view(self.shape) for step in path]) if path else None
        return Attacked(worst, exact_margins(ensemble, worst, y), (self.zeros / self.looked).double(), recorded)


def attack_members(
    run: Callable[[Front], Sequence[Tensor]],
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    norm: str,
    loss: str = "margin",
    bounds: Bounds = None,
    safe: Tensor | None = None,
    compiled: bool = True,
) -> Attacked:
    """Run an attack on all members, each thread on some of them at a time.

    Args:
        run: attacks the points of some members, and returns the path if it kept one.
        ensemble: see `Attack`.
        x: see `Attack`.
        y: see `Attack`.
        epsilon: see `Attack`.
        norm: of the ball.
        loss: of which gradients are taken.
        bounds: see `Attack`.
        safe: see `Attack`.
        compiled: whether compiled code may be used.

    Raises:
        ValueError: see `Attack`.
    """
    n = len(ensemble)
    x, y = ensemble.own(x.detach().to(ensemble.weights[0].dtype), y)
    if safe is not None and safe.shape != y.shape:
        raise ValueError(f"safe must have shape {list(y.shape)}, got {list(safe.shape)}.")
    if bounds is not None and not bool(((x >= bounds[0]) & (x <= bounds[1])).all()):
        raise ValueError("x must lie within its bounds.")
    epsilon = Real(at_least=0)("epsilon", epsilon)
    safe = torch.zeros_like(y, dtype=torch.bool) if safe is None else safe

    def attack(block: slice) -> Attacked:
        gradients = InputGradients(ensemble.select(block), loss, compiled=compiled)
        front = Front(gradients, x[block], y[block], epsilon, norm, bounds, safe[block])
        return front.result(run(front))

    n_threads = min(torch.get_num_threads(), n)
    # Members have different numbers of points left, so that threads take them in more parts than there are threads.
    size = -(-n // (SHARES * n_threads)) if n_threads > 1 else n
    blocks = [slice(start, start + size) for start in range(0, n, size)]
    parts = side_by_side(attack, blocks)
    paths = [part.path for part in parts if part.path is not None]
    return Attacked(
        torch.cat([part.x for part in parts]),
        torch.cat([part.margin for part in parts]),
        torch.cat([part.zero_gradients for part in parts]),
        torch.cat(paths, dim=1) if paths else None,
    )


@torch.no_grad()
def exact_margins(ensemble: Ensemble, x: Tensor, y: Tensor) -> Tensor:
    """Return the logit of each point's class less the largest other, in float64, ``[n_networks, n_points]``.

    Args:
        ensemble: the networks, in any precision.
        x: points, ``[n_networks, n_points, n_in]``.
        y: classes, ``[n_networks, n_points]``.
    """
    parts = []
    for start in range(0, len(ensemble), BLOCK):
        block = slice(start, start + BLOCK)
        double = ensemble.select(block).double()
        member = torch.arange(len(double)).repeat_interleave(x.shape[1])
        flat = InputGradients(double).margins(member, x[block].flatten(0, 1).double(), y[block].flatten())
        parts.append(flat.view(len(double), -1))
    return torch.cat(parts)


@dataclass(frozen=True)
class WorstOf:
    """Several attacks in turn, each on the points that the ones before it could not break.

    The worst case *per point*: the share of points that survive is at most that of any single attack, and usually less
    than the smallest of theirs, for attacks break different points.

    Attributes:
        attacks: at least one, all with the same norm, the cheapest first.

    Raises:
        ValueError: there is none, or they differ in norm.
    """

    attacks: Sequence[Attack]

    def __post_init__(self) -> None:
        if len({attack.norm for attack in self.attacks}) != 1:
            raise ValueError(f"attacks must be at least one, all with the same norm, got {list(self.attacks)}.")

    @property
    def norm(self) -> str:
        """See `Attack`."""
        return self.attacks[0].norm

    @property
    def reach(self) -> float:
        """See `Attack`."""
        return max(attack.reach for attack in self.attacks)

    def __call__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        y: Tensor,
        epsilon: float,
        *,
        bounds: Bounds = None,
        safe: Tensor | None = None,
    ) -> Attacked:
        """Attack; see `Attack`. The share of zero gradients is the largest of the attacks'."""
        found: Attacked | None = None
        for attack in self.attacks:
            done = safe
            if found is not None:
                done = ~found.robust if safe is None else ~found.robust | safe
            next_one = attack(ensemble, x, y, epsilon, bounds=bounds, safe=done)
            found = next_one if found is None else worse_of(found, next_one)
        assert found is not None
        return found


def worse_of(first: Attacked, second: Attacked) -> Attacked:
    """Of two results for the same points, the worse for each point; without paths."""
    worse = second.margin < first.margin
    return Attacked(
        torch.where(worse[..., None], second.x, first.x),
        torch.where(worse, second.margin, first.margin),
        torch.fmax(first.zero_gradients, second.zero_gradients),
    )
