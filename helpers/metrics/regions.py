"""The plane cut exactly into the linear regions of a network, and with it decision boundaries and true radii.

For piecewise linear activations a network is affine on each polygon of a subdivision of the plane. Found layer by
layer, neuron by neuron, it gives the decision boundary as line segments, and the distance to them is the truth that
attacks and bounds can be held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from helpers.checks import Integer
from helpers.models.activations import LEFT_SLOPES
from helpers.models.ensemble import Ensemble
from helpers.norms import NORM_NAME, NORMS, NormName

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# A line that comes this near to a corner, relative to the size of the rectangle, passes through it.
TOLERANCE = 1e-12


@dataclass(frozen=True)
class LinearRegions:
    """The linear regions of a network in a rectangle, and where they are cut by the decision boundary.

    Attributes:
        rectangle: left, right, bottom, top.
        corners: of each convex polygon, counter-clockwise, ``[n_regions, most, 2]``; the last one repeated to fill up.
        n_corners: ``[n_regions]``.
        slopes: of the network's affine map there, ``[n_regions, n_out, 2]``.
        offsets: ``[n_regions, n_out]``: f(x) = slopes · x + offsets.
        segments: pieces of the decision boundary, from … to, ``[n_segments, 2, 2]``.
        classes: the two classes that meet there, the smaller first, ``[n_segments, 2]``.
        region: that the segment lies in, ``[n_segments]``.
    """

    rectangle: tuple[float, float, float, float]
    corners: Floats
    n_corners: Integers
    slopes: Floats
    offsets: Floats
    segments: Floats
    classes: Integers
    region: Integers

    def __len__(self) -> int:
        return len(self.corners)

    @cached_property
    def areas(self) -> Floats:
        """Area of each region, ``[n_regions]`` (shoelace formula)."""
        origin = self.corners[:, :1]
        x, y = np.moveaxis(self.corners - origin, 2, 0)
        doubled = x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)
        return np.asarray(doubled.sum(axis=1) / 2)

    @cached_property
    def centres(self) -> Floats:
        """A point inside each region, the mean of its corners, ``[n_regions, 2]``."""
        return _centres(self.corners, self.n_corners)

    @cached_property
    def lengths(self) -> Floats:
        """Length of each segment of the boundary, ``[n_segments]``."""
        return np.asarray(np.linalg.norm(self.segments[:, 1] - self.segments[:, 0], axis=1))

    def distances(self, points: npt.ArrayLike, y: npt.ArrayLike | None = None, *, norm: NormName = "linf") -> Floats:
        """Distance of points to the decision boundary in the rectangle.

        Args:
            points: ``[n_points, 2]``, within the rectangle.
            y: classes, ``[n_points]``; given, only boundaries of a point's own class count.
            norm: ``"linf"`` or ``"l2"``.

        Returns:
            ``[n_points]``; ∞ where the rectangle's border is nearer than any boundary: what lies beyond is unknown.

        Raises:
            ValueError: a point lies outside the rectangle.
        """
        NORM_NAME("norm", norm)
        points = np.asarray(points, dtype=np.float64)
        left, right, bottom, top = self.rectangle
        border = np.min([points[:, 0] - left, right - points[:, 0], points[:, 1] - bottom, top - points[:, 1]], axis=0)
        if (border < 0).any():
            raise ValueError(f"points must lie within the rectangle {self.rectangle}, got {points[border.argmin()]}.")
        distances = np.full(len(points), np.inf)
        groups = [(slice(None), self.segments)]
        if y is not None:
            y = np.asarray(y)
            groups = [(y == k, self.segments[(self.classes == k).any(axis=1)]) for k in np.unique(y)]
        for chosen, segments in groups:
            distances[chosen] = _nearest(points[chosen], segments, norm)
        return np.where(distances <= border, distances, np.inf)


def linear_regions(
    ensemble: Ensemble, member: int, rectangle: tuple[float, float, float, float], *, most: int = 1_000_000
) -> LinearRegions:
    """Cut a rectangle into the linear regions of one network.

    The rectangle starts as the one region. Each neuron's pre-activation is affine on every region that the neurons
    before it left, and where its sign changes on one, the line on which it is 0 cuts this region in two.

    Args:
        ensemble: networks with two inputs.
        member: which of them; its activation must be piecewise linear: relu, leaky_relu, prelu or abs.
        rectangle: left, right, bottom, top, data units.
        most: regions allowed, at least 1.

    Raises:
        ValueError: the network is not in the plane or not piecewise linear, the rectangle is empty, or there are too
            many regions.

    References:
        Humayun et al. (2023), SplineCam.
    """
    member = Integer(at_least=0, at_most=len(ensemble) - 1)("member", member)
    most = Integer(at_least=1)("most", most)
    name = ensemble.activations[member]
    if ensemble.layer_sizes[0] != 2 or name not in LEFT_SLOPES or ensemble.output != "linear":
        raise ValueError(
            f"ensemble must have 2 inputs, a piecewise linear activation ({', '.join(LEFT_SLOPES)}) and linear outputs "
            f"to be cut into linear regions, got {ensemble.layer_sizes[0]}, {name} and {ensemble.output} ones."
        )
    left, right, bottom, top = map(float, rectangle)
    if not (left < right and bottom < top and np.isfinite([left, right, bottom, top]).all()):
        raise ValueError(f"rectangle must be left < right, bottom < top, got {rectangle!r}.")

    corners = np.array([[[left, bottom], [right, bottom], [right, top], [left, top]]])
    n_corners = np.array([4])
    near = TOLERANCE * max(map(abs, (left, right, bottom, top)))
    slopes, offsets = np.eye(2)[None], np.zeros((1, 2))  # of the layer's input
    with torch.no_grad():
        layers = [
            (w[member].double().cpu().numpy(), b[member].double().cpu().numpy())
            for w, b in zip(ensemble.weights, ensemble.biases, strict=True)
        ]
        bends = [LEFT_SLOPES[name] if name != "prelu" else float(slope[member]) for slope in ensemble.slopes]
    for (weight, bias), bend in zip(layers, [*bends, None], strict=True):
        slopes, offsets = weight @ slopes, offsets @ weight.T + bias
        if bend is None:
            break
        origin, crossed = np.arange(len(corners)), _crossed(corners, slopes, offsets)
        for neuron in np.flatnonzero(crossed.any(axis=0)):
            near_it = np.flatnonzero(crossed[origin, neuron])  # a piece is crossed only if the whole was
            whole = origin[near_it]
            side = sides(corners[near_it], slopes[whole, neuron], offsets[whole, neuron], near)
            corners, n_corners, parent = _cut(corners, n_corners, near_it, side)
            origin = origin[parent]
            if len(corners) > most:
                raise ValueError(
                    f"most must allow for the regions of the network, got {most}: cut a smaller rectangle."
                )
        slopes, offsets = slopes[origin], offsets[origin]
        z = np.einsum("rni,ri->rn", slopes, _centres(corners, n_corners)) + offsets
        factor = np.where(z > 0, 1.0, bend)
        slopes, offsets = slopes * factor[:, :, None], offsets * factor
    segments, classes, region = _boundary(corners, n_corners, slopes, offsets, near)
    return LinearRegions((left, right, bottom, top), corners, n_corners, slopes, offsets, segments, classes, region)


def true_radii(ensemble: Ensemble, x: Tensor, y: Tensor, epsilon: float, *, norm: NormName = "linf") -> Tensor:
    """Exact distance of every point to where each network stops giving it its class.

    Args:
        ensemble: networks with two inputs and piecewise linear activations.
        x: points, ``[n_networks, n_points, 2]`` or ``[n_points, 2]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        epsilon: how far around the points to look, data units, above 0.
        norm: ``"linf"`` or ``"l2"``.

    Returns:
        ``[n_networks, n_points]``, float64: 0 where the class is wrong from the start, ∞ where it holds within ε.

    Raises:
        ValueError: see `linear_regions`; or the shapes do not fit.
    """
    x, y = ensemble.own(x.double(), y)
    with torch.no_grad():
        right = ensemble.select(slice(None)).double()(x).argmax(2) == y
    radii = []
    for k in range(len(ensemble)):
        points = x[k].cpu().numpy()
        low, high = points.min(axis=0) - 1.001 * epsilon, points.max(axis=0) + 1.001 * epsilon
        cut = linear_regions(ensemble, k, (low[0], high[0], low[1], high[1]))
        distances = cut.distances(points, y[k].cpu().numpy(), norm=norm)
        radii.append(torch.from_numpy(np.where(distances <= epsilon, distances, np.inf)))
    return torch.where(right.cpu(), torch.stack(radii), 0.0)


def _centres(corners: Floats, n_corners: Integers) -> Floats:
    filled = np.arange(corners.shape[1]) < n_corners[:, None]
    return np.asarray((corners * filled[:, :, None]).sum(axis=1) / n_corners[:, None])


def _crossed(corners: Floats, slopes: Floats, offsets: Floats) -> npt.NDArray[np.bool_]:
    """Whether each of some functions changes its sign on a polygon, ``[n_regions, n_functions]``."""
    found = np.empty(offsets.shape, dtype=np.bool_)
    for start in range(0, len(corners), 1024):  # blocks that fit the cache
        block = slice(start, start + 1024)
        value = corners[block] @ np.swapaxes(slopes[block], 1, 2) + offsets[block, None]
        found[block] = (value.max(axis=1) > 0) & (value.min(axis=1) < 0)
    return found


def _cut(corners: Floats, n_corners: Integers, some: Integers, side: Floats) -> tuple[Floats, Integers, Integers]:
    """Cut some polygons in two, each along its own line.

    Args:
        corners: of all polygons.
        n_corners: their numbers.
        some: the polygons that a line may cross.
        side: distance of their corners from it, with its sign, ``[n_some, most]``.

    Returns:
        Corners and their numbers, the cut polygons' halves in the place of the whole ones and at the end, and which
        polygon each came from.
    """
    through = (side.max(axis=1) > 0) & (side.min(axis=1) < 0)
    some, side = some[through], side[through]
    parent = np.concatenate([np.arange(len(corners)), some])
    if not len(some):
        return corners, n_corners, parent
    (left, n_left), (right, n_right) = (clip(corners[some], n_corners[some], sign * side) for sign in (1, -1))
    width = max(left.shape[1], right.shape[1], corners.shape[1])
    corners = np.concatenate([_widen(corners, width), _widen(right, width)])
    corners[some] = _widen(left, width)
    n_corners = np.concatenate([n_corners, n_right])
    n_corners[some] = n_left
    return corners, n_corners, parent


def sides(corners: Floats, slope: Floats, offset: Floats, near: float) -> Floats:
    """Distance of every corner from the line of its polygon, with its sign; 0 where it is negligible."""
    value = np.einsum("rci,ri->rc", corners, slope) + offset[:, None]
    steepness = np.linalg.norm(slope, axis=1)[:, None]
    distance = value / np.where(steepness > 0, steepness, 1.0)
    # The value's own rounding, as a distance: large where a flat function is the difference of large numbers.
    blur = near + 1e-15 * np.abs(offset[:, None]) / np.where(steepness > 0, steepness, 1.0)
    return np.asarray(np.where((np.abs(distance) <= blur) | (steepness == 0), 0.0, distance))


def clip(corners: Floats, n_corners: Integers, side: Floats) -> tuple[Floats, Integers]:
    """Keep the part of convex polygons where side ≥ 0 (Sutherland & Hodgman 1974)."""
    n, most = side.shape
    index = np.arange(most)
    real = index < n_corners[:, None]
    follower = np.where(index + 1 < n_corners[:, None], index + 1, 0)
    next_side = np.take_along_axis(side, follower, axis=1)
    next_corner = np.take_along_axis(corners, follower[:, :, None], axis=1)
    crosses = real & (side * next_side < 0)
    share = side / np.where(crosses, side - next_side, 1.0)
    # Both halves and both neighbours of an edge meet in the same point only if it is computed from the same end.
    first = (side > 0)[:, :, None]
    start, stop = np.where(first, corners, next_corner), np.where(first, next_corner, corners)
    share = np.where(side > 0, share, 1 - share)
    cut = start + share[:, :, None] * (stop - start)
    slots = np.stack([corners, cut], axis=2).reshape(n, 2 * most, 2)
    kept = np.stack([real & (side >= 0), crosses], axis=2).reshape(n, 2 * most)
    order = np.argsort(~kept, axis=1, kind="stable")
    count = kept.sum(axis=1)
    width = int(count.max())
    return _repeat_last(np.take_along_axis(slots, order[:, :width, None], axis=1), count), count


def _repeat_last(corners: Floats, n_corners: Integers) -> Floats:
    index = np.minimum(np.arange(corners.shape[1]), n_corners[:, None] - 1)
    return np.take_along_axis(corners, index[:, :, None], axis=1)


def _widen(corners: Floats, width: int) -> Floats:
    return np.pad(corners, [(0, 0), (0, width - corners.shape[1]), (0, 0)], mode="edge")


def _boundary(
    corners: Floats, n_corners: Integers, slopes: Floats, offsets: Floats, near: float
) -> tuple[Floats, Integers, Integers]:
    """Segments on which the two largest logits tie."""
    n_out = offsets.shape[1]
    segments, classes, region = [np.zeros((0, 2, 2))], [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for i in range(n_out):
        for j in range(i + 1, n_out):
            side = sides(corners, slopes[:, i] - slopes[:, j], offsets[:, i] - offsets[:, j], near)
            crossed = np.flatnonzero((side.max(axis=1) > 0) & (side.min(axis=1) < 0))
            if not len(crossed):
                continue
            # The half with i on top has two corners on the line, those where i and j tie.
            half, count = clip(corners[crossed], n_corners[crossed], side[crossed])
            gap = np.einsum("rci,ri->rc", half, (slopes[:, i] - slopes[:, j])[crossed])
            gap = np.abs(gap + (offsets[:, i] - offsets[:, j])[crossed, None])
            gap[np.arange(half.shape[1]) >= count[:, None]] = np.inf
            on_line = np.argsort(gap, axis=1, kind="stable")[:, :2]
            segment = np.take_along_axis(half, on_line[:, :, None], axis=1)
            # Where a third logit is larger there is no boundary between these two.
            start, stop = np.zeros(len(crossed)), np.ones(len(crossed))
            for k in set(range(n_out)) - {i, j}:
                lead = np.einsum("rci,ri->rc", segment, (slopes[:, i] - slopes[:, k])[crossed])
                lead = lead + (offsets[:, i] - offsets[:, k])[crossed, None]
                with np.errstate(divide="ignore", invalid="ignore"):
                    zero = lead[:, 0] / (lead[:, 0] - lead[:, 1])
                start = np.where((lead[:, 0] < 0) & (lead[:, 1] > 0), np.maximum(start, zero), start)
                stop = np.where((lead[:, 0] > 0) & (lead[:, 1] < 0), np.minimum(stop, zero), stop)
                stop = np.where((lead <= 0).all(axis=1), -1.0, stop)
            some = start < stop
            ends = segment[some, :1] + np.stack([start, stop], axis=1)[some, :, None] * np.diff(segment[some], axis=1)
            segments.append(ends)
            classes.append(np.tile([i, j], (int(some.sum()), 1)))
            region.append(crossed[some])
    return np.concatenate(segments), np.concatenate(classes), np.concatenate(region)


def _nearest(points: Floats, segments: Floats, norm: NormName) -> Floats:
    """Distance of points to the nearest of some segments, ∞ if there is none."""
    length, distances = NORMS[norm].length, np.full(len(points), np.inf)
    if not len(segments):
        return distances
    start, step = torch.from_numpy(segments[:, 0]), torch.from_numpy(segments[:, 1] - segments[:, 0])
    for first in range(0, len(points), 64):  # blocks that fit the cache
        block = slice(first, first + 64)
        away = start - torch.from_numpy(points[block, None])  # of the segment at t is away + t step
        best = torch.minimum(length(away), length(away + step))
        for t in NORMS[norm].turns(away, step):
            best = torch.minimum(best, length(away + t.nan_to_num().clamp(0, 1)[..., None] * step))
        distances[block] = best.amin(dim=1).numpy()
    return distances
