"""Constraints do what their formula says, and a sweep of them what running the network again would."""

from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.metrics.accuracy import accuracy
from helpers.metrics.sensitivity import constrained_accuracy, drop_off, sensitivity, unit_accuracy
from helpers.models.activations import ACTIVATIONS
from helpers.models.constraints import Constraint, Perturbation, Perturbed, Span, value_span
from helpers.models.ensemble import OUTPUTS, Ensemble
from helpers.models.heads import HEADS, Head, head

GRID = torch.linspace(0, 1, 21)
perturbation = import_module("helpers.metrics.sensitivity")  # the room's face gives the function of this name


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def networks(output="linear", sizes=(5, 8, 4), names=("relu", "tanh", "abs")):
    return Ensemble(sizes, names, range(len(names)), output=output, output_bias=False).double()


def problem(n=200, seed=1):
    x = points(n, 5, seed=seed)
    return x, (2 * x[:, 0] + x[:, 1]).floor().long() % 4


def test_the_studys_six_heads():
    assert [head(name) for name in HEADS] == [
        Head("relu", "linear"),
        Head("abs", "linear"),
        Head("relu", "activated"),
        Head("abs", "activated"),
        Head("relu", "negated"),
        Head("abs", "negated"),
    ]


def test_every_activation_has_three_heads():
    made = {head(name + ending) for name in ACTIVATIONS for ending in ("", "2", "2_neg")}
    assert made == {Head(name, output) for name in ACTIVATIONS for output in OUTPUTS}
    with pytest.raises(ValueError, match="head must be one of abs, abs2, abs2_neg"):
        head("relu3")


def test_hidden_values_and_spans_by_hand():
    ensemble = Ensemble([1, 2, 1], ["relu", "abs"], [0, 0], output="negated", output_bias=False)
    with torch.no_grad():
        ensemble.weights[0][:] = torch.tensor([[1.0], [-2.0]])
        ensemble.biases[0][:] = torch.tensor([0.0, 1.0])
        ensemble.weights[1][:] = torch.tensor([[10.0, 1.0]])
    x = torch.tensor([[0.0], [1.0], [-1.0]])
    hidden = ensemble.hidden(x, 0)
    assert hidden.tolist() == [[[0, 1], [1, 0], [0, 3]], [[0, 1], [1, 1], [1, 3]]]
    unit = value_span(ensemble, hidden, scope="unit")
    assert unit.low.tolist() == [[[0, 0]], [[0, 1]]]
    assert unit.high.tolist() == [[[1, 3]], [[1, 3]]]
    layer = value_span(ensemble, hidden)
    assert (layer.low.flatten().tolist(), layer.high.flatten().tolist()) == ([0, 0], [3, 3])
    # The output's activations are 1, 10, 3 and 1, 11, 13 before they are negated.
    both = value_span(ensemble, hidden, scope="both")
    assert (both.low.flatten().tolist(), both.high.flatten().tolist()) == ([0, 0], [10, 13])
    assert both.low.shape == (2, 1, 1)
    with pytest.raises(ValueError, match="scope must be one of both, layer, unit"):
        value_span(ensemble, hidden, scope="network")


def test_both_activations_are_one_where_the_output_has_none():
    ensemble = networks()
    hidden = ensemble.hidden(problem()[0], 0)
    layer, both = (value_span(ensemble, hidden, scope=scope) for scope in ("layer", "both"))
    assert torch.equal(layer.high, both.high)
    assert torch.equal(layer.low, both.low)


VALUES = torch.tensor([[[0.0, 2.0], [1.0, 4.0], [4.0, 10.0]]])
LAYER = Span(torch.tensor([[[0.0]]]), torch.tensor([[[10.0]]]))
UNIT = Span(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[4.0, 10.0]]]))


