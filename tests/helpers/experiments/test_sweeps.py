"""A sweep trains what it says on the data it says, and its tables hold each member's values in their places."""

import ast
import typing
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import papermill
import pytest
import torch
import xarray as xr
from references import HAS_KERNEL

from helpers import experiments
from helpers.datasets.spirals import spirals
from helpers.experiments import sweeps
from helpers.experiments.sweeps import merged, pick, spiral_sweep, spiral_sweeps, training_results
from helpers.models.heads import with_one_logit
from helpers.training import runs
from helpers.training.protocol import Training

# As many entries as on no other axis, so that no two of them can be mistaken for each other.
AXES = {"activation": ["tanh", "relu"], "entanglement": [2, 5.5, 8.0], "seed": [7, 0, 3, 11]}
MEMBERS = list(product(*AXES.values()))
DATA = {"noise": 0.3, "codimension": 1, "train_share": 0.6}
WIDTH, LAYERS = 9, 3
CHAPTER = Path(__file__).parents[3] / "notebooks" / "01_weight_norms.ipynb"


ENGINES = [
    pytest.param(
        "compiled",
        marks=pytest.mark.skipif(
            torch.cuda.is_available() or not HAS_KERNEL, reason="training runs in plain PyTorch, not in compiled code"
        ),
    ),
    "plain",
]


def public(ending):
    functions = {name: getattr(experiments, name) for name in experiments.__all__ if name.endswith(ending)}
    assert functions
    return {name: list(typing.get_type_hints(function).items()) for name, function in functions.items()}


def test_sweeps_are_trained_and_results_measured_apart():
    for name, hints in public("_sweep").items():
        assert hints[-1] == ("return", experiments.Sweep), name
    for name, hints in public("_sweeps").items():
        assert hints[-1] == ("return", list[experiments.Sweep]), name
    for name, hints in public("_results").items():
        assert hints[0][1] in (experiments.Sweep, Sequence[experiments.Sweep]), name
        assert hints[-1][1] in (xr.Dataset, xr.DataArray), name
        assert Training not in dict(hints).values(), name


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
    for ensemble in sweep.history.snapshots:
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


def test_member_needs_no_axis_of_one_entry(sweep):
    marked = sweep.with_axes(width=WIDTH, distance=4)
    assert list(marked.axes) == ["width", "distance", *AXES]
    assert marked.member(**at(MEMBERS[5])) == marked.member(width=WIDTH, **at(MEMBERS[5])) == 5
    with pytest.raises(ValueError, match=r"^distance must be one of \[4\], got 2\.$"):
        marked.member(distance=2, **at(MEMBERS[5]))


def test_an_axis_is_named_once(sweep):
    with pytest.raises(ValueError, match=r"^where must name new axes, got seed, which the sweep has\.$"):
        sweep.with_axes(seed=3, width=5)


def test_member_knows_its_axes(sweep):
    with pytest.raises(ValueError, match=r"^where must name axes of the sweep, activation, .*, got width\.$"):
        sweep.member(width=3, **at(MEMBERS[0]))


def test_selected_members_keep_their_place_and_data(sweep):
    part = sweep.select(entanglement=5.5, seed=3)
    assert part.axes == {"activation": ["tanh", "relu"], "entanglement": [5.5], "seed": [3]}
    numbers = [sweep.member(activation=name, entanglement=5.5, seed=3) for name in AXES["activation"]]
    assert torch.equal(part.history.at(0).flatten(), sweep.history.at(0).flatten()[numbers])
    assert torch.equal(part.history.loss, sweep.history.loss[:, numbers])
    assert [part.sets["test"][k] for k in range(2)] == [sweep.sets["test"][number] for number in numbers]
    assert part.member(activation="relu") == 1
    with pytest.raises(ValueError, match=r"^seed must be one of \[7, 0, 3, 11\], got 1\.$"):
        sweep.select(seed=1)
    with pytest.raises(ValueError, match="where must name axes of the sweep"):
        sweep.select(distance=4)


