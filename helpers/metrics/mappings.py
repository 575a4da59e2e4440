"""Where a hidden layer sends the points of each class, and measures that turn such a picture into numbers.

Sets of points have shape ``[..., n_points, width]`` with any number of leading dimensions, networks first. All measures
are computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.checks import Integer, Real

# Of a class, the points farthest from its middle that the rule of collapse overlooks as outliers.
OUTLYING = 0.1
# Areas below this share of the larger class's squared spread are those of a line, up to rounding.
FLAT = 1e-6


def principal_spreads(points: Tensor) -> Tensor:
    """Standard deviations along the principal axes, √λᵢ of the covariance matrix, largest first.

    Args:
        points: ``[..., n_points, width]``, at least one point.

    Returns:
        ``[..., width]``, in the units of the points.
    """
    centred = points.double() - points.double().mean(dim=-2, keepdim=True)
    covariance = centred.transpose(-1, -2) @ centred / points.shape[-2]
    variances: Tensor = torch.linalg.eigvalsh(covariance)
    return variances.clamp(min=0).sqrt().flip(-1)


def spread(points: Tensor) -> Tensor:
    """Root mean square distance from the centroid, √trace Σ, ``[...]``; see `principal_spreads`."""
    return principal_spreads(points).square().sum(-1).sqrt()


def area(points: Tensor) -> Tensor:
    """Product of the two largest principal spreads, √det Σ in the plane, ``[...]``, squared units; 0 for a line.

    π times it is the area of the ellipse of one standard deviation.
    """
    values = principal_spreads(points)
    return values[..., 0] * values[..., 1] if values.shape[-1] > 1 else torch.zeros_like(values[..., 0])


def effective_rank(points: Tensor) -> Tensor:
    """Number of directions over which the points spread, exp(−Σ pᵢ log pᵢ) with pᵢ = √λᵢ / Σ√λ, ``[...]``.

    Between 1 (a line) and the width (the same in all directions); 0 for a single point.

    References:
        Roy & Vetterli (2007), definition 1.
    """
    values = principal_spreads(points)
    total = values.sum(-1, keepdim=True)
    share = values / torch.where(total > 0, total, 1.0)
    rank = torch.special.entr(share).sum(-1).exp()
    return torch.where(total[..., 0] > 0, rank, 0.0)


def without_outliers(points: Tensor, share: float = OUTLYING) -> Tensor:
    """Drop the share of the points that lie farthest from the median of each coordinate.

    Args:
        points: ``[..., n_points, width]``.
        share: of the points to drop, at least 0 and below 1.

    Returns:
        ``[..., n_kept, width]``, nearest first.
    """
    share = Real(at_least=0, below=1)("share", share)
    distance = (points - points.median(dim=-2, keepdim=True).values).square().sum(-1)
    n_kept = max(1, round((1 - share) * points.shape[-2]))
    kept = distance.argsort(dim=-1, stable=True)[..., :n_kept]
    return points.gather(-2, kept[..., None].expand(*kept.shape, points.shape[-1]))


def collapsed_class(points: Tensor, y: Tensor, *, ratio: float = 0.1, outlying: float = OUTLYING) -> Tensor:
    """Which of two classes has collapsed towards a point or a line, measured by the other one.

    A class has collapsed if its spread is less than ``ratio`` times that of the other class (towards a point), or
    its area is (towards a line, while the other is none). Both are taken without each class's farthest points.

    Args:
        points: mapped points, ``[..., n_points, width]``.
        y: their classes, ``[n_points]``, 0 or 1, each at least once.
        ratio: below which a class counts as collapsed, above 0 and at most 1.
        outlying: share of each class to overlook, see `without_outliers`.

    Returns:
        0 or 1, the number of the class, or −1 where neither has collapsed; ``[...]``, int64.
    """
    ratio = Real(above=0, at_most=1)("ratio", ratio)
    cores = [without_outliers(points[..., y == label, :], outlying) for label in (0, 1)]
    spreads = torch.stack([spread(core) for core in cores])
    floor = FLAT * spreads.amax(0).square()
    areas = torch.stack([area(core) for core in cores]).clamp(min=floor)
    # The class's size in proportion to the other's, by the stricter of the two measures.
    proportions = torch.stack([_proportion(sizes) for sizes in (spreads, areas)]).amin(0)
    return torch.where(proportions.amin(0) < ratio, proportions.argmin(0), -1)


def _proportion(sizes: Tensor) -> Tensor:
    """Each of two sizes as a multiple of the other, ``[2, ...]``; 1 where both are 0."""
    other = sizes.flip(0)
    return torch.where(sizes == other, 1.0, sizes / torch.where(other > 0, other, torch.finfo(sizes.dtype).tiny))


def asymmetry(points: Tensor, y: Tensor) -> Tensor:
    """|log₁₀ (area of class 1 / area of class 0)|, ``[...]``: 0 where the classes are treated alike.

    Areas have the floor of `collapsed_class`, so that two lines are alike.

    Args:
        points: mapped points, ``[..., n_points, width]``.
        y: their classes, ``[n_points]``, 0 or 1, each at least once.
    """
    classes = [points[..., y == label, :] for label in (0, 1)]
    floor = FLAT * torch.stack([spread(side) for side in classes]).amax(0).square()
    first, second = (area(side).clamp(min=floor) for side in classes)
    return torch.where(floor > 0, (second / first).log10().abs(), 0.0)


def margin(points: Tensor, y: Tensor, *, tolerance: float = 1e-3, n_steps: int = 300) -> Tensor:
    """Largest margin of a linear separator of two classes: half the distance between their convex hulls.

    The vector w between the nearest points of the hulls is found by moving weight from the worst to the best vertex
    of one hull at a time. At any time ½ (min over class 1 of w·p − max over class 0 of w·p) / ‖w‖ is the margin of
    the separator with normal w, hence a lower bound, and ½‖w‖ an upper one.

    Args:
        points: mapped points, ``[..., n_points, width]``.
        y: their classes, ``[n_points]``, 0 or 1, each at least once.
        tolerance: relative distance of the two bounds at which to stop, above 0; hulls nearer than this share of
            the largest coordinate count as touching.
        n_steps: steps after which to stop in any case, at least 1.

    Returns:
        ``[...]``, the margin of the best separator found, in the units of the points; 0 where none was.

    References:
        Mitchell, Demyanov & Malozemov (1974), for the nearest points of two polytopes.
    """
    tolerance = Real(above=0)("tolerance", tolerance)
    shape = points.shape[:-2]
    hulls = [points[..., y == label, :].double() for label in (0, 1)]
    hulls = [hull.reshape(-1, *hull.shape[-2:]) for hull in hulls]
    widest = torch.zeros(len(hulls[0]), dtype=torch.float64)
    active = torch.arange(len(widest))
    # Each hull's current point as a convex combination of its vertices, at first their mean.
    shares = [torch.full(hull.shape[:2], 1 / hull.shape[1], dtype=torch.float64) for hull in hulls]
    for _ in range(Integer(at_least=1)("n_steps", n_steps)):
        near = [torch.einsum("np,npd->nd", share, hull) for share, hull in zip(shares, hulls, strict=True)]
        w = near[1] - near[0]
        length = torch.linalg.vector_norm(w, dim=-1)
        # Along which each hull wants small values: away from the other one.
        heights = [torch.einsum("npd,nd->np", hull, sign * w) for hull, sign in zip(hulls, (-1, 1), strict=True)]
        gap = sum(height.amin(1) for height in heights) / length.clamp(min=torch.finfo(w.dtype).tiny)
        widest[active] = torch.maximum(widest[active], gap / 2)
        scale = torch.stack([hull.abs().amax((1, 2)) for hull in hulls]).amax(0)
        open_ = (gap < (1 - tolerance) * length) & (length > tolerance * scale)
        if not open_.any():
            break
        if open_.sum() < 0.8 * len(active):
            active, w = active[open_], w[open_]
            hulls, shares, heights = ([side[open_] for side in pair] for pair in (hulls, shares, heights))
        steps = [_exchange(*side) for side in zip(hulls, shares, heights, strict=True)]
        first = steps[0][0] >= steps[1][0]
        for side, (_, source, target, amount) in enumerate(steps):
            moved = torch.where(first if side == 0 else ~first, amount, 0.0)[:, None]
            shares[side].scatter_add_(1, source, -moved).scatter_add_(1, target, moved)
    return widest.view(shape)


def _exchange(hull: Tensor, share: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best exchange of weight between two vertices of a hull: its slope, from which, to which, how much."""
    target = height.argmin(1, keepdim=True)
    source = height.masked_fill(share <= 0, -torch.inf).argmax(1, keepdim=True)
    slope = (height.gather(1, source) - height.gather(1, target))[:, 0]
    rows = torch.arange(len(hull))
    length = (hull[rows, source[:, 0]] - hull[rows, target[:, 0]]).square().sum(-1)
    amount = torch.minimum(share.gather(1, source)[:, 0], slope / length.clamp(min=torch.finfo(length.dtype).tiny))
    return slope, source, target, amount