@pytest.mark.parametrize(
    ("constraint", "span", "expected"),
    [
        (Constraint(floor=0.3), LAYER, [[3, 3], [3, 4], [4, 10]]),
        (Constraint(cutoff=0.3), LAYER, [[0, 2], [1, 3], [3, 3]]),
        (Constraint(floor=0.25), UNIT, [[1, 4], [1, 4], [4, 10]]),
        (Constraint(cutoff=0.25), UNIT, [[0, 2], [1, 4], [1, 4]]),
        (Constraint(floor=0.25, units=[1]), UNIT, [[0, 4], [1, 4], [4, 10]]),
        (Constraint(cutoff=0, units=[0]), UNIT, [[0, 2], [0, 4], [0, 10]]),
        (Constraint(scale=0.5), UNIT, [[0, 1], [0.5, 2], [2, 5]]),
        (Constraint(offset=0.25), UNIT, [[1, 4], [2, 6], [5, 12]]),
        (Constraint(offset=-0.5), LAYER, [[-5, -3], [-4, -1], [-1, 5]]),
        (Constraint(scale=2, offset=0.25, cutoff=0.75), UNIT, [[1, 6], [3, 8], [3, 8]]),
        (Constraint(scale=2, offset=0.25, cutoff=0.75, units=[1]), UNIT, [[0, 6], [1, 8], [4, 8]]),
        (Constraint(), LAYER, VALUES[0].tolist()),
        (Constraint(floor=0, cutoff=1), LAYER, VALUES[0].tolist()),
    ],
)
def test_constraints_by_hand(constraint, span, expected):
    layer = Perturbation(span).eval()
    layer.constraint = constraint
    assert layer(VALUES).tolist() == [expected]


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000))
def test_clamps_bound_and_keep_what_lies_within(low, high, seed):
    low, high = min(low, high), max(low, high)
    values = points(2, 9, 3, seed=seed)
    span = Span(values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True))
    made = Constraint(floor=low, cutoff=high)(values, span)
    assert bool((made >= span.at(low)).all())
    assert bool((made <= span.at(high)).all())
    inside = (values >= span.at(low)) & (values <= span.at(high))
    assert torch.equal(made[inside], values[inside])
    assert torch.equal(Constraint(floor=0, cutoff=1)(values, span), values)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("layer", [0, 1])
def test_identity_in_training_and_when_unset_to_the_bit(output, layer):
    ensemble = networks(output, sizes=(5, 8, 6, 4))
    x, _ = problem()
    span = value_span(ensemble, ensemble.hidden(x, layer), layer)
    perturbed = Perturbed(ensemble, span, layer)
    perturbed.perturbation.constraint = Constraint(floor=0.5, scale=3.0)
    assert torch.equal(perturbed.train()(x), ensemble(x))
    assert not torch.equal(perturbed.eval()(x), ensemble(x))
    perturbed.perturbation.constraint = None
    assert torch.equal(perturbed(x), ensemble(x))
    values = points(3, 4, 8)
    assert Perturbation(span)(values) is values


def test_gradients_pass_in_training():
    ensemble, other = networks(), networks()
    x, y = problem()
    perturbed = Perturbed(other, value_span(other, other.hidden(x, 0))).train()
    perturbed.perturbation.constraint = Constraint(floor=0.9)
    for network, module in ((ensemble, ensemble), (other, perturbed)):
        torch.nn.functional.cross_entropy(module(x).flatten(0, 1), y.repeat(3)).backward()
        assert all(p.grad is not None for p in (*network.weights, network.biases[0]))
    for p, q in zip(ensemble.weights, other.weights, strict=True):
        assert torch.equal(p.grad, q.grad)
        assert p.grad.any()


def test_gradients_of_a_constraint_by_hand():
    values = VALUES.clone().requires_grad_()
    layer = Perturbation(LAYER).eval()
    layer.constraint = Constraint(scale=2.0, cutoff=0.5)
    layer(values).sum().backward()
    assert values.grad.tolist() == [[[2, 2], [2, 0], [0, 0]]]


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
    ("options", "error", "words"),
    [
        ({"floor": "0.3"}, TypeError, "floor must be a finite number"),
        ({"cutoff": float("nan")}, ValueError, "cutoff must be a finite number"),
        ({"scale": float("inf")}, ValueError, "scale must be"),
        ({"offset": None, "units": []}, ValueError, "units must be a non-empty list"),
        ({"units": [1, 1]}, ValueError, "units must be"),
        ({"units": [-1]}, ValueError, r"units\[0\] must be"),
    ],
)
def test_wrong_constraints(options, error, words):
    with pytest.raises(error, match=words):
        Constraint(**options)


def test_units_and_layers_that_are_not_there():
    with pytest.raises(ValueError, match=r"units\[0\] must be a whole number at least 0 and at most 1"):
        Constraint(units=[2])(VALUES, LAYER)
    ensemble = networks()
    x, y = problem()
    for layer in (1, -2):
        with pytest.raises(ValueError, match="layer must be a whole number at least -1 and at most 0"):
            sensitivity(ensemble, x, y, GRID, layer=layer)
        with pytest.raises(ValueError, match="layer must be"):
            Perturbed(ensemble, LAYER, layer)


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
