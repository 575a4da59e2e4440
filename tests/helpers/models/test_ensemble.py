"""An ensemble is its members, side by side and independent of each other."""

import pytest
import torch

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble

MIXED = [*ACTIVATIONS, "relu", "relu", "prelu", "tanh"]


def parameters(ensemble):
    return [p.detach().clone() for p in ensemble.parameters()]


def same(first, second):
    return (
        (first.layer_sizes, first.activations, first.seeds) == (second.layer_sizes, second.activations, second.seeds)
        and len(list(first.parameters())) == len(list(second.parameters()))
        and all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    )


def points(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3


@pytest.fixture
def mixed():
    ensemble = Ensemble([3, 6, 5, 6, 2], MIXED, range(len(MIXED)))
    with torch.no_grad():
        for layer, slopes in enumerate(ensemble.slopes):
            slopes += points(len(MIXED), seed=layer)
    return ensemble


def test_shapes_and_attributes():
    ensemble = Ensemble([3, 6, 5, 2], ["relu", "prelu"], [4, 4])
    assert len(ensemble) == 2
    assert (ensemble.layer_sizes, ensemble.activations, ensemble.seeds) == (
        (3, 6, 5, 2),
        ("relu", "prelu"),
        (4, 4),
    )
    assert [tuple(w.shape) for w in ensemble.weights] == [(2, 6, 3), (2, 5, 6), (2, 2, 5)]
    assert [tuple(b.shape) for b in ensemble.biases] == [(2, 6), (2, 5), (2, 2)]
    assert [tuple(s.shape) for s in ensemble.slopes] == [(2,), (2,)]
    assert [s.tolist()[1] for s in ensemble.slopes] == [0.25, 0.25]
    assert all(p.requires_grad and p.dtype == torch.float32 for p in ensemble.parameters())
    assert len(list(ensemble.parameters())) == 8


def test_initial_weights_are_uniform_within_the_bound():
    ensemble = Ensemble([2, 40, 60, 3], ["tanh"] * 30, range(30))
    for weight, bias, fan_in in zip(ensemble.weights, ensemble.biases, (2, 40, 60), strict=True):
        bound = fan_in**-0.5
        for drawn in (weight, bias):
            scaled = drawn.detach().double() / bound
            assert scaled.abs().max() <= 1 + 1e-6
            assert scaled.max() > 0.9
            assert scaled.min() < -0.9
            n = scaled.numel()
            # five standard errors of the mean and of the mean square of U(−1, 1)
            assert abs(scaled.mean()) < 5 * (1 / 3 / n) ** 0.5
            assert abs(scaled.square().mean() - 1 / 3) < 5 * (4 / 45 / n) ** 0.5


def test_weights_and_biases_and_layers_differ():
    ensemble = Ensemble([4, 4, 4, 4], ["relu"], [0])
    rows = torch.cat([p.detach().flatten() for p in (*ensemble.weights, *ensemble.biases)])
    assert len(rows.unique()) == len(rows)


def test_member_of_fifty_starts_like_the_same_seed_alone():
    names = [MIXED[i % len(MIXED)] for i in range(50)]
    seeds = [7 * i + 3 for i in range(50)]
    ensemble = Ensemble([2, 5, 4, 3], names, seeds)
    for k in (0, 1, 17, 40, 49):
        assert same(ensemble.select([k]), Ensemble([2, 5, 4, 3], [names[k]], [seeds[k]]))


def test_seed_decides_not_activation():
    first, second, other = Ensemble([2, 5, 3], ["relu", "tanh", "relu"], [1, 1, 2]).weights[0]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_building_leaves_the_global_state():
    before = torch.get_rng_state()
    Ensemble([2, 5, 3], ["relu", "prelu"], [1, 2]).select([1])
    assert torch.equal(torch.get_rng_state(), before)


def test_extracting_a_member_leaves_the_global_state(mixed):
    before = torch.get_rng_state()
    mixed.member(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [True, False])
def test_forward_is_every_members_forward(mixed, shared, dtype):
    mixed = mixed.to(dtype)
    x = points(20, 3, dtype=dtype) if shared else points(len(mixed), 20, 3, dtype=dtype)
    logits = mixed(x)
    assert logits.shape == (len(mixed), 20, 2)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for k in range(len(mixed)):
        expected = mixed.member(k).to(dtype)(x if shared else x[k])
        torch.testing.assert_close(logits[k], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_forward_of_one_activation(name):
    ensemble = Ensemble([2, 8, 8, 2], [name] * 3, range(3))
    x = points(15, 2)
    for k in range(3):
        torch.testing.assert_close(ensemble(x)[k], ensemble.member(k)(x), rtol=1e-5, atol=1e-6)


def test_changed_slopes_change_only_their_member(mixed):
    x, k = points(20, 3), MIXED.index("prelu")
    before = mixed(x)
    with torch.no_grad():
        mixed.slopes[1][k] += 1
    changed = (mixed(x) != before).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [k]
    torch.testing.assert_close(mixed(x)[k], mixed.member(k)(x), rtol=1e-5, atol=1e-5)


def test_member_is_a_plain_copy(mixed):
    k = MIXED.index("prelu")
    network = mixed.member(k)
    kinds = [type(module).__name__ for module in network]
    assert kinds == ["Linear", "PReLU", "Linear", "PReLU", "Linear", "PReLU", "Linear"]
    before = parameters(mixed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    assert all(torch.equal(p, q) for p, q in zip(before, parameters(mixed), strict=True))


def test_member_has_the_ensembles_precision():
    ensemble = Ensemble([2, 3, 2], ["prelu"], [0]).double()
    with torch.no_grad():
        ensemble.slopes[0].fill_(0.1)
    network, x = ensemble.member(0), points(5, 2, dtype=torch.float64)
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    torch.testing.assert_close(network(x), ensemble(x)[0], rtol=1e-12, atol=1e-12)


def test_pre_activations_derivative_and_activate(mixed):
    mixed = mixed.double()
    x = points(len(mixed), 9, 3, dtype=torch.float64)
    steps = list(mixed.pre_activations(x))
    assert [tuple(z.shape[1:]) for _, z in steps] == [(9, 6), (9, 5), (9, 6), (9, 2)]
    assert torch.equal(steps[-1][1], mixed(x))
    for k in range(len(mixed)):
        a, network = x[k], mixed.member(k).double()
        for layer, (before, z) in enumerate(steps):
            torch.testing.assert_close(before[k], a, rtol=1e-12, atol=1e-12)
            expected = network[2 * layer](a)
            torch.testing.assert_close(z[k], expected, rtol=1e-12, atol=1e-12)
            if layer < 3:
                leaf = expected.detach().requires_grad_()
                a = network[2 * layer + 1](leaf)
                (slope,) = torch.autograd.grad(a.sum(), leaf)
                torch.testing.assert_close(mixed.activate(z, layer)[k], a, rtol=1e-12, atol=1e-12)
                torch.testing.assert_close(mixed.derivative(z, layer)[k], slope, rtol=1e-12, atol=1e-12)


def test_members_do_not_enter_each_others_gradients(mixed):
    x = points(12, 3)
    mixed(x)[2].square().sum().backward()
    for parameter in (*mixed.weights, *mixed.biases):
        moved = parameter.grad.flatten(1).any(1)
        assert moved.nonzero().flatten().tolist() == [2]


@pytest.mark.parametrize("output", ["linear", "activated", "negated"])
@pytest.mark.parametrize("output_bias", [True, False])
def test_logits_by_output(output, output_bias):
    ensemble = Ensemble([3, 6, 4], MIXED, range(len(MIXED)), output=output, output_bias=output_bias).double()
    plain = Ensemble([3, 6, 4], MIXED, range(len(MIXED))).double()
    assert all(torch.equal(w, v) for w, v in zip(ensemble.weights, plain.weights, strict=True))
    with torch.no_grad():
        for layer, slopes in enumerate(ensemble.slopes):
            slopes += points(len(MIXED), seed=layer, dtype=torch.float64)
    x = points(9, 3, dtype=torch.float64)
    *_, (_, z) = ensemble.pre_activations(x)
    logits = ensemble(x)
    for k, name in enumerate(MIXED):
        slope = () if ACTIVATIONS[name].slope is None else (ensemble.slopes[-1][k],)
        value = z[k] if output == "linear" else ACTIVATIONS[name].function(z[k], *slope)
        torch.testing.assert_close(logits[k], -value if output == "negated" else value, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(ensemble.member(k)(x), logits[k], rtol=1e-12, atol=1e-13)
        assert (ensemble.member(k)[2].bias is None) == (not output_bias)
    assert bool(ensemble.biases[-1].any()) == output_bias
    chosen = ensemble.select([3, 1])
    assert (chosen.output, chosen.output_bias) == (output, output_bias)
    torch.testing.assert_close(chosen(x), logits[[3, 1]], rtol=1e-12, atol=1e-13)
    assert same(ensemble.with_parameters(ensemble.flatten()), ensemble)


def test_forward_from_a_hidden_layer(mixed):
    x = points(12, 3)
    logits, steps = mixed(x), list(mixed.pre_activations(x))
    for layer, (inner, _) in enumerate(steps):
        torch.testing.assert_close(mixed(inner, first=layer), logits, rtol=1e-5, atol=1e-6)
        rest = list(mixed.pre_activations(inner, first=layer))
        assert len(rest) == len(steps) - layer
    with pytest.raises(ValueError, match="first must be a whole number at least 0 and at most 3"):
        mixed(x, first=4)
    with pytest.raises(ValueError, match=r"x must have shape \[14, n_points, 6\]"):
        mixed(x, first=1)


@pytest.mark.parametrize(
    ("option", "error"),
    [({"output": "softmax"}, ValueError), ({"output": None}, TypeError), ({"output_bias": 1}, TypeError)],
)
def test_wrong_outputs(option, error):
    (name,) = option
    with pytest.raises(error, match=f"^{name} must be"):
        Ensemble([2, 3, 2], ["relu"], [0], **option)


def test_runs_join_neighbours():
    ensemble = Ensemble([1, 1, 1], ["relu", "relu", "tanh", "relu"], range(4))
    assert ensemble.runs == [(slice(0, 2), "relu"), (slice(2, 3), "tanh"), (slice(3, 4), "relu")]


def test_select_takes_members_in_order(mixed):
    x = points(10, 3)
    order = [4, 0, 11, 3]
    chosen = mixed.select(order)
    assert chosen.activations == tuple(MIXED[i] for i in order)
    assert chosen.seeds == tuple(order)
    torch.testing.assert_close(chosen(x), mixed(x)[order], rtol=1e-5, atol=1e-6)
    assert same(mixed.select(slice(2, None, 3)), mixed.select(list(range(len(mixed)))[2::3]))
    assert same(mixed.select(range(3)), mixed.select(slice(3)))


def test_copies_share_no_memory_and_can_be_trained(mixed):
    before = parameters(mixed)
    other = mixed.select(slice(None))
    assert same(other, mixed)
    assert all(p.requires_grad and p.is_leaf for p in other.parameters())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 1
    assert all(torch.equal(p, q) for p, q in zip(before, parameters(mixed), strict=True))


def test_numbers_of_a_member_lie_in_pytorchs_order(mixed):
    flat = mixed.flatten()
    for k in range(len(mixed)):
        learned = [slope[k : k + 1] for slope in mixed.slopes]
        linear = [p.flatten() for module in mixed.member(k) if hasattr(module, "bias") for p in module.parameters()]
        assert torch.equal(flat[k], torch.cat([*linear, *learned]).detach())


def test_parameters_are_views_of_the_flat_array(mixed):
    flat = mixed.flatten()
    other = mixed.with_parameters(flat)
    assert same(other, mixed)
    assert torch.equal(other.flatten(), flat)
    flat += 1
    assert all(torch.equal(p, q + 1) for p, q in zip(other.parameters(), mixed.parameters(), strict=True))


@pytest.mark.parametrize(
    ("sizes", "names", "seeds", "error", "word"),
    [
        ([2, 2], ["relu"], [0], ValueError, "layer_sizes must have an input, at least one hidden"),
        ([], ["relu"], [0], ValueError, "layer_sizes must have"),
        ([2, 0, 2], ["relu"], [0], ValueError, r"layer_sizes\[1\] must be a whole number at least 1"),
        ([2, 3.0, 2], ["relu"], [0], TypeError, r"layer_sizes\[1\] must be"),
        ([2, 3, 2], ["swish"], [0], ValueError, "activation must be one of"),
        ([2, 3, 2], ["relu"], [-1], ValueError, "seed must be"),
        ([2, 3, 2], ["relu"], [0.5], TypeError, "seed must be"),
        ([2, 3, 2], [], [], ValueError, "at least one member, got 0 and 0"),
        ([2, 3, 2], ["relu"], [0, 1], ValueError, "got 1 and 2"),
        ([2, 3, 2], ["relu", "relu"], [0], ValueError, "got 2 and 1"),
    ],
)
def test_wrong_arguments(sizes, names, seeds, error, word):
    with pytest.raises(error, match=word):
        Ensemble(sizes, names, seeds)


@pytest.mark.parametrize("members", [[], [14], [-1], [0, 0], slice(5, 5)])
def test_select_refuses_what_is_not_there(mixed, members):
    with pytest.raises(ValueError, match="members"):
        mixed.select(members)


@pytest.mark.parametrize("index", [-1, 14])
def test_member_refuses_what_is_not_there(mixed, index):
    with pytest.raises(ValueError, match="index must be a whole number at least 0 and at most 13"):
        mixed.member(index)


@pytest.mark.parametrize("shape", [(3,), (5, 2), (13, 5, 3), (1, 5, 3), (14, 5, 2), (14, 1, 5, 3)])
def test_forward_refuses_other_shapes(mixed, shape):
    with pytest.raises(ValueError, match=r"x must have shape \[14, n_points, 3\] or \[n_points, 3\]"):
        mixed(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"x must have shape \[14, n_points, 3\] or \[n_points, 3\]"):
        mixed.own(torch.zeros(shape))


def test_hidden_values_are_those_of_the_member_taken_out_in_the_order_of_the_points():
    ensemble = Ensemble([2, 5, 4, 3, 2], ["tanh", "prelu", "abs"], [1, 2, 3])
    x = points(20, 2)
    for layer in (0, 1, 2, -1, -3):
        values = ensemble.hidden(x, layer)
        assert not values.requires_grad
        for k in range(3):
            modules = ensemble.member(k)[: 2 * (layer % 3) + 2]
            torch.testing.assert_close(values[k], modules(x), rtol=1e-5, atol=1e-6)
            own = ensemble.hidden(torch.stack([x, x, x + 1]), layer)[k]
            torch.testing.assert_close(own, modules(x + (k == 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [2, -3])
def test_a_hidden_layer_that_is_not_there_is_refused(layer):
    ensemble = Ensemble([2, 5, 4, 2], ["tanh"], [1])
    with pytest.raises(ValueError, match="layer must be a whole number at least -2 and at most 1"):
        ensemble.hidden(torch.zeros(1, 2), layer)


@pytest.mark.parametrize("n_out", [1, 4])
@pytest.mark.parametrize("classes", [True, False])
def test_what_is_shared_is_shown_to_every_member(classes, n_out):
    ensemble = Ensemble([3, 5, n_out], ["relu", "tanh"], [0, 1])
    x = points(6, 3)
    y = torch.tensor([0, 1, 1, 0, 1, 0]) if classes else points(6, n_out)
    shared = ensemble.own(x, y, classes=classes)
    own = ensemble.own(torch.stack([x, x]), torch.stack([y, y]), classes=classes)
    mixed = ensemble.own(torch.stack([x, x]), y, classes=classes)
    for first, second, third, given in zip(shared, own, mixed, (x, y), strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, third)
        assert torch.equal(first[1], given)
        assert first.dtype == given.dtype
    assert torch.equal(ensemble.own(x), shared[0])
    assert shared[0].data_ptr() == x.data_ptr()  # not a copy


@pytest.mark.parametrize(
    ("y", "classes", "words"),
    [
        (torch.zeros(6, 1).long(), True, r"y must hold classes, int64, of shape \[2, 6\] or \[6\], got \[6, 1\]"),
        (torch.zeros(1).long(), True, r"y must hold classes.* got \[1\] of torch.int64"),
        (torch.zeros(1, 6).long(), True, r"y must hold classes.* got \[1, 6\]"),
        (torch.zeros(6), True, r"y must hold classes, int64.* got \[6\] of torch.float32"),
        (torch.tensor([0, 1, 2, 3, 0, 4]), True, "y must hold classes from 0 to 3, got 0 to 4"),
        (torch.tensor([0, 1, 2, -1, 0, 3]), True, "y must hold classes from 0 to 3, got -1 to 3"),
        (torch.zeros(6), False, r"y must hold floating point numbers, of shape \[2, 6, 4\] or \[6, 4\], got \[6\]"),
        (torch.zeros(6, 4).long(), False, "y must hold floating point numbers.* of torch.int64"),
    ],
)
def test_targets_that_do_not_suit_are_refused(y, classes, words):
    ensemble = Ensemble([3, 5, 4], ["relu", "tanh"], [0, 1])
    with pytest.raises(ValueError, match=words):
        ensemble.own(torch.zeros(6, 3), y, classes=classes)


def test_the_sign_of_one_output_tells_two_classes():
    ensemble = Ensemble([3, 5, 1], ["relu"], [0])
    assert ensemble.own(torch.zeros(2, 3), torch.tensor([0, 1]))[1].tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="y must hold classes from 0 to 1, got 0 to 2"):
        ensemble.own(torch.zeros(2, 3), torch.tensor([0, 2]))