def test_selected_members_stay_diverged():
    with pytest.warns(RuntimeWarning, match="stopped being finite"):
        wild = make(
            activations=["relu", "tanh"],
            entanglements=[2],
            seeds=[0, 1],
            training=Training(epochs=2, optimiser="sgd", learning_rate=1e20),
        )
    part = wild.select(seed=1)
    assert part.history.diverged == {
        k: wild.history.diverged[m] for k, m in enumerate((1, 3)) if m in wild.history.diverged
    }
    assert part.history.diverged


def test_one_of_several_sweeps_is_picked_by_its_axes(sweep):
    several = [sweep.with_axes(distance=d, width=w) for d in (4, 2) for w in (9, 5)]
    assert pick(several, distance=2, width=9) is several[2]
    for where, n in (({"distance": 2}, 2), ({"distance": 3}, 0), ({"depth": 1}, 0)):
        with pytest.raises(ValueError, match=rf"where must hold for one of the sweeps, got .* holds for {n}\."):
            pick(several, **where)


def test_sets_go_by_name(sweep):
    with pytest.raises(ValueError, match=r"^name must be that of a set, train, test, got 'validation'\.$"):
        sweep.data("validation")


def test_sweeps_over_further_options_fall_into_place():
    options = {"entanglements": [2], "seeds": [0, 1], "hidden_layers": 1, "training": Training(epochs=1)}
    training = {"short": Training(epochs=1), "long": Training(epochs=2)}
    del options["training"]
    several = spiral_sweeps({"width": [5, 3], "training": training}, activations=["tanh", "relu"], **options)
    assert [one.history.final.layer_sizes[1] for one in several] == [5, 5, 3, 3]
    assert [one.history.epochs for one in several] == [(1,), (2,), (1,), (2,)]
    whole = merged(training_results(one.with_axes(group="a")).isel(epoch=-1, drop=True) for one in several)
    assert dict(whole.sizes) == {"group": 1, "width": 2, "training": 2, "activation": 2, "entanglement": 1, "seed": 2}
    alone = spiral_sweep(activations=["relu"], width=3, training=training["long"], **options)
    here = whole.sel(width=3, training="long", activation="relu", group="a")
    xr.testing.assert_allclose(
        here.drop_vars(["width", "training", "activation", "group"]),
        training_results(alone).isel(epoch=-1, activation=0, drop=True),
    )


def test_merged_labels_are_numbers_ascending_and_names_as_they_come():
    first = xr.Dataset({"a": (("name", "number"), [[1.0, 2.0]])}, coords={"name": ["tanh"], "number": [4, 2]})
    second = xr.Dataset({"a": (("name", "number"), [[3.0]])}, coords={"name": ["abs"], "number": [3]})
    whole = merged([first, second])
    assert whole["name"].values.tolist() == ["tanh", "abs"]
    assert whole["number"].values.tolist() == [2, 3, 4]
    np.testing.assert_array_equal(whole["a"], [[2, np.nan, 1], [np.nan, 3, np.nan]])
    named = merged([first, xr.DataArray([5.0], dims="number", coords={"number": [3]}, name="b")])
    np.testing.assert_array_equal(named["b"].sel(number=[2, 3]), [np.nan, 5])
    with pytest.raises(xr.MergeError):
        merged([first, first + 1])
    with pytest.raises(ValueError, match="results must be at least one"):
        merged([])


@pytest.mark.parametrize("values", [[], [3, 3], {}])
def test_options_to_sweep_over_have_values(values):
    with pytest.raises(
        ValueError, match=r"^over must name values, none twice, for every option, got .* for 'width'\.$"
    ):
        spiral_sweeps({"width": values}, activations=["relu"], entanglements=[2], seeds=[0])


def test_data_are_spirals_split_by_the_seed(sweep):
    assert sweep.data("train")[0].shape == (len(MEMBERS), 1200, 2)
    for number, (_, entanglement, seed) in enumerate(MEMBERS):
        for name, expected in zip(("train", "test"), data_of(entanglement, seed), strict=True):
            own, stacked = sweep.sets[name][number], sweep.data(name, 50)
            assert torch.equal(own.x, expected.x)
            assert torch.equal(own.y, expected.y)
            assert torch.equal(stacked[0][number], expected.x[:50])
            assert torch.equal(stacked[1][number], expected.y[:50])


