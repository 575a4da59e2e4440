"""A sweep trains what it says on the data it says, and its tables hold each member's values in their places."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from references import HAS_KERNEL
from torch import nn
from torch.autograd.functional import jacobian

from helpers.datasets.spirals import spirals
from helpers.experiments import sweeps
from helpers.experiments.sweeps import density_cost, spiral_sweep
from helpers.metrics.weights import WEIGHT_MEASURES, weight_measures
from helpers.training import runs
from helpers.training.protocol import Training

# As many entries as on no other axis, so that no two of them can be mistaken for each other.
AXES = {"activation": ["tanh", "relu"], "entanglement": [2, 5.5, 8.0], "seed": [7, 0, 3, 11]}
MEMBERS = list(product(*AXES.values()))
DATA = {"noise": 0.3, "codimension": 1, "train_share": 0.6}
WIDTH, LAYERS = 9, 3
QUICK_RUN = Path(__file__).parents[3] / "notebooks" / "params" / "quick" / "01_weight_norms.yaml"


ENGINES = [
    pytest.param(
        "compiled",
        marks=pytest.mark.skipif(
            torch.cuda.is_available() or not HAS_KERNEL, reason="training runs in plain PyTorch, not in compiled code"
        ),
    ),
    "plain",
]


def make(**changes):
    arguments = {
        "activations": AXES["activation"],
        "entanglements": AXES["entanglement"],
        "seeds": AXES["seed"],
        "hidden_layers": LAYERS,
        "width": WIDTH,
        "training": Training(epochs=2, batch_size=200, learning_rate=0.01),
        "snapshots": [0, 2],
        **DATA,
    }
    return spiral_sweep(**(arguments | changes))


@pytest.fixture(scope="module")
def sweep():
    return make()


def at(member):
    return dict(zip(AXES, member, strict=True))


def data_of(entanglement, seed):
    points = spirals(entanglement, noise=DATA["noise"], codimension=DATA["codimension"], seed=seed)
    return points.split(train_share=DATA["train_share"], seed=seed)


def test_members_are_the_product_of_the_axes(sweep):
    assert list(sweep.axes.items()) == list(AXES.items())
    for ensemble in sweep.history.ensembles:
        assert ensemble.activations == tuple(member[0] for member in MEMBERS)
        assert ensemble.seeds == tuple(member[2] for member in MEMBERS)
        assert ensemble.layer_sizes == (2, *[WIDTH] * LAYERS, 2)
    assert sweep.history.epochs == (0, 2)


def test_label_puts_values_in_their_places(sweep):
    values = 100.0 * torch.arange(3)[:, None] + torch.arange(len(MEMBERS))
    found = sweep.label(values, "epoch", epoch=[0, 10, 30])
    assert found.dims == ("epoch", *AXES)
    assert {name: found[name].values.tolist() for name in AXES} == AXES
    for number, member in enumerate(MEMBERS):
        assert found.sel(epoch=30, **at(member)) == 200 + number
        assert found.sel(epoch=0, **at(member)) == number


def test_label_takes_values_of_members_alone(sweep):
    found = sweep.label(torch.arange(len(MEMBERS)).float().requires_grad_())
    assert found.dims == tuple(AXES)
    assert found.values.ravel().tolist() == list(range(len(MEMBERS)))


def test_member_finds_its_number(sweep):
    assert [sweep.member(**at(member)) for member in MEMBERS] == list(range(len(MEMBERS)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("activation", "gelu"), ("entanglement", 3), ("seed", 1), ("seed", None), ("activation", None)],
)
def test_member_refuses_what_is_not_there(sweep, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be one of .*, got {value!r}\.$"):
        sweep.member(**{**at(MEMBERS[0]), name: value})


def test_member_wants_every_axis(sweep):
    with pytest.raises(ValueError, match=r"^entanglement must be one of \[2, 5\.5, 8\.0\], got None\.$"):
        sweep.member(activation="tanh", seed=7)


def test_data_are_spirals_split_by_the_seed(sweep):
    assert sweep.x_train.shape == (len(MEMBERS), 1200, 2)
    for number, (_, entanglement, seed) in enumerate(MEMBERS):
        train, test = data_of(entanglement, seed)
        assert torch.equal(sweep.x_train[number], train.x)
        assert torch.equal(sweep.y_train[number], train.y)
        assert torch.equal(sweep.x_test[number], test.x)
        assert torch.equal(sweep.y_test[number], test.y)


def test_activations_share_data_and_start_and_seeds_do_not(sweep):
    start = sweep.history.at(0).flatten()[:, :-LAYERS]  # without the slopes
    for entanglement, seed in product(AXES["entanglement"], AXES["seed"]):
        first, second = (sweep.member(activation=a, entanglement=entanglement, seed=seed) for a in AXES["activation"])
        assert torch.equal(sweep.x_train[first], sweep.x_train[second])
        assert torch.equal(sweep.y_test[first], sweep.y_test[second])
        assert torch.equal(start[first], start[second])
    assert len({tuple(row.tolist()) for row in start}) == len(AXES["seed"])
    half = len(MEMBERS) // 2
    assert len({tuple(x.flatten().tolist()) for x in sweep.x_train[:half]}) == half


def test_data_are_embedded_where_asked():
    sweep = make(codimension=3, entanglements=[4], seeds=[5], training=Training(epochs=0), snapshots=None)
    train, _ = spirals(4, noise=DATA["noise"], codimension=3, seed=5).split(train_share=0.6, seed=5)
    assert sweep.history.final.layer_sizes[0] == 4
    assert torch.equal(sweep.x_train, train.x.expand(2, -1, -1))


def test_protocol_is_the_studys_unless_told(monkeypatch):
    seen = []
    monkeypatch.setattr(sweeps, "train", lambda *arguments, **options: seen.append((arguments, options)))
    spiral_sweep(activations=["relu"], entanglements=[2], seeds=[0])
    ((ensemble, x, y, training), options) = seen[0]
    assert ensemble.layer_sizes == (2, 50, 50, 50, 50, 50, 2)
    assert training in (None, Training())
    assert options["snapshots"] is None
    train, _ = spirals(2, seed=0).split(seed=0)
    assert torch.equal(x[0], train.x)
    assert torch.equal(y[0], train.y)


def test_weight_results_have_labels(sweep):
    found = sweep.weight_results()
    assert {*WEIGHT_MEASURES, "train_accuracy", "test_accuracy"} <= set(found.data_vars)
    for name in WEIGHT_MEASURES:
        assert found[name].dims == ("epoch", "layer", *AXES)
    for name in ("train_accuracy", "test_accuracy"):
        assert found[name].dims == ("epoch", *AXES)
    assert {name: found[name].values.tolist() for name in AXES} == AXES
    assert found["epoch"].values.tolist() == [0, 2]
    assert found["layer"].values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("epoch", [0, 2])
def test_weight_results_are_those_of_the_member(sweep, epoch):
    found = sweep.weight_results().sel(epoch=epoch)
    for number, member in enumerate(MEMBERS):
        network = sweep.history.at(epoch).member(number)
        for layer, linear in enumerate(network[::2]):
            row = found.sel(layer=layer, **at(member))
            for name, value in weight_measures(linear.weight).items():
                np.testing.assert_allclose(row[name], value, rtol=1e-6, err_msg=f"{name} of {member}")


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("side", ["train", "test"])
def test_accuracies_are_those_of_the_member(sweep, epoch, side):
    found = sweep.weight_results()[f"{side}_accuracy"].sel(epoch=epoch)
    for number, member in enumerate(MEMBERS):
        x, y = getattr(sweep, f"x_{side}")[number], getattr(sweep, f"y_{side}")[number]
        hits = (sweep.history.at(epoch).member(number)(x).argmax(dim=1) == y).sum()
        # One point may lie so close to the boundary that rounding decides.
        assert abs(float(found.sel(at(member))) * len(y) - int(hits)) < 1.01
    assert len(np.unique(found)) >= len(MEMBERS) / 4


def layers_of(network):
    modules = list(network)
    return [nn.Sequential(*modules[i : i + 2]) for i in range(0, len(modules), 2)]


def log_volume_of(matrix):
    """Σ log σᵢ of a Jacobian; −∞ where it lacks full rank."""
    sigma = np.linalg.svd(matrix.numpy(), compute_uv=False)
    return -math.inf if sigma[-1] < 1e-13 * sigma[0] else float(np.log(sigma).sum())


def volumes_by_hand(sweep, number, n_points):
    """log_volume and log_area of a trained member, [layers, points], from automatic Jacobians."""
    layers = layers_of(sweep.history.final.member(number).double())
    volumes, areas = [], []
    for point in sweep.x_test[number, :n_points].double():
        here, own, so_far = point, [], []
        for i, layer in enumerate(layers):
            own.append(log_volume_of(jacobian(layer, here)))
            so_far.append(log_volume_of(jacobian(nn.Sequential(*layers[: i + 1]), point)))
            here = layer(here).detach()
        volumes.append(own)
        areas.append(so_far)
    return np.array(volumes).T, np.array(areas).T


def test_volume_results_have_labels(sweep):
    found = sweep.volume_results(5)
    assert set(found.data_vars) == {"log_volume", "log_area", "flattened"}
    for values in found.data_vars.values():
        assert values.dims == ("layer", *AXES)
    assert {name: found[name].values.tolist() for name in AXES} == AXES
    assert found["layer"].values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("n_points", [1, 7])
def test_volume_results_are_medians_of_jacobians(sweep, n_points):
    found = sweep.volume_results(n_points)
    for member in [("tanh", 2, 7), ("tanh", 8.0, 3), ("relu", 5.5, 11), ("relu", 2, 0)]:
        volumes, areas = volumes_by_hand(sweep, sweep.member(**at(member)), n_points)
        here = found.sel(at(member))
        np.testing.assert_allclose(here["log_volume"], np.sort(volumes, axis=1)[:, n_points // 2], atol=1e-6)
        np.testing.assert_allclose(here["log_area"], np.sort(areas, axis=1)[:, n_points // 2], atol=1e-3)
        np.testing.assert_allclose(here["flattened"], np.isneginf(volumes).mean(axis=1))


def test_square_layers_flatten_with_relu_and_not_with_tanh(sweep):
    square = sweep.volume_results().sel(layer=[1, 2])
    assert (square["flattened"].sel(activation="relu") > 0.9).all()
    assert np.isneginf(square["log_volume"].sel(activation="relu")).all()
    assert (square["flattened"].sel(activation="tanh") == 0).all()
    assert np.isfinite(square["log_volume"].sel(activation="tanh")).all()


def test_volume_results_of_many_members_are_those_of_each():
    many = make(seeds=range(18), training=Training(epochs=0), snapshots=None)  # 108, more than one block
    few = make(seeds=[17, 4], training=Training(epochs=0), snapshots=None)
    found = many.volume_results(3).sel(seed=[17, 4])
    for name, values in few.volume_results(3).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n_points", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_volume_needs_points(sweep, n_points, error):
    with pytest.raises(error, match=r"^n_points must be .+, got .+\.$"):
        sweep.volume_results(n_points)


def test_density_cost_is_a_ratio_for_each_seed(sweep):
    found = density_cost(sweep, Training(epochs=2, batch_size=200))
    assert found.dims == ("seed",)
    assert found["seed"].values.tolist() == AXES["seed"]
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_density_cost_is_time_over_time(sweep, monkeypatch):
    clock, seen = SimpleNamespace(now=0.0), []

    def spend(what, seconds):
        def work(ensemble, x, *rest, **options):
            clock.now += seconds
            seen.append((what, ensemble, x, rest))

        return work

    monkeypatch.setattr(sweeps, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(sweeps, "train", spend("train", 2.0))
    monkeypatch.setattr(sweeps, "log_volume_change", spend("volume", 3.0))
    training = Training(epochs=5, batch_size=20)
    assert density_cost(sweep, training).values.tolist() == [3.0 / (2.0 * 5)] * len(AXES["seed"])
    for number, seed in enumerate(AXES["seed"]):
        (trained, timed), own = seen[2 * number : 2 * number + 2], [i for i, m in enumerate(MEMBERS) if m[2] == seed]
        assert (trained[0], timed[0]) == ("train", "volume")
        for _, ensemble, x, _ in (trained, timed):
            assert torch.equal(ensemble.flatten(), sweep.history.final.flatten()[own])
            assert torch.equal(x, sweep.x_train[own])
        assert torch.equal(trained[3][0], sweep.y_train[own])
        assert trained[3][1] == Training(epochs=1, batch_size=20)


def test_density_cost_needs_an_epoch(sweep):
    with pytest.raises(ValueError, match=r"^epochs must be a whole number at least 1, got 0"):
        density_cost(sweep, Training(epochs=0))


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"entanglements": [2, 0]}, ValueError, r"entanglements\[1\] must be a finite number above 0"),
        ({"entanglements": ["2"]}, TypeError, r"entanglements\[0\] must be"),
        ({"entanglements": []}, ValueError, "entanglements must be a non-empty list"),
        ({"seeds": [0, -1]}, ValueError, r"seeds\[1\] must be"),
        ({"seeds": [1.5]}, TypeError, r"seeds\[0\] must be"),
        ({"seeds": []}, ValueError, "seeds must be a non-empty list"),
        ({"seeds": [1, 1]}, ValueError, "seeds must be a non-empty list without repetitions"),
        ({"activations": ["relu", "step"]}, ValueError, r"activations\[1\] must be one of .*relu"),
        ({"activations": []}, ValueError, "activations must be a non-empty list"),
        ({"hidden_layers": 0}, ValueError, "hidden_layers must be"),
        ({"hidden_layers": 2.0}, TypeError, "hidden_layers must be"),
        ({"width": 0}, ValueError, "must be a whole number at least 1, got 0"),
        ({"noise": -0.1}, ValueError, "noise must be"),
        ({"codimension": 0}, ValueError, "codimension must be"),
        ({"train_share": 0}, ValueError, "train_share must be"),
        ({"train_share": 1}, ValueError, "train_share must leave"),
        ({"snapshots": [3]}, ValueError, "snapshots must be"),
    ],
)
def test_wrong_arguments(change, error, name):
    with pytest.raises(error, match=name):
        make(**change)


@pytest.fixture(scope="module")
def quick_run():
    return yaml.safe_load(QUICK_RUN.read_text(encoding="utf-8"))


def run(parameters, **changes):
    return spiral_sweep(
        **{name: parameters[name] for name in ("activations", "entanglements", "hidden_layers", "width", "noise")}
        | {
            "seeds": range(parameters["first_seed"], parameters["first_seed"] + parameters["n_networks"]),
            "training": Training(**{name: parameters[name] for name in ("epochs", "batch_size", "learning_rate")}),
            "snapshots": [0, parameters["epochs"]],
        }
        | changes
    )


@pytest.fixture(scope="module", params=ENGINES)
def fifty(quick_run, request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(runs.Run, "can_compile", lambda *_: False)
        yield run(quick_run)


@pytest.mark.parametrize(
    "member", [("tanh", 2, 0), ("tanh", 10, 4), ("tanh", 6, 1), ("relu", 2, 0), ("relu", 10, 3), ("relu", 6, 2)]
)
def test_member_of_fifty_is_the_same_seed_alone(quick_run, fifty, member):
    assert len(fifty.history.final) == 50
    activation, entanglement, seed = member
    alone = run(quick_run, activations=[activation], entanglements=[entanglement], seeds=[seed])
    assert len(alone.history.final) == 1
    number = fifty.member(**at(member))
    start, end = (fifty.history.at(epoch).select([number]) for epoch in fifty.history.epochs)
    for p, q in zip(end.parameters(), alone.history.final.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-4)
    assert float((start.flatten() - end.flatten()).detach().abs().max()) > 0.05
    torch.testing.assert_close(fifty.history.loss[:, number], alone.history.loss[:, 0], rtol=0, atol=1e-4)


def test_results_tell_the_last_loss_and_who_diverged(sweep):
    results = sweep.weight_results()
    assert results["loss"].dims == results["diverged"].dims == tuple(AXES)
    torch.testing.assert_close(torch.tensor(results["loss"].values).flatten(), sweep.history.loss[-1])
    assert float(results["diverged"].sum()) == 0
    untrained = make(training=Training(epochs=0), snapshots=[0]).weight_results()
    assert "loss" not in untrained


def test_volumes_of_embedded_spirals():
    volumes = make(codimension=3).volume_results(5)
    assert bool(np.isneginf(volumes["log_area"].isel(layer=-1)).all())
    assert bool(np.isfinite(volumes["log_area"].sel(activation="tanh").isel(layer=0)).all())


def test_sigmoid_networks_start_from_the_same_functions_and_train_apart():
    options = {"activations": ["tanh"], "entanglements": [2], "seeds": [1, 2], "hidden_layers": 1, "width": 4}
    softmax, sigmoid = (
        spiral_sweep(**options, training=Training(epochs=2, loss=loss), snapshots=[0, 2])
        for loss in ("cross_entropy", "binary_cross_entropy")
    )
    assert sigmoid.history.final.layer_sizes == (2, 4, 1)
    assert sigmoid.y_train.dtype == torch.int64
    for side in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(softmax, side), getattr(sigmoid, side))
    x = softmax.x_test
    for epoch, same in ((0, True), (2, False)):
        probabilities = softmax.history.at(epoch)(x).softmax(2)[..., 1], sigmoid.history.at(epoch)(x).sigmoid()[..., 0]
        assert torch.allclose(*probabilities, atol=1e-6) == same


def test_softmax_moves_the_last_layer_twice_as_far_as_sigmoid():
    options = {"activations": ["relu"], "entanglements": [2], "seeds": [1], "hidden_layers": 2, "width": 4}
    step = Training(epochs=1, batch_size=2000, optimiser="sgd", momentum=0, learning_rate=0.1)
    softmax, sigmoid = (
        spiral_sweep(**options, training=replace(step, loss=loss), snapshots=[0, 1]).history
        for loss in ("cross_entropy", "binary_cross_entropy")
    )
    moved = softmax.at(1).with_one_logit().flatten() - softmax.at(0).with_one_logit().flatten()
    alone = sigmoid.at(1).flatten() - sigmoid.at(0).flatten()
    last = torch.zeros_like(alone, dtype=torch.bool)
    last[:, 4 * 2 + 4 + 4 * 4 + 4 : -2] = True  # W and b of the one logit; the unused slopes follow
    torch.testing.assert_close(moved[last], 2 * alone[last], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved[~last], alone[~last], rtol=1e-3, atol=1e-6)
    assert alone[last].abs().min() > 1e-5
