"""A complete verifier for networks in the plane: how far from each point does its class hold, proved to a tolerance?

Branch and bound: around each point a box is split until every piece is proved by linear bounds or lies farther away
than a counterexample in hand. One search at the largest ε answers for all smaller ones too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import Integer, Real
from helpers.models.ensemble import Ensemble
from helpers.norms import NORM_NAME, NORMS, Norm, NormName
from helpers.robustness.bands import Bands, bands
from helpers.robustness.bounds import differences
from helpers.robustness.boxes import check_outputs
from helpers.threads import side_by_side

# Boxes bounded in one go: the arrays of a 50-neuron layer then fit a core's cache.
CHUNK = 2048
GPU_CHUNK = 2**18


@dataclass(frozen=True)
class Radii:
    """How far around each point a property holds, between what is proved and what is refuted.

    Attributes:
        certified: the property holds at every point closer than this, ``[n_networks, n_points]``, data units, at
            most ε.
        broken: distance of the nearest point found at which it does not hold, ∞ if none was within ε.
        counterexample: that point, ``[n_networks, n_points, 2]``, NaN where there is none.
        n_boxes: pieces looked at, ``[n_networks, n_points]``.
        epsilon: the radius searched.
    """

    certified: Tensor
    broken: Tensor
    counterexample: Tensor
    n_boxes: Tensor
    epsilon: float

    def decide(self, epsilons: Sequence[float]) -> Tensor:
        """Verdict on each ε: 1 where the property is proved to hold within it, 0 where it is refuted, −1 undecided.

        Args:
            epsilons: radii, at most the one searched.

        Returns:
            ``[n_epsilons, n_networks, n_points]``, int8.

        Raises:
            ValueError: an ε is negative or larger than the radius searched.
        """
        rule = Real(at_least=0, at_most=self.epsilon)
        verdicts = []
        for epsilon in epsilons:
            epsilon = rule("epsilon", epsilon)
            proved, refuted = self.certified >= epsilon, self.broken <= epsilon
            verdicts.append(torch.where(refuted, 0, torch.where(proved, 1, -1)).to(torch.int8))
        return torch.stack(verdicts)


def verify(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    norm: NormName = "linf",
    tolerance: float = 1e-4,
    budget: int = 10_000,
) -> Radii:
    """Find how far around each point every network keeps its class, by branch and bound.

    Args:
        ensemble: networks with two inputs.
        x: points, ``[n_networks, n_points, 2]`` or ``[n_points, 2]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        epsilon: the radius to search, data units, above 0.
        norm: ``"linf"`` or ``"l2"``.
        tolerance: how far apart certified and broken radius may stay, data units, above 0.
        budget: pieces to look at for each point, at least 1; what is still open then counts as not proved.

    Returns:
        The radii; points that are misclassified have 0 for both. What is certified holds for the networks as run in
        float32 too (`helpers.robustness.bounds`), a counterexample was seen in the ensemble's own precision.

    Raises:
        ValueError: the networks are not in the plane, the shapes do not fit, or a number is outside its range.
    """
    check_outputs(ensemble)
    x, y = ensemble.own(x.double(), y)
    return positive_radii(
        ensemble, x, *leads(y, ensemble.layer_sizes[-1]), epsilon, norm=norm, tolerance=tolerance, budget=budget
    )


def leads(y: Tensor, n_out: int) -> tuple[Tensor, Tensor]:
    """Rows that take from logits z the leads z_y − z_k over all other classes, and what to add to them.

    Of equal logits the first one wins, as in argmax: so a class loses already with a lead of 0 over those before it.

    Args:
        y: classes, ``[...]``.
        n_out: number of logits.

    Returns:
        ``[..., n_out − 1, n_out]`` and ``[..., n_out − 1]``, float64.
    """
    k = torch.arange(n_out - 1, device=y.device)
    k = k + (k >= y[..., None])
    rows = differences(y, n_out).gather(-2, k[..., None].expand(*k.shape, n_out))
    return rows, torch.where(k < y[..., None], -torch.finfo(torch.float32).tiny, 0.0).double()


def positive_radii(
    ensemble: Ensemble,
    x: Tensor,
    rows: Tensor,
    offsets: Tensor,
    epsilon: float,
    *,
    norm: NormName = "linf",
    tolerance: float = 1e-4,
    budget: int = 10_000,
) -> Radii:
    """Find how far around each point linear functions of the logits stay positive: ``rows · f(x) + offsets ≥ 0``.

    Args:
        ensemble: networks with two inputs.
        x: points, ``[n_networks, n_points, 2]``, float64.
        rows: ``[n_networks, n_points, n_rows, n_out]``, float64; all of a point's must stay positive.
        offsets: ``[n_networks, n_points, n_rows]``, float64.
        epsilon: the radius to search, data units, above 0.
        norm: ``"linf"`` or ``"l2"``.
        tolerance: how far apart certified and broken radius may stay, data units, above 0.
        budget: pieces to look at for each point, at least 1; what is still open then counts as not proved.

    Returns:
        The radii.

    Raises:
        ValueError: the networks are not in the plane, or a number is outside its range.
    """
    if ensemble.layer_sizes[0] != 2:
        raise ValueError(f"ensemble must have 2 inputs to be verified in the plane, got {ensemble.layer_sizes[0]}.")
    options = (
        Real(above=0)("epsilon", epsilon),
        NORMS[NORM_NAME("norm", norm)],
        Real(above=0)("tolerance", tolerance),
        Integer(at_least=1)("budget", budget),
    )
    if x.device.type != "cpu":
        return Search(ensemble, x, rows, offsets, *options).run(GPU_CHUNK)
    # Each core takes one member at a time, whose arrays stay in its cache.
    searches = [
        Search(ensemble.select([k]), x[k : k + 1], rows[k : k + 1], offsets[k : k + 1], *options)
        for k in range(len(ensemble))
    ]
    members = side_by_side(lambda search: search.run(CHUNK), searches)
    return Radii(
        torch.cat([radii.certified for radii in members]),
        torch.cat([radii.broken for radii in members]),
        torch.cat([radii.counterexample for radii in members]),
        torch.cat([radii.n_boxes for radii in members]),
        options[0],
    )


class Search:
    """One branch and bound over all points of some members, with the arguments of `positive_radii`."""

    def __init__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        rows: Tensor,
        offsets: Tensor,
        epsilon: float,
        norm: Norm,
        tolerance: float,
        budget: int,
    ) -> None:
        self.runner = ensemble
        self.ensemble = ensemble.select(slice(None)).double()
        self.n_points = x.shape[1]
        self.x, self.rows, self.offsets = x.flatten(0, 1), rows.flatten(0, 1), offsets.flatten(0, 1)
        self.epsilon, self.norm, self.tolerance, self.budget = epsilon, norm, tolerance, budget
        n = len(self.x)
        self.best = self.x.new_full((n,), torch.inf)
        self.floor = self.x.new_full((n,), torch.inf)
        self.counterexample = self.x.new_full((n, 2), torch.nan)
        self.n_boxes = torch.zeros(n, dtype=torch.int64, device=x.device)

    @torch.no_grad()
    def run(self, chunk: int) -> Radii:
        """Search until nothing is open, at most `chunk` boxes at a time."""
        # A point that is in the ball on paper may leave it by its rounding to float32: prove a little more.
        slack = 2.0**-22 * (self.epsilon + self.x.abs().amax(dim=1))
        point = torch.arange(len(self.x), device=self.x.device)
        self.try_points(point, self.x)
        half = (self.epsilon + 2 * slack)[:, None].expand(-1, 2)
        frontier = [(point, self.x, half)]
        while frontier:
            pieces = [self.step(*block) for block in frontier]
            point, centre, half = (torch.cat(column) for column in zip(*pieces, strict=True))
            starts = range(0, len(point), chunk)
            frontier = [tuple(part[i : i + chunk] for part in (point, centre, half)) for i in starts]  # type: ignore[misc]
        certified = (torch.minimum(self.best, self.floor) - slack).clamp(0, self.epsilon).nan_to_num(nan=0.0)
        shape = (len(self.ensemble), self.n_points)
        return Radii(
            certified.view(shape),
            self.best.view(shape),
            self.counterexample.view(*shape, 2),
            self.n_boxes.view(shape),
            self.epsilon,
        )

    def step(self, point: Tensor, centre: Tensor, half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bound some boxes, look for counterexamples in them, and return the pieces of those left open."""
        distance = self.norm.length(self.nearest(point, centre, half) - self.x[point])
        keep = distance < self.best[point] - self.tolerance
        self.close(point[~keep], distance[~keep])
        point, centre, half, distance = point[keep], centre[keep], half[keep], distance[keep]
        self.n_boxes += torch.bincount(point, minlength=len(self.x))
        band = self.bound(point, centre, half)

        # Only what is known to be positive is proved; where a network or a bound on it overflows, NaN is not.
        least = band.value - (band.slope.abs() * half[:, None]).sum(2) - band.error
        left = ~(least > 0).all(1)
        point, centre, half, distance, least = (part[left] for part in (point, centre, half, distance, least))
        value, slope, error, noise = (part[left] for part in (band.value, band.slope, band.error, band.noise))
        # Distances from the point to where a row may, and where it must, have fallen to 0.
        at_point = value + (slope * (self.x[point] - centre)[:, None]).sum(2)
        dual = self.norm.dual(slope).clamp(min=1e-300)
        may, must = (at_point - error) / dual, (at_point + error) / dual
        may = torch.where(least > 0, torch.inf, may.nan_to_num(nan=0.0))
        near, row = may.min(dim=1)
        distance = torch.maximum(distance, near * (1 - 1e-12))
        # The nearest point of the box, and the one where the nearest row must have fallen.
        at = torch.arange(len(point), device=point.device)
        direction = self.norm.ascent(slope[at, row])
        step = (must[at, row].clamp(min=0) * (1 + 1e-6) + 1e-9)[:, None]
        self.try_points(point, self.nearest(point, centre, half))
        self.try_points(point, (self.x[point] - step * direction).clamp(centre - half, centre + half))

        # Within its rounding the network's sign is anybody's guess, over 2 · noise / dual of distance.
        blur = 4 * noise[at, row] / dual[at, row]
        keep = distance < self.best[point] - blur.clamp(min=self.tolerance)
        # Where rounding is a good part of the error, boxes below the tolerance will not say more.
        keep &= (half.amax(1) > self.tolerance) | (error[at, row] > 4 * noise[at, row])
        keep &= self.n_boxes[point] < self.budget
        self.close(point[~keep], distance[~keep])
        point, centre, half = point[keep], centre[keep], half[keep] / 2
        signs = torch.cartesian_prod(*2 * [torch.tensor([-1.0, 1.0], dtype=half.dtype, device=half.device)])
        quarters = (centre[:, None] + signs * half[:, None]).flatten(0, 1)
        return point.repeat_interleave(4), quarters, half.repeat_interleave(4, dim=0)

    def bound(self, point: Tensor, centre: Tensor, half: Tensor) -> Bands:
        """`bands` of boxes in any order of members."""
        place, shape = self.places(point)
        arrays = (centre, half, self.rows[point], self.offsets[point])
        padded = [array.new_zeros(*shape, *array.shape[1:]).index_put_(place, array) for array in arrays]
        band = bands(self.ensemble, *padded)
        return Bands(band.value[place], band.slope[place], band.error[place], band.noise[place])

    def places(self, point: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Where a list of points' members keeps its entries in an array ``[n_networks, most entries of a member]``."""
        member = point // self.n_points
        counts = torch.bincount(member, minlength=len(self.ensemble))
        order = member.argsort(stable=True)
        slot = torch.empty_like(order)
        slot[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[member[order]]
        return (member, slot), (len(self.ensemble), int(counts.max()))

    def try_points(self, point: Tensor, candidate: Tensor) -> None:
        """Keep those candidates that break the property nearer than any before."""
        dtype = self.runner.weights[0].dtype
        candidate = candidate.to(dtype)
        distance = self.norm.length(candidate.double() - self.x[point])
        hopeful = (distance < self.best[point]) & (distance <= self.epsilon)
        point, candidate, distance = point[hopeful], candidate[hopeful], distance[hopeful]
        if not len(point):
            return
        place, shape = self.places(point)
        logits = self.runner(candidate.new_zeros(*shape, 2).index_put_(place, candidate))[place]
        rows, offsets = self.rows[point].to(dtype), self.offsets[point].to(dtype)
        broken = ~((rows @ logits[..., None])[..., 0] + offsets >= 0).all(1)
        point, candidate, distance = point[broken], candidate[broken], distance[broken]
        self.best.scatter_reduce_(0, point, distance, "amin")
        nearest = distance == self.best[point]
        self.counterexample[point[nearest]] = candidate[nearest].double()

    def close(self, point: Tensor, distance: Tensor) -> None:
        """Leave boxes unproved: what is certified ends before them."""
        self.floor.scatter_reduce_(0, point, distance, "amin")

    def nearest(self, point: Tensor, centre: Tensor, half: Tensor) -> Tensor:
        """The points of boxes nearest to their own points."""
        return self.x[point].clamp(centre - half, centre + half)
