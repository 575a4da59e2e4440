"""Hidden features of spiral networks, lines in the plane: are those near the boundary the ones that matter?"""

from __future__ import annotations

import torch
import xarray as xr
from scipy import stats
from torch import Tensor

from helpers.digit_sweeps import EQUAL_MASS, UNIT_FATES, at_fraction, loss_at_mass
from helpers.metrics import accuracy
from helpers.models import Ensemble
from helpers.perturbation import drop_off, sensitivity, unit_accuracy
from helpers.sweeps import Sweep


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
    found = []
    for k in range(len(ensemble)):
        logits = ensemble.select([k])(grid.view(-1, 2).to(ensemble.weights[0].dtype))[0]
        label = logits.argmax(dim=1).view(n_pixels, n_pixels)
        points = torch.cat(
            [
                ((grid[:, 1:] + grid[:, :-1]) / 2)[label[:, 1:] != label[:, :-1]],
                ((grid[1:] + grid[:-1]) / 2)[label[1:] != label[:-1]],
            ]
        )
        found.append(points[points.norm(dim=1) <= reach])
    return found


@torch.no_grad()
def line_distances(ensemble: Ensemble, member: int, points: Tensor) -> Tensor:
    """Distance of points from the line of each unit of the first layer, |w · p + b| / |w|, ``[n_points, width]``."""
    weight, bias = ensemble.weights[0][member], ensemble.biases[0][member]
    distances: Tensor = (points.to(weight.dtype) @ weight.T + bias).abs() / weight.norm(dim=1)
    return distances


def feature_results(sweep: Sweep, *, n_steps: int = 100) -> xr.Dataset:
    """What constraints on the first hidden layer do to networks trained on spirals.

    Args:
        sweep: networks of spirals in the plane.
        n_steps: steps from one end of a range to the other, at least 1.

    Returns:
        With the axes of the sweep and the dimensions in brackets, in percent but for the correlation:

        * ``accuracy``, ``drop_off``, ``touched_at_drop_off``, ``mass_at_drop_off``, ``loss_at_equal_mass`` (side): see
          `digit_sweeps.head_results`, on the test points, with drop-offs half way to one half;
        * ``nearness``: Spearman's correlation over the units between how close a unit's line is to the decision
          boundary (minus the median distance of the boundary's points from it) and the accuracy lost without the
          unit, held at its lowest value.
    """
    networks, x, y = sweep.history.final, sweep.x_test, sweep.y_test
    fractions = torch.linspace(0, 1, n_steps + 1)
    found = sensitivity(networks, x, y, fractions)
    # Guessing gets half of two classes right: the accuracy itself may never be halved.
    half = drop_off(found.accuracy, fractions, chance=0.5)
    harm = unit_harm(sweep)
    reach = float(x.norm(dim=2).max())
    correlations = []
    for k, points in enumerate(boundary_points(networks, reach)):
        distance = line_distances(networks, k, points).median(dim=0).values
        alike = len(points) == 0 or bool((harm[k] == harm[k, 0]).all())
        correlations.append(0.0 if alike else float(stats.spearmanr(-distance.numpy(), harm[k].numpy()).statistic))
    sides, grid = ["below", "above"], (100 * fractions.double()).round(decimals=3).tolist()
    return xr.Dataset(
        {
            "accuracy": sweep.label(100 * found.accuracy, "side", "percent", side=sides, percent=grid),
            "drop_off": sweep.label(100 * half, "side", side=sides),
            "touched_at_drop_off": sweep.label(100 * at_fraction(found.touched, fractions, half), "side", side=sides),
            "mass_at_drop_off": sweep.label(100 * at_fraction(found.mass, fractions, half), "side", side=sides),
            "loss_at_equal_mass": sweep.label(100 * loss_at_mass(found, EQUAL_MASS), "side", side=sides),
            "nearness": sweep.label(torch.tensor(correlations)),
        }
    )


def unit_harm(sweep: Sweep) -> Tensor:
    """Test accuracy lost when a unit of the first hidden layer is held at its lowest value, ``[n_networks, width]``."""
    networks, x, y = sweep.history.final, sweep.x_test, sweep.y_test
    return accuracy(networks, x, y)[:, None] - unit_accuracy(networks, x, y, UNIT_FATES["lowest"])
