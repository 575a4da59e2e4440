"""Data sets with known parameters: two interleaved spirals, in the plane or embedded in more dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree

from helpers.checks import Integer, Real
from helpers.datasets.dataset import Dataset
from helpers.seeding import numpy_stream


def spirals(
    entanglement: float,
    *,
    n_per_class: int = 1000,
    radius: float = 2.0,
    distance: float | None = None,
    phi_min: float = 1.0,
    noise: float = 0.0,
    codimension: int = 1,
    embedding_noise: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Two Archimedean spirals, r = bφ and its reflection in the origin.

    Class 0 is ``(bφ cos φ, bφ sin φ)`` for n_per_class evenly spaced φ in [φ_min, φ_min + entanglement],
    class 1 is its negative. The plane is then embedded isometrically into 1 + codimension dimensions, by a
    random matrix with orthonormal columns.

    Args:
        entanglement: length of the range of φ, radians, above 0; 2π is one full turn.
        n_per_class: points in each class, at least 2.
        radius: b, growth of the radius per radian, above 0; ignored where ``distance`` is given.
        distance: smallest distance between the two spirals, above 0; sets the radius (`spiral_distance`).
        phi_min: where φ begins, above 0: at 0 the classes would touch.
        noise: d of the uniform noise U(−d, d) on both coordinates of the plane, data units, at least 0.
        codimension: dimensions of the space less the one of the curve, at least 1; 1 is the plane itself.
        embedding_noise: d of uniform noise on every coordinate after the embedding, at least 0.
        seed: seed of the noise and of the embedding, at least 0.

    Returns:
        2 · n_per_class points in 1 + codimension dimensions, class 0 first, each class ordered by φ.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.

    References:
        Ślusarz (2021), §2.3, definitions 8–10.
    """
    phi_min, range_ = Real(above=0)("phi_min", phi_min), Real(above=0)("entanglement", entanglement)
    n_per_class = Integer(at_least=2)("n_per_class", n_per_class)
    codimension = Integer(at_least=1)("codimension", codimension)
    noise = Real(at_least=0)("noise", noise)
    embedding_noise = Real(at_least=0)("embedding_noise", embedding_noise)
    radius = Real(above=0)("radius", radius)
    if distance is not None:
        distance = Real(above=0)("distance", distance)
        radius = distance / spiral_distance(entanglement, radius=1.0, phi_min=phi_min)

    phi = np.linspace(phi_min, phi_min + range_, n_per_class)
    arm = radius * phi[:, None] * np.stack([np.cos(phi), np.sin(phi)], axis=1)
    x = np.concatenate([arm, -arm])
    x += numpy_stream(seed, "noise").uniform(-noise, noise, x.shape)
    if codimension > 1:
        frame = numpy_stream(seed, "embedding").standard_normal((1 + codimension, 2))
        x = x @ np.linalg.qr(frame)[0].T
    x += numpy_stream(seed, "embedding noise").uniform(-embedding_noise, embedding_noise, x.shape)
    y = np.repeat([0, 1], n_per_class)
    return Dataset(torch.from_numpy(x).float(), torch.from_numpy(y))


def spiral_distance(entanglement: float, *, radius: float = 2.0, phi_min: float = 1.0) -> float:
    """Smallest distance between the two noise-free curves, in data units.

    min over φ, θ in [φ_min, φ_min + entanglement] of b · |φ e^{iφ} + θ e^{iθ}|: for two angles a gap g
    apart the distance is smallest at the inner end, so one search over g ≥ 0 is enough.

    References:
        Ślusarz (2021), definition 10.
    """
    inner = Real(above=0)("phi_min", phi_min)
    widest = Real(above=0)("entanglement", entanglement)

    def at_gap(gap: float) -> float:
        # |φ e^{iφ} + θ e^{iθ}|² = φ² + θ² + 2φθ cos(θ − φ), with φ = inner and θ = inner + gap.
        outer = inner + gap
        return inner**2 + outer**2 + 2 * inner * outer * float(np.cos(gap))

    gaps = np.linspace(0.0, min(widest, 2 * np.pi), 257)
    best = int(np.argmin([at_gap(gap) for gap in gaps]))
    low, high = gaps[max(best - 1, 0)], gaps[min(best + 1, len(gaps) - 1)]
    refined = minimize_scalar(at_gap, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    squared = min(float(refined.fun), at_gap(0.0), at_gap(float(gaps[-1])))
    return Real(above=0)("radius", radius) * float(np.sqrt(squared))


@dataclass(frozen=True)
class SpiralMeasures:
    """What a sample of two spirals shows of its three parameters, knowing only points and classes.

    Attributes:
        distance: smallest distance between points of different classes, data units.
        entanglement: range of the angle along a spiral, radians.
        codimension: dimensions of the space less those of the classes' tangent spaces.
    """

    distance: float
    entanglement: float
    codimension: int


def measure_spirals(data: Dataset, *, n_neighbours: int = 10) -> SpiralMeasures:
    """Measure distance, entanglement and codimension from the points themselves.

    The entanglement comes from the plane of the two leading principal directions: in the order of their
    radius the unwrapped angles of class 0 lie on a line φ = r / b + const, whose fitted rise over the range
    of r is the answer. The tangent space's dimension is the number of local principal directions whose
    spread is at least a tenth of the largest, the median over the points; noise that is wide against the
    spacing of the points therefore counts as further dimensions, as it should.

    Args:
        data: two spirals with at least n_neighbours points a class.
        n_neighbours: size of a neighbourhood, at least 3.

    Raises:
        ValueError: a class has fewer than n_neighbours points.

    References:
        Ślusarz (2021), §2.3.2; Fukunaga & Olsen (1971) for local principal directions.
    """
    n_neighbours = Integer(at_least=3)("n_neighbours", n_neighbours)
    x, y = data.x.double().numpy(), data.y.numpy()
    first, second = x[y == 0], x[y == 1]
    if min(len(first), len(second)) < n_neighbours:
        raise ValueError(
            f"data must have at least n_neighbours = {n_neighbours} points in each class, "
            f"got {len(first)} and {len(second)}."
        )
    distance = float(cKDTree(first).query(second)[0].min())

    plane = np.linalg.svd(x, full_matrices=False)[2][:2]
    u, v = (first @ plane.T).T
    r = np.hypot(u, v)
    order = np.argsort(r)
    angle = np.unwrap(np.arctan2(v, u)[order])
    slope = np.polyfit(r[order], angle, 1)[0]
    entanglement = float(abs(slope) * np.ptp(r))

    neighbours = first[cKDTree(first).query(first, k=n_neighbours)[1]]
    spread = np.linalg.svd(neighbours - neighbours.mean(axis=1, keepdims=True), compute_uv=False)
    tangent = int(np.median((spread > 0.1 * spread[:, :1]).sum(axis=1)))
    return SpiralMeasures(distance, entanglement, x.shape[1] - tangent)
