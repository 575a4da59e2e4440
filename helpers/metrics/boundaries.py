"""How complex a decision boundary is: its length, curvature, parts, linear regions, exactly or on a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import contourpy
import numpy as np
import torch
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from helpers.checks import Integer
from helpers.metrics.polygons import Floats, Integers, clip, sides
from helpers.metrics.regions import LinearRegions, linear_regions
from helpers.models.activations import LEFT_SLOPES
from helpers.models.ensemble import Ensemble

Rectangle = tuple[float, float, float, float]

BOUNDARY_MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "length_per_area": "Length of the boundary per area, 1 / data unit",
        "mean_curvature": "Mean absolute curvature of the boundary, 1 / data unit",
        "n_components": "Connected regions of each class",
        "n_regions": "Linear regions in the rectangle",
        "n_crossed": "Linear regions that the boundary crosses",
    }
)
# Corners nearer to each other than this share of the rectangle are the same one.
SAME = 1e-9


def boundary_measures(
    ensemble: Ensemble, rectangle: Rectangle, *, exact: bool | None = None, resolution: int = 400
) -> dict[str, Tensor]:
    """Measures of `BOUNDARY_MEASURES` for every network of an ensemble.

    The mean absolute curvature is ∫|κ| ds / length: the whole angle through which the boundary turns, by its length.
    On a grid, turns to and fro within one step cancel, so that for piecewise linear networks it is less than the exact
    one; to compare these with smooth ones, measure both on the same grid.

    Args:
        ensemble: networks with two inputs.
        rectangle: left, right, bottom, top, data units.
        exact: from the linear regions; by default wherever the activation is piecewise linear. Otherwise from contours
            on a grid.
        resolution: grid points along each side, at least 3.

    Returns:
        One float64 tensor ``[n_networks]`` for each name; ``n_components`` is ``[n_networks, n_out]``. The last two are
        NaN where measured on a grid.

    Raises:
        ValueError: the networks are not in the plane, or exact measures are asked of smooth ones.
    """
    if ensemble.layer_sizes[0] != 2:
        raise ValueError(f"ensemble must have 2 inputs to have boundaries in the plane, got {ensemble.layer_sizes[0]}.")
    rows = []
    for k, name in enumerate(ensemble.activations):
        if exact or (exact is None and name in LEFT_SLOPES):
            rows.append(exact_measures(linear_regions(ensemble, k, rectangle)))
        else:
            network = ensemble.select([k]).double()
            rows.append(grid_measures(lambda x, f=network: f(x[None])[0], rectangle, resolution=resolution))  # type: ignore[misc]
    return {name: torch.stack([torch.as_tensor(row[name]).double() for row in rows]) for name in BOUNDARY_MEASURES}


def grid_measures(
    logits: Callable[[Tensor], Tensor], rectangle: Rectangle, *, resolution: int = 400
) -> dict[str, float | Tensor]:
    """Measure the boundary of any differentiable classifier from contours on a grid.

    Contours of the lead of each class over the best other are found by marching squares; lengths are those of the
    polygons, off by the square of the grid's step. How far a contour turns is the change of the direction of the lead's
    gradient along it, which short edges do not disturb. Parts are counted among the grid's points, neighbours along the
    axes being connected, so what is thinner than a step may fall apart.

    Args:
        logits: takes points ``[n_points, 2]``, float64, returns ``[n_points, n_out]``.
        rectangle: left, right, bottom, top.
        resolution: grid points along each side, at least 3.

    Returns:
        As `boundary_measures`, of one network.
    """
    resolution = Integer(at_least=3)("resolution", resolution)
    left, right, bottom, top = rectangle
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2))
    with torch.no_grad():
        values = logits(points)
    n_out = values.shape[1]
    length = turning = 0.0
    for k in range(1, 2) if n_out == 2 else range(n_out):  # of two classes one contour is all there is
        height = _lead(values, k).numpy().reshape(resolution, resolution)
        for line in contourpy.contour_generator(x, y, height).lines(0.0):
            line = np.asarray(line)
            length += float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
            on_line = torch.from_numpy(line).requires_grad_()
            (gradient,) = torch.autograd.grad(_lead(logits(on_line), k).sum(), on_line)
            turning += float(_wrapped(np.diff(torch.atan2(gradient[:, 1], gradient[:, 0]).numpy())).sum())
    shared = 1 if n_out == 2 else 2  # of more than two each piece of boundary is met from both its sides
    classes = values.argmax(1).numpy().reshape(resolution, resolution)
    return {
        "length_per_area": length / shared / ((right - left) * (top - bottom)),
        "mean_curvature": turning / length if length else 0.0,
        "n_components": torch.tensor([label(classes == k)[1] for k in range(n_out)]),
        "n_regions": torch.nan,
        "n_crossed": torch.nan,
    }


def exact_measures(cut: LinearRegions) -> dict[str, float | Tensor]:
    """Measure the boundary of a piecewise linear network from its linear regions; as `boundary_measures`, of one."""
    left, right, bottom, top = cut.rectangle
    length = float(cut.lengths.sum())
    return {
        "length_per_area": length / ((right - left) * (top - bottom)),
        "mean_curvature": _turning(cut) / length if length else 0.0,
        "n_components": _components(cut),
        "n_regions": float(len(cut)),
        "n_crossed": float(len(np.unique(cut.region))),
    }


def _lead(logits: Tensor, k: int) -> Tensor:
    others = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
    return logits[:, k] - others.amax(1)


def _wrapped(angle: Floats) -> Floats:
    return np.asarray(np.abs((angle + np.pi) % (2 * np.pi) - np.pi))


def _same(cut: LinearRegions) -> float:
    left, right, bottom, top = cut.rectangle
    return SAME * max(right - left, top - bottom)


def _turning(cut: LinearRegions) -> float:
    """The whole angle between segments that meet."""
    long = np.flatnonzero(cut.lengths > _same(cut))  # ends of shorter ones would meet those beyond
    first, second = cut.classes[long].T
    normal = cut.slopes[cut.region[long], first] - cut.slopes[cut.region[long], second]
    angle = np.arctan2(normal[:, 1], normal[:, 0])
    ends = cut.segments[long].reshape(-1, 2)
    if not len(ends):
        return 0.0
    a, b = cKDTree(ends).query_pairs(2 * _same(cut), output_type="ndarray").T // 2
    alike = (a != b) & (cut.classes[long][a] == cut.classes[long][b]).all(axis=1)
    return float(_wrapped(angle[a[alike]] - angle[b[alike]]).sum())


def _components(cut: LinearRegions) -> Tensor:
    """Number of connected parts of each class: pieces of regions that share an edge are joined."""
    n_out, counts = cut.offsets.shape[1], []
    near = 1e-12 * max(map(abs, cut.rectangle))
    for k in range(n_out):
        corners, n_corners, slopes, offsets = cut.corners, cut.n_corners, cut.slopes, cut.offsets
        for j in set(range(n_out)) - {k}:
            side = sides(corners, slopes[:, k] - slopes[:, j], offsets[:, k] - offsets[:, j], near)
            some = side.max(axis=1) > 0
            corners, n_corners = clip(corners[some], n_corners[some], side[some])
            slopes, offsets = slopes[some], offsets[some]
        counts.append(_joined(corners, n_corners, _same(cut)))
    return torch.tensor(counts)


def _joined(corners: Floats, n_corners: Integers, same: float) -> int:
    n, most = corners.shape[:2]
    if not n:
        return 0
    index = np.arange(most)
    follower = np.where(index + 1 < n_corners[:, None], index + 1, 0)
    stop = np.take_along_axis(corners, follower[:, :, None], axis=1)
    real = (index < n_corners[:, None]) & (np.linalg.norm(stop - corners, axis=2) > same)
    owner = np.broadcast_to(np.arange(n)[:, None], (n, most))[real]
    pairs = cKDTree(((corners + stop) / 2)[real]).query_pairs(same, output_type="ndarray")
    a, b = owner[pairs].T
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(n, n))
    return int(connected_components(graph, directed=False)[0])


@torch.no_grad()
def boundary_points(ensemble: Ensemble, reach: float, *, n_pixels: int = 200) -> list[Tensor]:
    """Points on each member's decision boundary within a disc, where neighbours on a grid are of different classes.

    Args:
        ensemble: networks of points in the plane with two outputs.
        reach: radius of the disc.
        n_pixels: points of the grid on each side.

    Returns:
        For each member ``[n_found, 2]``, the middles between such neighbours.
    """
    line = torch.linspace(-reach, reach, n_pixels)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)  # [row, column, 2]
    boundaries = []
    for k in range(len(ensemble)):
        logits = ensemble.select([k])(grid.view(-1, 2).to(ensemble.weights[0].dtype))[0]
        label = logits.argmax(dim=1).view(n_pixels, n_pixels)
        points = torch.cat(
            [
                ((grid[:, 1:] + grid[:, :-1]) / 2)[label[:, 1:] != label[:, :-1]],
                ((grid[1:] + grid[:-1]) / 2)[label[1:] != label[:-1]],
            ]
        )
        boundaries.append(points[points.norm(dim=1) <= reach])
    return boundaries


@torch.no_grad()
def line_distances(ensemble: Ensemble, member: int, points: Tensor) -> Tensor:
    """Distance of points from the line of each unit of the first layer, |w · p + b| / |w|, ``[n_points, width]``."""
    weight, bias = ensemble.weights[0][member], ensemble.biases[0][member]
    distances: Tensor = (points.to(weight.dtype) @ weight.T + bias).abs() / weight.norm(dim=1)
    return distances
