"""A sweep of constraints gives what running the network again for each of them would."""

from importlib import import_module

import numpy as np
import pytest
import torch

from helpers.metrics.accuracy import accuracy
from helpers.metrics.sensitivity import constrained_accuracy, drop_off, sensitivity, unit_accuracy
from helpers.models.constraints import Constraint, Perturbed, value_span
from helpers.models.ensemble import OUTPUTS, Ensemble

GRID = torch.linspace(0, 1, 21)
perturbation = import_module("helpers.metrics.sensitivity")  # the room's face gives the function of this name


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def networks(output="linear", sizes=(5, 8, 4), names=("relu", "tanh", "abs")):
    return Ensemble(sizes, names, range(len(names)), output=output, output_bias=False).double()


def problem(n=200, seed=1):
    x = points(n, 5, seed=seed)
    return x, (2 * x[:, 0] + x[:, 1]).floor().long() % 4


def reference(ensemble, x, y, fractions, layer, scope):
    """Sensitivity by running the network again for every threshold."""
    hidden = ensemble.hidden(x, layer)
    span = value_span(ensemble, hidden, layer, scope=scope)
    perturbed = Perturbed(ensemble, span, layer).eval()
    found = torch.zeros(3, 2, len(fractions), len(ensemble), dtype=torch.float64)
    for side, name in enumerate(("floor", "cutoff")):
        for k, fraction in enumerate(fractions):
            perturbed.perturbation.constraint = Constraint(**{name: float(fraction)})
            with torch.no_grad():
                right = perturbed(x).argmax(dim=2) == y
            change = perturbed.perturbation.constraint(hidden, span) - hidden
            found[0, side, k] = right.double().mean(dim=1)
            found[1, side, k] = (change != 0).double().mean(dim=(1, 2))
            found[2, side, k] = change.abs().sum(dim=(1, 2)) / (hidden - span.low).sum(dim=(1, 2))
    return found


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("scope", ["layer", "unit", "both"])
@pytest.mark.parametrize(("sizes", "layer"), [((5, 8, 4), 0), ((5, 7, 6, 4), 0), ((5, 7, 6, 4), 1)])
def test_sweep_is_running_the_network_again(output, scope, sizes, layer, monkeypatch):
    monkeypatch.setattr(perturbation, "ROWS", 1500)  # 71 of the 200 points at a time
    ensemble = networks(output, sizes=sizes)
    x, y = problem()
    found = sensitivity(ensemble, x, y, GRID, layer=layer, scope=scope)
    accuracy_, touched, mass = reference(ensemble, x, y, GRID, layer, scope)
    torch.testing.assert_close(found.accuracy, accuracy_, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.touched, touched, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.mass, mass, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.accuracy[0, 0], accuracy(ensemble, x, y))
    if scope != "both":
        torch.testing.assert_close(found.accuracy[1, -1], accuracy(ensemble, x, y))


@pytest.mark.parametrize("rows", [1, 100_000])
def test_points_at_a_time_change_nothing(rows, monkeypatch):
    ensemble, (x, y) = networks(), problem(n=50)
    expected = sensitivity(ensemble, x, y, GRID)
    monkeypatch.setattr(perturbation, "ROWS", rows)
    torch.testing.assert_close(sensitivity(ensemble, x, y, GRID).accuracy, expected.accuracy, rtol=0, atol=1e-6)


def test_sweep_of_own_points():
    ensemble = networks()
    sets = [problem(seed=seed) for seed in range(3)]
    x, y = (torch.stack([pair[side] for pair in sets]) for side in (0, 1))
    found = sensitivity(ensemble, x, y, GRID)
    for k in range(3):
        alone = sensitivity(ensemble.select([k]), x[k], y[k], GRID)
        assert torch.equal(found.accuracy[..., k], alone.accuracy[..., 0])
        assert torch.equal(found.mass[..., k], alone.mass[..., 0])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("sizes", "layer"), [((5, 8, 4), 0), ((5, 7, 6, 4), 0), ((5, 7, 6, 4), 1)])
