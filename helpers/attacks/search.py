"""Attacks that ask only for logits: noise, a random search, and in the plane an exhaustive one.

They cannot be misled by gradients that vanish, and so keep watch over the attacks that follow gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.attacks.attack import Attack, Attacked, Front
from helpers.checks import Flag, Integer
from helpers.norms import NORMS

# Candidates looked at together; more would only need more memory.
CANDIDATES = 2**18


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Attack):
    """Points drawn uniformly from the ball.

    Attributes:
        draws: how many for each point, at least 1.
        norm: of the ball.
        last: judge the last draw alone; with one draw, robust accuracy is then the accuracy under noise. Otherwise the
            worst draw counts, the point itself included.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.
    """

    draws: int = 1
    last: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        Integer(at_least=1)("draws", self.draws)
        Flag()("last", self.last)

    def run(self, front: Front) -> Attacked:
        front.begin(all_points=self.last)
        for _ in range(self.draws):
            point = front.inside(front.centre.double() + front.draw())
            if self.last:
                front.worst = point
            else:
                front.keep_worst(point, front.look(point))
                front.drop_lost()
        return front.result()


@dataclass(frozen=True, kw_only=True)
class RandomSearch(Attack):
    """A gradient-free search: a random step from the worst point so far, kept if it makes matters worse.

    The first quarter of the steps looks anywhere in the ball; then the steps shrink from ε to a hundredth of it.

    Attributes:
        steps: candidates for each point, at least 4.
        norm: of the ball.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.

    References:
        Rastrigin (1963) for the search; Andriushchenko et al. (2020) for its use as an attack.
    """

    steps: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        Integer(at_least=4)("steps", self.steps)

    def run(self, front: Front) -> Attacked:
        front.begin()
        wide = self.steps // 4
        for step in range(self.steps):
            if not len(front.active):
                break
            drawn = front.draw()
            if step < wide:
                point = front.centre.double() + drawn
            else:
                shrink = 0.01 ** ((step - wide) / (self.steps - wide))
                point = front.worst[front.active].double() + shrink * drawn
            point = front.inside(point)
            front.keep_worst(point, front.look(point))
            front.drop_lost()
        return front.result()


@dataclass(frozen=True, kw_only=True)
class ExhaustiveSearch(Attack):
    """The whole ball of a plane on a grid, corners and edges first, then finer grids around its worst point.

    The square grid is bent onto the disc for L2. It is the truth up to what hides between the nodes of the grid.

    Attributes:
        side: nodes on each side of the grid, odd, at least 3; the middle one is the point itself.
        zooms: finer grids, each with a quarter of the spacing of the one before, at least 0.
        norm: of the ball.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.
    """

    side: int = 41
    zooms: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if Integer(at_least=3)("side", self.side) % 2 == 0:
            raise ValueError(f"side must be odd, got {self.side}.")
        Integer(at_least=0)("zooms", self.zooms)

    def nodes(self, side: int) -> Tensor:
        """The grid on the unit ball, ``[side², 2]``, outermost nodes first."""
        line = torch.linspace(-1, 1, side, dtype=torch.float64)
        square = torch.cartesian_prod(line, line)
        # Corners have the largest sum of moduli, the middle the least; nodes of the rim come before all others.
        size = square.abs()
        order = (10 * (size.amax(1) == 1) + size.sum(1)).argsort(descending=True, stable=True)
        square, size = square[order], size[order]
        # From the unit ball of L∞ outwards onto that of the norm.
        return square * (size.amax(1) / NORMS[self.norm].length(square).clamp(min=1e-300))[:, None]

    def run(self, front: Front) -> Attacked:
        if front.shape[2] != 2:
            raise ValueError(f"ensemble must have two inputs to be searched, got {front.shape[2]}.")
        front.begin()
        self._search(front, self.nodes(self.side).to(front.x.device), around_worst=False)
        spacing = 2 / (self.side - 1)
        for _ in range(self.zooms):
            self._search(front, spacing * self.nodes(9).to(front.x.device), around_worst=True)
            spacing /= 4
        return front.result()

    def _search(self, front: Front, nodes: Tensor, *, around_worst: bool) -> None:
        # The first look, at the corners and the rim alone, settles most points that can be lost at all.
        done, centres = 0, front.worst.double().clone() if around_worst else front.x.double()
        while done < len(nodes) and len(front.active):
            many = 16 if not done else max(16, CANDIDATES // len(front.active))
            some = nodes[done : done + many]
            start = centres[front.active][:, None]
            point = front.inside(start + front.epsilon * some, centre=front.centre[:, None])
            margin = front.look_at_many(point)
            least, number = margin.min(dim=1)
            front.keep_worst(point[torch.arange(len(point), device=point.device), number], least)
            front.drop_lost()
            done += len(some)
