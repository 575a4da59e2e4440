"""Features of spiral networks are lines, and distances from them and from the boundary are true."""

import numpy as np
import pytest
import torch

from helpers.experiments.perturbation_constraints import feature_results, unit_harm
from helpers.experiments.sweeps import spiral_sweep
from helpers.metrics.accuracy import accuracy
from helpers.metrics.boundaries import boundary_points, line_distances
from helpers.metrics.sensitivity import unit_accuracy
from helpers.models.constraints import Constraint
from helpers.models.ensemble import Ensemble
from helpers.training.protocol import Training


def plane(w, b):
    """A network whose class is 1 on the positive side of w · x + b = 0, by one unit that is linear there."""
    ensemble = Ensemble([2, 2, 2], ["relu"], [0])
    with torch.no_grad():
        ensemble.weights[0][:] = torch.tensor([w, [-w[0], -w[1]]])
        ensemble.biases[0][:] = torch.tensor([b, -b])
        ensemble.weights[1][:] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        ensemble.biases[1].zero_()
    return ensemble


@pytest.mark.parametrize(("w", "b"), [([1.0, 0.0], -0.5), ([0.6, 0.8], 1.0), ([0.0, -3.0], 1.5)])
def test_boundary_lies_where_the_classes_meet(w, b):
    (points,) = boundary_points(plane(w, b), 4.0, n_pixels=200)
    assert len(points) > 100
    assert float(points.norm(dim=1).max()) <= 4.0
    distance = (points @ torch.tensor(w) + b).abs() / np.hypot(*w)
    assert float(distance.max()) <= 8.0 / 199
    torch.testing.assert_close(line_distances(plane(w, b), 0, points)[:, 0], distance)


def test_network_without_a_boundary_has_no_points():
    (points,) = boundary_points(plane([1.0, 0.0], 100.0), 4.0)
    assert points.shape == (0, 2)


@pytest.fixture(scope="module")
def sweep():
    training = Training(epochs=15)
    return spiral_sweep(
        activations=["relu", "abs"], entanglements=[2], seeds=[0, 1], hidden_layers=2, width=12, training=training
    )


def test_results_are_labelled(sweep):
    found = feature_results(sweep, n_steps=10)
    assert dict(found.sizes) == {"side": 2, "percent": 11, "activation": 2, "entanglement": 1, "seed": 2}
    assert not [name for name, values in found.items() if bool(values.isnull().any())]
    assert float(abs(found["nearness"]).max()) <= 1
    free = accuracy(sweep.history.final, *sweep.data("test")).view(2, 1, 2)
    np.testing.assert_allclose(found["accuracy"].sel(side="below").isel(percent=0), 100 * free)
    np.testing.assert_allclose(found["accuracy"].sel(side="above").isel(percent=-1), 100 * free)


def test_harm_is_the_accuracy_lost_without_the_unit(sweep):
    networks, x, y = sweep.history.final, *sweep.data("test")
    harm = unit_harm(sweep)
    assert harm.shape == (4, 12)
    kept = unit_accuracy(networks, x, y, Constraint(cutoff=0))
    torch.testing.assert_close(harm, accuracy(networks, x, y)[:, None] - kept)
    assert float(harm.max()) > 0.02
