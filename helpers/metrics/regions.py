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
from helpers.metrics.polygons import Floats, Integers, centres, clip, cut, sides, values
from helpers.models.activations import LEFT_SLOPES
from helpers.models.ensemble import Ensemble
from helpers.norms import NORM_NAME, NORMS, NormName

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
        return centres(self.corners, self.n_corners)

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
            corners, n_corners, parent = cut(corners, n_corners, near_it, side)
            origin = origin[parent]
            if len(corners) > most:
                raise ValueError(f"most must allow for the network's regions, got {most}: cut a smaller rectangle.")
        slopes, offsets = slopes[origin], offsets[origin]
        z = np.einsum("rni,ri->rn", slopes, centres(corners, n_corners)) + offsets
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
        ValueError: the shapes do not fit, or the networks are none that `linear_regions` can cut.
    """
    x, y = ensemble.own(x.double(), y)
    with torch.no_grad():
        right = ensemble.select(slice(None)).double()(x).argmax(2) == y
    radii = []
    for k in range(len(ensemble)):
        points = x[k].cpu().numpy()
        low, high = points.min(axis=0) - 1.001 * epsilon, points.max(axis=0) + 1.001 * epsilon
        pieces = linear_regions(ensemble, k, (low[0], high[0], low[1], high[1]))
        distances = pieces.distances(points, y[k].cpu().numpy(), norm=norm)
        radii.append(torch.from_numpy(np.where(distances <= epsilon, distances, np.inf)))
    return torch.where(right.cpu(), torch.stack(radii), 0.0)


def _crossed(corners: Floats, slopes: Floats, offsets: Floats) -> npt.NDArray[np.bool_]:
    """Whether each of some functions changes its sign on a polygon, ``[n_regions, n_functions]``."""
    crossed = np.empty(offsets.shape, dtype=np.bool_)
    for start in range(0, len(corners), 1024):  # blocks that fit the cache
        block = slice(start, start + 1024)
        value = corners[block] @ np.swapaxes(slopes[block], 1, 2) + offsets[block, None]
        crossed[block] = (value.max(axis=1) > 0) & (value.min(axis=1) < 0)
    return crossed


def _boundary(
    corners: Floats, n_corners: Integers, slopes: Floats, offsets: Floats, near: float
) -> tuple[Floats, Integers, Integers]:
    """Segments on which the two largest logits tie."""
    n_out = offsets.shape[1]
    segments, classes, region = [np.zeros((0, 2, 2))], [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for i in range(n_out):
        for j in range(i + 1, n_out):
            slope, offset = slopes[:, i] - slopes[:, j], offsets[:, i] - offsets[:, j]
            side = sides(corners, slope, offset, near)
            crossed = np.flatnonzero((side.max(axis=1) > 0) & (side.min(axis=1) < 0))
            if not len(crossed):
                continue
            # The half with i on top has two corners on the line, those where i and j tie.
            half, count = clip(corners[crossed], n_corners[crossed], side[crossed])
            gap = np.abs(values(half, slope[crossed], offset[crossed]))
            gap[np.arange(half.shape[1]) >= count[:, None]] = np.inf
            on_line = np.argsort(gap, axis=1, kind="stable")[:, :2]
            segment = np.take_along_axis(half, on_line[:, :, None], axis=1)
            # Where a third logit is larger there is no boundary between these two.
            start, stop = np.zeros(len(crossed)), np.ones(len(crossed))
            for k in set(range(n_out)) - {i, j}:
                lead = values(segment, (slopes[:, i] - slopes[:, k])[crossed], (offsets[:, i] - offsets[:, k])[crossed])
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
