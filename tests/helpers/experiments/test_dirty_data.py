"""Networks for clean and dirty rows: what they train on, what they never see, and what is reported of them."""

import numpy as np
import pytest
import torch
import xarray as xr

from helpers.datasets.corruption import Noise
from helpers.datasets.multivariate import multivariate
from helpers.evidence.verdicts import CANNOT, judge_all
from helpers.experiments import dirty_data as dirt
from helpers.experiments.dirty_data import (
    TREATMENTS,
    Treatment,
    collect,
    multivariate_results,
    multivariate_sweep,
    saturation_gap,
    share_seen,
)
from helpers.training.protocol import Training

SHORT = Training(epochs=2, batch_size=32)
SEVEN = ("relu", "leaky_relu", "prelu", "elu", "softsign", "sigmoid", "tanh")


def rows_of(data):
    return {row.numpy().tobytes() for row in data.x}


@pytest.mark.parametrize("name", [name for name, treatment in TREATMENTS.items() if not treatment.leaking])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_validation_row_is_in_the_training_set(name, seed):
    data = multivariate(700, seed=seed).data
    train_set, validation = TREATMENTS[name](data, seed=seed)
    assert (len(train_set), len(validation)) == (500, 200)
    assert not rows_of(train_set) & rows_of(validation)
    assert share_seen(train_set, validation) == 0
    assert rows_of(validation) <= rows_of(data), "validation rows stay clean"


def test_the_leak_as_coded_is_there():
    data = multivariate(1400).data
    train_set, validation = TREATMENTS["noise, leaking"](data)
    # Five of seven rows are for training, and nine of ten of them are as they were.
    assert share_seen(train_set, validation) == pytest.approx(5 / 7 * 0.9, abs=0.06)
    assert rows_of(validation) == rows_of(TREATMENTS["clean"](data)[1])


def test_treatments_differ_from_clean_in_the_dirty_rows_alone():
    data = multivariate(700).data
    clean, dirty = (TREATMENTS[name](data, seed=3)[0] for name in ("clean", "noise"))
    changed = (clean.x != dirty.x).any(1)
    assert int(changed.sum()) == 50
    assert torch.equal(clean.y[~changed], dirty.y[~changed])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_rows_are_measured_after_every_epoch(batch_norm):
    options = {"treatments": ["clean", "noise"], "training": SHORT, "n_rows": 140, "batch_norm": batch_norm}
    sweep = multivariate_sweep(activations=["relu", "tanh"], seeds=[0, 4], **options)
    assert sweep.axes == {"dirt": ["clean", "noise"], "activation": ["relu", "tanh"], "seed": [0, 4]}
    for name in sweep.sets:
        first, second = (sweep.member(dirt="noise", activation=a, seed=4) for a in ("relu", "tanh"))
        assert sweep.sets[name][first] is sweep.sets[name][second]
    found = multivariate_results(sweep)
    assert dict(found["mse"].sizes) == {"epoch": 2, "dirt": 2, "activation": 2, "seed": 2}
    assert found["epoch"].values.tolist() == [1, 2]
    assert bool((found["mse"] > 0).all())
    assert found["seen"].values.tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(found["floor"], [multivariate(140, seed=seed).floor for seed in (0, 4)])
    alone = multivariate_results(multivariate_sweep(activations=["tanh"], seeds=[4], **options))
    together = found["mse"].sel(activation=["tanh"], seed=[4])
    np.testing.assert_allclose(alone["mse"], together.transpose(*alone["mse"].dims), rtol=1e-6)
    # One of the networks again, by hand.
    number = sweep.member(dirt="noise", activation="relu", seed=4)
    networks, validation = sweep.history.at(1), sweep.sets["validation"][number]
    network = networks[number] if batch_norm else networks.member(number)
    with torch.no_grad():
        by_hand = (network(validation.x) - validation.y).square().mean()
    assert found["mse"].sel(epoch=1, dirt="noise", activation="relu", seed=4).item() == pytest.approx(float(by_hand))


def test_many_networks_for_rows_are_those_of_each(monkeypatch):
    sweep = multivariate_sweep(
        activations=["relu", "elu"], seeds=range(3), treatments=["clean"], training=SHORT, n_rows=70
    )
    whole = multivariate_results(sweep)
    monkeypatch.setattr(dirt, "BLOCK", 4)
    np.testing.assert_allclose(multivariate_results(sweep)["mse"], whole["mse"], rtol=1e-6)


def test_without_treatments_a_sweep_is_one_of_the_studys_readings():
    options = {"activations": ["relu"], "seeds": [0], "training": SHORT, "n_rows": 70}
    written, coded = (multivariate_sweep(batch_norm=flag, **options) for flag in (False, True))
    assert written.axes["dirt"] == [name for name in TREATMENTS if name != "noise, leaking"]
    assert coded.axes["dirt"] == ["clean", "noise", "noise, leaking"]


