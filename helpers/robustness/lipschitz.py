"""Lipschitz robustness in the plane: whether a probability changes by at most L times the distance from a point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from helpers.models.ensemble import Ensemble
from helpers.norms import NORMS, NormName
from helpers.robustness.bands import bands
from helpers.robustness.bounds import by_run
from helpers.robustness.boxes import Bounds
from helpers.robustness.relaxations import derivative_image, relax

# Computed in float32 no function is Lipschitz: its last places jump over the smallest distances. So that definition is
# decided for the network in exact arithmetic, up to the rounding of the proof itself.
PROOF_ROUNDING = 2.0**-50
# Halvings of the ball after which what touches the point itself is given up.
DEEPEST = 10


@torch.no_grad()
def gradient_bounds(ensemble: Ensemble, hidden: Sequence[Bounds], norm: NormName) -> Tensor:
    """Upper bounds of ‖∇(z_1 − z_0)‖ over regions, in the dual norm: how fast the lead of class 1 can change.

    The derivative is carried back through the layers as an interval for each neuron, ψ' being anything that it is for
    some pre-activation within its bounds.

    Args:
        ensemble: networks with two outputs, float64.
        hidden: bounds of the hidden layers' pre-activations, each ``[n_networks, n_regions, width]``.
        norm: in which distances are measured, ``"linf"`` or ``"l2"``.

    Returns:
        ``[n_networks, n_regions]``.

    References:
        Zhang et al. (2019), RecurJac, §3, its first bound.
    """
    weight = ensemble.weights[-1]
    middle = (weight[:, 1] - weight[:, 0])[:, None].expand(-1, hidden[0][0].shape[1], -1)
    spread = torch.zeros_like(middle)
    for layer in reversed(range(len(hidden))):
        low, high = by_run(ensemble, layer, hidden[layer], derivative_image)
        ends = torch.stack([(middle + sign * spread) * slope for sign in (-1, 1) for slope in (low, high)])
        least, most = ends.amin(0), ends.amax(0)
        middle = torch.bmm((least + most) / 2, ensemble.weights[layer])
        spread = torch.bmm((most - least) / 2, ensemble.weights[layer].abs())
    return NORMS[norm].dual(middle.abs() + spread) * (1 + 1e-9)


@torch.no_grad()
def decide_lipschitz(ensemble: Ensemble, x: Tensor, constant: float, epsilon: float, norm: NormName) -> Tensor:
    """Decide whether |p(x) − p(x̂)| ≤ L ‖x − x̂‖ for all x within ε of each point x̂, by branch and bound.

    The ball is cut into quarters, one member after the other. A piece is proved if lines around p and below L‖x − x̂‖
    show that the one changes less than the other allows; a piece that touches the point, where nothing is allowed, if
    its gradient is bounded by L.

    Args:
        ensemble: networks with two inputs and two outputs.
        x: points, ``[n_networks, n_points, 2]``, float64.
        constant: L, per data unit.
        epsilon: radius of the ball, data units.
        norm: of the distances.

    Returns:
        1 where it is proved, 0 where a counterexample refutes it, −1 undecided, ``[n_networks, n_points]``, int8.
    """
    double, length = ensemble.select(slice(None)).double(), NORMS[norm].length
    verdicts = torch.ones(x.shape[:2], dtype=torch.int8)
    signs = torch.cartesian_prod(*2 * [torch.tensor([-1.0, 1.0], dtype=x.dtype)])
    lead = torch.tensor([[-1.0, 1.0]], dtype=x.dtype)
    for k in range(len(double)):
        network = double.select([k])
        start = (network(x[k])[0] @ lead[0]).sigmoid()
        # A network that answers NaN has no probability, there or anywhere else that is known.
        verdicts[k, start.isnan()] = 0
        point = (~start.isnan()).nonzero()[:, 0]
        centre, half = x[k, point], torch.full_like(x[k, point], epsilon)
        for _ in range(DEEPEST):
            half = half.repeat_interleave(4, 0) / 2
            centre = (centre[:, None] + half.view(-1, 4, 2) * signs).flatten(0, 1)
            point = point.repeat_interleave(4)
            offset = centre - x[k, point]
            distance = length(offset - offset.clamp(-half, half))  # of the nearest point of the piece
            inside = distance < epsilon  # corners of the box that are no part of an L2 ball
            point, centre, half, offset, distance = (v[inside] for v in (point, centre, half, offset, distance))
            if not len(point):
                break
            touches = distance <= 1e-9 * epsilon
            room, steepest = _room(network, centre, half, offset, start[point], constant, norm)
            proved = torch.where(touches, steepest <= constant, room >= 0)
            # Rounding aside, a centre at which p changed too much refutes it.
            away = length(offset)
            moved = (network(centre[None])[0] @ lead[0]).sigmoid() - start[point]
            refuted = ~(moved.abs() <= constant * away * (1 + 1e-6)) & (away <= epsilon)
            verdicts[k, point[refuted]] = 0
            left = ~proved & (verdicts[k, point] != 0)
            # What is this small for its distance and not proved is as steep as L allows, to all intents; and where
            # numbers overflow in the bounds of a piece, smaller pieces seldom fare better.
            hopeless = left & ((~touches & (half[:, 0] < distance / 256)) | room.isnan() | steepest.isnan())
            verdicts[k, point[hopeless]] = -1
            left &= ~hopeless
            point, centre, half = point[left], centre[left], half[left]
        verdicts[k, point] = -1
    return verdicts


def _room(
    network: Ensemble, centre: Tensor, half: Tensor, offset: Tensor, start: Tensor, constant: float, norm: NormName
) -> tuple[Tensor, Tensor]:
    """How much less p changes on pieces than L allows, at least, and the largest length of its gradient there.

    Args:
        network: one member, float64.
        centre: of the pieces, ``[n_pieces, 2]``.
        half: half their widths, same shape.
        offset: of their centres from their points, same shape.
        start: p at their points, ``[n_pieces]``.
        constant: L.
        norm: of the distances.
    """
    n_pieces = len(centre)
    rows = torch.tensor([[-1.0, 1.0]], dtype=centre.dtype).expand(1, n_pieces, 1, 2)
    band = bands(network, centre[None], half[None], rows, centre.new_zeros(1, n_pieces, 1), rounding=PROOF_ROUNDING)
    value, slope, error = band.value[0, :, 0], band.slope[0, :, 0], band.error[0, :, 0]
    spread = (slope.abs() * half).sum(1) + error
    # |σ'| is largest where its argument is nearest to 0.
    flat = ((value.abs() - spread).clamp(min=0)).sigmoid()
    steepest = gradient_bounds(network, band.hidden, norm)[0] * flat * (1 - flat)
    # L‖x − x̂‖ is at least L g·(x − x̂) for every g of dual length 1, and p lies between two lines of x.
    allowed = constant * NORMS[norm].outward(offset)
    around = relax("sigmoid", value - spread, value + spread)
    room = []
    for sign, at_centre in ((-1, around.upper_offset), (1, around.lower_offset)):
        least = (allowed * offset).sum(1) + sign * (around.lower_slope * value + at_centre - start)
        tilt = allowed + sign * around.lower_slope[:, None] * slope
        room.append(least - (tilt.abs() * half).sum(1) - around.lower_slope.abs() * error)
    return torch.minimum(*room), steepest