def test_activations_share_data_and_start_and_seeds_do_not(sweep):
    start = sweep.history.at(0).flatten()[:, :-LAYERS]  # without the slopes
    for entanglement, seed in product(AXES["entanglement"], AXES["seed"]):
        first, second = (sweep.member(activation=a, entanglement=entanglement, seed=seed) for a in AXES["activation"])
        assert sweep.sets["train"][first] is sweep.sets["train"][second]
        assert sweep.sets["test"][first] is sweep.sets["test"][second]
        assert torch.equal(start[first], start[second])
    assert len({tuple(row.tolist()) for row in start}) == len(AXES["seed"])
    half = len(MEMBERS) // 2
    assert len({tuple(x.flatten().tolist()) for x in sweep.data("train")[0][:half]}) == half


def test_data_are_embedded_where_asked():
    sweep = make(codimension=3, entanglements=[4], seeds=[5], training=Training(epochs=0), snapshots=None)
    train, _ = spirals(4, noise=DATA["noise"], codimension=3, seed=5).split(train_share=0.6, seed=5)
    assert sweep.history.final.layer_sizes[0] == 4
    x, y = sweep.data("train")
    assert torch.equal(x, train.x.expand(2, -1, -1))
    assert torch.equal(y, train.y.expand(2, -1))
    assert x.data_ptr() == sweep.sets["train"][0].x.data_ptr()  # shared by all, and held once


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


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("side", ["train", "test"])
def test_accuracies_are_those_of_the_member(sweep, epoch, side):
    found = training_results(sweep)[f"{side}_accuracy"].sel(epoch=epoch)
    for number, member in enumerate(MEMBERS):
        own = sweep.sets[side][number]
        hits = (sweep.history.at(epoch).member(number)(own.x).argmax(dim=1) == own.y).sum()
        # One point may lie so close to the boundary that rounding decides.
        assert abs(float(found.sel(at(member))) * len(own) - int(hits)) < 1.01
    assert len(np.unique(found)) >= len(MEMBERS) / 4


def test_results_tell_the_last_loss_and_who_diverged(sweep):
    results = training_results(sweep)
    assert results["loss"].dims == results["diverged"].dims == tuple(AXES)
    torch.testing.assert_close(torch.tensor(results["loss"].values).flatten(), sweep.history.loss[-1])
    assert float(results["diverged"].sum()) == 0
    untrained = training_results(make(training=Training(epochs=0), snapshots=[0]))
    assert "loss" not in untrained


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
    found = papermill.inspect_notebook(CHAPTER)
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}


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


def test_sigmoid_networks_start_from_the_same_functions_and_train_apart():
    options = {"activations": ["tanh"], "entanglements": [2], "seeds": [1, 2], "hidden_layers": 1, "width": 4}
    softmax, sigmoid = (
        spiral_sweep(**options, training=Training(epochs=2, loss=loss), snapshots=[0, 2])
        for loss in ("cross_entropy", "binary_cross_entropy")
    )
    assert sigmoid.history.final.layer_sizes == (2, 4, 1)
    assert sigmoid.data("train")[1].dtype == torch.int64
    for side in ("train", "test"):
        for first, second in zip(softmax.data(side), sigmoid.data(side), strict=True):
            assert torch.equal(first, second)
    x, _ = softmax.data("test")
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
    moved = with_one_logit(softmax.at(1)).flatten() - with_one_logit(softmax.at(0)).flatten()
    alone = sigmoid.at(1).flatten() - sigmoid.at(0).flatten()
    last = torch.zeros_like(alone, dtype=torch.bool)
    last[:, 4 * 2 + 4 + 4 * 4 + 4 : -2] = True  # W and b of the one logit; the unused slopes follow
    torch.testing.assert_close(moved[last], 2 * alone[last], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved[~last], alone[~last], rtol=1e-3, atol=1e-6)
    assert alone[last].abs().min() > 1e-5