def test_the_gap_is_between_the_activations_that_are_there():
    names = ["relu", "prelu", "elu", "tanh"]
    values = xr.DataArray(
        [[1.0, 2.0], [3.0, 4.0], [9.0, 9.0], [7.0, 7.0]], {"activation": names}, ("activation", "seed")
    )
    assert saturation_gap(values).values.tolist() == [5, 4]
    assert bool(saturation_gap(values.sel(activation=["elu", "tanh"])).isnull().all())


def test_excess_needs_clean_rows():
    sweep = multivariate_sweep(activations=["relu"], seeds=[0], treatments=["noise"], training=SHORT, n_rows=70)
    with pytest.raises(ValueError, match=r"^sweep must have networks for clean rows, got noise\.$"):
        multivariate_results(sweep)


def test_mse_is_that_of_the_real_units():
    # A network that has learned nothing predicts about the mean: its error is about the variance of y.
    idle = Training(epochs=1, batch_size=100, learning_rate=1e-9)
    found = multivariate_results(
        multivariate_sweep(activations=["sigmoid"], seeds=[0], treatments=["clean"], training=idle, n_rows=700)
    )
    validation = TREATMENTS["clean"](multivariate(700).data)[1]
    network = dirt.perceptron([10, 128, 64, 1], "sigmoid", 0, batch_norm=False)
    with torch.no_grad():
        by_hand = (network(validation.x) - validation.y).square().mean()
    assert found["mse"].item() == pytest.approx(float(by_hand), rel=1e-3)
    assert found["variance"].item() == pytest.approx(float(validation.y.var(correction=0)))


@pytest.fixture(scope="module")
def measured():
    """All experiments at their smallest, put together as the chapter does."""
    rows = multivariate_sweep(
        activations=SEVEN,
        seeds=range(10),
        treatments=[name for name in TREATMENTS if name != "noise, leaking"],
        training=SHORT,
        n_rows=70,
    )
    coded = multivariate_sweep(
        activations=SEVEN,
        seeds=range(10),
        treatments=["clean", "noise", "noise, leaking"],
        training=Training(epochs=2, batch_size=50),
        n_rows=70,
        batch_norm=True,
    )
    share = xr.DataArray([0.0, 0.1], dims="share", coords={"share": [0.0, 0.1]})
    seed = xr.DataArray(np.zeros(5), dims="seed", coords={"seed": range(5)})
    name = xr.DataArray(np.zeros(7), dims="activation", coords={"activation": list(SEVEN)})
    head = xr.DataArray([0.0, 0.0], dims="head", coords={"head": ["as coded", "as written"]})
    epoch = xr.DataArray([0.0, 0.0], dims="epoch", coords={"epoch": [1, 2]})
    kinds = ["none", "dropout and decay"]
    regularisation = xr.DataArray([0.0, 0.0], dims="regularisation", coords={"regularisation": kinds})
    digits = xr.Dataset({"accuracy": 0.9 - share + 0.01 * seed.seed + name + head + epoch + regularisation})
    digits["best"] = digits["accuracy"].max("epoch")
    large = digits.isel(regularisation=[0])
    curve = digits.isel(head=[1], regularisation=[0])
    found = xr.Dataset({"found": name + seed})
    return collect(multivariate_results(rows), multivariate_results(coded), digits, large, curve, found)


def test_collected_results_decide_every_claim(measured):
    verdicts = judge_all({"dirty_data": measured})
    assert len(verdicts) > 9
    assert CANNOT not in {verdict.verdict for verdict in verdicts}


def test_collected_measures_are_what_they_say(measured):
    last = measured.isel(epoch=-1)
    np.testing.assert_allclose(last["excess"].sel(dirt="clean"), 0)
    noise = last["mse"].sel(dirt="noise") - last["mse"].sel(dirt="clean")
    np.testing.assert_allclose(last["excess"].sel(dirt="noise"), noise)
    np.testing.assert_allclose(last["unexplained"] * last["variance"], last["mse"].sel(dirt="clean"))
    others = last["mse"].sel(activation=list(dirt.OTHERS)).mean("activation")
    np.testing.assert_allclose(last["mse_of_others"], others)
    assert float(measured["digits_best"].sel(share=0.1, seed=2).max()) == pytest.approx(0.82)
    assert measured["large_best"].dims == ("share", "seed", "activation", "head")
    assert measured["curve_best"].dims == ("share", "seed", "activation")
    assert measured["curve_accuracy"].dims == ("share", "seed", "activation", "curve_epoch")
    assert measured["dirt"].values.tolist() == [
        *(name for name in TREATMENTS if name != "noise, leaking"),
        "noise, leaking",
    ]
    assert "coded_floor" not in measured


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: multivariate_sweep(activations=["step"], seeds=[0], treatments=["clean"], training=SHORT),
            "activations.0. must be one of",
        ),
        (
            lambda: multivariate_sweep(activations=["relu"], seeds=[], treatments=["clean"], training=SHORT),
            "seeds must be",
        ),
        (
            lambda: multivariate_sweep(activations=["relu"], seeds=[0], treatments=["dust"], training=SHORT),
            "treatments.0. must be one of",
        ),
        (lambda: Treatment(Noise())(multivariate(20).data, train_share=1.0), "train_share must leave"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