def test_one_unit_at_a_time(output, sizes, layer):
    ensemble = networks(output, sizes=sizes)
    x, y = problem()
    rule = Constraint(cutoff=0.1)
    found = unit_accuracy(ensemble, x, y, rule, layer=layer)
    hidden = ensemble.hidden(x, layer)
    perturbed = Perturbed(ensemble, value_span(ensemble, hidden, layer, scope="unit"), layer).eval()
    assert found.shape == (3, sizes[layer + 1])
    for unit in range(sizes[layer + 1]):
        perturbed.perturbation.constraint = Constraint(cutoff=0.1, units=[unit])
        expected = (perturbed(x).argmax(dim=2) == y).double().mean(dim=1)
        torch.testing.assert_close(found[:, unit], expected, rtol=0, atol=1e-6)


def test_accuracy_under_constraints():
    ensemble = networks("activated")
    x, y = problem()
    rules = [Constraint(), Constraint(scale=0.5, offset=0.1), Constraint(cutoff=0.2)]
    found = constrained_accuracy(ensemble, x, y, rules)
    span = value_span(ensemble, ensemble.hidden(x, 0), scope="unit")
    perturbed = Perturbed(ensemble, span).eval()
    for row, rule in zip(found, rules, strict=True):
        perturbed.perturbation.constraint = rule
        torch.testing.assert_close(row, (perturbed(x).argmax(dim=2) == y).double().mean(dim=1))
    torch.testing.assert_close(found[0], accuracy(ensemble, x, y))


def test_a_layer_of_dead_units_has_nothing_to_move():
    ensemble, (x, y) = networks(names=["relu"]), problem()
    with torch.no_grad():
        ensemble.biases[0] -= 100.0
    found = sensitivity(ensemble, x, y, GRID)
    assert not found.mass.any()
    assert not found.touched.any()
    assert bool((found.accuracy == found.accuracy[0, 0]).all())


def test_drop_off_by_hand():
    grid = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    below = torch.tensor([[0.8, 0.6, 0.3, 0.1, 0.1], [0.8, 0.4, 0.3, 0.1, 0.1], [0.8, 0.7, 0.7, 0.7, 0.7]]).double()
    above = torch.tensor([[0.1, 0.2, 0.7, 0.8, 0.8], [0.1, 0.1, 0.1, 0.1, 0.8], [0.5, 0.7, 0.7, 0.7, 0.8]]).double()
    found = drop_off(torch.stack([below.T, above.T]), grid)
    np.testing.assert_allclose(found[0], [0.25 + 0.25 * 0.2 / 0.3, 0.25, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.25 + 0.25 * 0.2 / 0.5, 1 - 0.25 * 0.4 / 0.7, 0.0], rtol=1e-6)


def test_drop_off_half_way_to_chance():
    grid = torch.tensor([0.0, 0.5, 1.0])
    curves = torch.tensor([[[1.0], [0.8], [0.6]], [[0.5], [0.7], [0.9]]]).double()
    assert drop_off(curves, grid).flatten().tolist() == [1.0, 0.0]
    np.testing.assert_allclose(drop_off(curves, grid, chance=0.5).flatten(), [0.625, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "measure",
    [
        accuracy,
        lambda ensemble, x, y: sensitivity(ensemble, x, y, GRID).accuracy[1, -1],
        lambda ensemble, x, y: constrained_accuracy(ensemble, x, y, [Constraint()])[0],
        lambda ensemble, x, y: unit_accuracy(ensemble, x, y, Constraint())[:, 0],
    ],
)
def test_classes_as_a_column_or_of_another_length_are_refused(measure):
    # Both broadcast against the predictions, to shares that mean nothing.
    ensemble, (x, y) = networks(), problem()
    right = (ensemble(x).argmax(dim=2) == y).double().mean(dim=1)
    torch.testing.assert_close(measure(ensemble, x, y), right)
    for wrong in (y[:, None], y[:1], y[:-1], y.repeat(2, 1), y.double()):
        with pytest.raises(ValueError, match="y must hold classes, int64"):
            measure(ensemble, x, wrong)
    with pytest.raises(ValueError, match="y must hold classes from 0 to 3, got 1 to 4"):
        measure(ensemble, x, y + 1)


def test_layers_that_are_not_there():
    ensemble = networks()
    x, y = problem()
    for layer in (1, -2):
        with pytest.raises(ValueError, match="layer must be a whole number at least -1 and at most 0"):
            sensitivity(ensemble, x, y, GRID, layer=layer)
