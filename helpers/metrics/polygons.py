"""Stacks of convex polygons, and how lines cut them: the geometry of a network's linear regions.

A polygon has its corners counter-clockwise, the last one repeated to fill up, ``[n_polygons, most, 2]``, and their
number beside it. A function that is affine on each has a slope, ``[n_polygons, 2]``, and an offset for each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def centres(corners: Floats, n_corners: Integers) -> Floats:
    """A point inside each polygon, the mean of its corners, ``[n_polygons, 2]``."""
    filled = np.arange(corners.shape[1]) < n_corners[:, None]
    return np.asarray((corners * filled[:, :, None]).sum(axis=1) / n_corners[:, None])


def cut(corners: Floats, n_corners: Integers, some: Integers, side: Floats) -> tuple[Floats, Integers, Integers]:
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


def values(corners: Floats, slope: Floats, offset: Floats) -> Floats:
    """What the affine function of each polygon is at its corners, ``[n_polygons, most]``."""
    return np.asarray(np.einsum("rci,ri->rc", corners, slope) + offset[:, None])


def sides(corners: Floats, slope: Floats, offset: Floats, near: float) -> Floats:
    """Distance of every corner from the line of its polygon, with its sign; 0 where it is negligible."""
    value = values(corners, slope, offset)
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
    crossing = start + share[:, :, None] * (stop - start)
    slots = np.stack([corners, crossing], axis=2).reshape(n, 2 * most, 2)
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
