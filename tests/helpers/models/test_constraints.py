"""Constraints do what their formula says, and a perturbation layer nothing until it is told to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.models.constraints import Constraint, Perturbation, Perturbed, Span, value_span
from helpers.models.ensemble import OUTPUTS, Ensemble


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def networks(output="linear", sizes=(5, 8, 4), names=("relu", "tanh", "abs")):
    return Ensemble(sizes, names, range(len(names)), output=output, output_bias=False).double()


def problem(n=200, seed=1):
    x = points(n, 5, seed=seed)
    return x, (2 * x[:, 0] + x[:, 1]).floor().long() % 4


VALUES = torch.tensor([[[0.0, 2.0], [1.0, 4.0], [4.0, 10.0]]])
LAYER = Span(torch.tensor([[[0.0]]]), torch.tensor([[[10.0]]]))
UNIT = Span(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[4.0, 10.0]]]))


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
    for layer in (1, -2):
        with pytest.raises(ValueError, match="layer must be a whole number at least -1 and at most 0"):
            Perturbed(networks(), LAYER, layer)