def displacement(x: Tensor, mapped: Tensor) -> dict[str, Tensor]:
    """Least-squares line of the distance between a point and its image over the point's distance from the origin.

    Args:
        x: points, ``[..., n_points, d]``.
        mapped: their images, of a shape that broadcasts against x.

    Returns:
        ``slope`` of ‖x − g(x)‖ over ‖x‖ and ``r_squared``, the share of its variance that the line explains, ``[...]``.
    """
    moved = torch.linalg.vector_norm(x.double() - mapped.double(), dim=-1)
    radius = torch.linalg.vector_norm(x.double(), dim=-1).expand_as(moved)
    moved, radius = (values - values.mean(-1, keepdim=True) for values in (moved, radius))
    slope = (moved * radius).sum(-1) / radius.square().sum(-1)
    total = moved.square().sum(-1)
    r_squared = slope.square() * radius.square().sum(-1) / torch.where(total > 0, total, 1.0)
    return {"slope": slope, "r_squared": r_squared}


def shape_distance(first: Tensor, second: Tensor) -> Tensor:
    """How far two pictures of the same points differ in shape: their Procrustes distance, 0 to 1, ``[...]``.

    min over shifts, scalings, rotations and reflections of the second of the squared distance from the first, with the
    first centred and scaled to unit norm: 1 − (Σσᵢ)² with σᵢ the singular values of AᵀB. A picture without extent has
    distance 0 from another such, and 1 from any else.

    Args:
        first: the images of some points, ``[..., n_points, width]``.
        second: other images of the same points, in the same order.

    References:
        Gower (1975), §2.
    """
    pictures = []
    for points in (first, second):
        centred = points.double() - points.double().mean(dim=-2, keepdim=True)
        norm = torch.linalg.matrix_norm(centred, keepdim=True)
        pictures.append(centred / torch.where(norm > 0, norm, 1.0))
    fit = torch.linalg.svdvals(pictures[0].transpose(-1, -2) @ pictures[1]).sum(-1)
    without_extent = torch.stack([(picture == 0).all(-1).all(-1) for picture in pictures]).all(0)
    return torch.where(without_extent, 0.0, (1 - fit.square()).clamp(0, 1))
