"""The experiments on dirt: what they train on, what they never see, and what they report."""

import numpy as np
import pytest
import torch
import xarray as xr

from helpers.datasets.corruption import LabelNoise, Noise
from helpers.datasets.digits import DigitTask
from helpers.datasets.multivariate import multivariate
from helpers.evidence.verdicts import CANNOT, judge_all
from helpers.experiments import dirty_data as dirt
from helpers.experiments import dirty_labels
from helpers.experiments.dirty_data import TREATMENTS, Treatment, collect, multivariate_sweep, share_seen
from helpers.experiments.dirty_labels import digit_sweep, suspects
from helpers.models.sequential import digit_network
from helpers.training.protocol import Training
from helpers.training.train import train

TASK = DigitTask("digits", 12, 90, 45)
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
def test_multivariate_sweep(batch_norm):
    options = {"treatments": ["clean", "noise"], "training": SHORT, "n_rows": 140, "batch_norm": batch_norm}
    found = multivariate_sweep(activations=["relu", "tanh"], seeds=[0, 4], **options)
    assert dict(found["mse"].sizes) == {"epoch": 2, "dirt": 2, "activation": 2, "seed": 2}
    assert found["epoch"].values.tolist() == [1, 2]
    assert bool((found["mse"] > 0).all())
    assert found["seen"].values.tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(found["floor"], [multivariate(140, seed=seed).floor for seed in (0, 4)])
    alone = multivariate_sweep(activations=["tanh"], seeds=[4], **options)
    both = found["mse"].sel(activation=["tanh"], seed=[4])
    np.testing.assert_allclose(alone["mse"], both.transpose(*alone["mse"].dims), rtol=1e-6)


def test_mse_is_that_of_the_real_units():
    # A network that has learned nothing predicts about the mean: its error is about the variance of y.
    idle = Training(epochs=1, batch_size=100, learning_rate=1e-9)
    found = multivariate_sweep(activations=["sigmoid"], seeds=[0], treatments=["clean"], training=idle, n_rows=700)
    validation = TREATMENTS["clean"](multivariate(700).data)[1]
    network = dirt.perceptron([10, 128, 64, 1], "sigmoid", 0, batch_norm=False)
    with torch.no_grad():
        by_hand = (network(validation.x) - validation.y).square().mean()
    assert found["mse"].item() == pytest.approx(float(by_hand), rel=1e-3)
    assert found["variance"].item() == pytest.approx(float(validation.y.var(correction=0)))


def test_digits_are_split_by_class_without_overlap():
    train_set, validation = TASK.split(3)
    assert train_set.x.shape == (90, 1, 12, 12)
    assert validation.x.shape == (45, 1, 12, 12)
    assert not rows_of(train_set) & rows_of(validation)
    assert train_set.y.bincount().tolist() == pytest.approx([9] * 10, abs=1)
    assert float(train_set.x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(train_set.x.std()) == pytest.approx(1, abs=1e-3)
    again, other = TASK.split(3)[0], TASK.split(4)[0]
    assert torch.equal(again.x, train_set.x)
    assert not torch.equal(other.y, train_set.y)


def test_dirty_labels_never_reach_the_validation_set(monkeypatch):
    seen = []
    original = dirty_labels.watch
    monkeypatch.setattr(
        dirty_labels, "watch", lambda sets, validation: seen.extend(validation) or original(sets, validation)
    )
    digit_sweep(TASK, activations=["relu"], seeds=[0], shares=[0.0, 0.6], training=SHORT, heads=["as written"])
    clean = TASK.split(0)[1]
    assert len(seen) == 2
    for validation in seen:
        assert torch.equal(validation.y, clean.y)
        assert torch.equal(validation.x, clean.x)


def test_digit_sweep_reports_what_its_networks_do():
    options = {"activations": ["elu", "tanh"], "seeds": [1, 2], "shares": [0.0, 0.3], "training": SHORT}
    found = digit_sweep(TASK, regularisations=["none", "dropout and decay"], **options)
    expected = {"epoch": 2, "head": 2, "regularisation": 2, "share": 2, "activation": 2, "seed": 2}
    assert dict(found["accuracy"].sizes) == expected
    assert bool(found["memorised"].sel(share=0.0).isnull().all())
    assert bool(found["memorised"].sel(share=0.3).notnull().all())
    # One of the networks again, by hand.
    train_set, validation = TASK.split(2)
    dirty = LabelNoise(0.3)(train_set, seed=2)
    protocol = Training(epochs=2, batch_size=32, weight_decay=1e-5, rate_factor=0.7, rate_every=2)
    network = digit_network("tanh", 2, size=12, dropout=0.25, last_layer=False)
    history = train([network], dirty.data.x, dirty.data.y, protocol, seeds=[2])
    (trained,) = history.final
    with torch.no_grad():
        guess = trained(dirty.data.x).argmax(1)
        hits = (trained(validation.x).argmax(1) == validation.y).double().mean()
    here = {"head": "as coded", "regularisation": "dropout and decay", "activation": "tanh", "seed": 2, "share": 0.3}
    last = found.sel(here).isel(epoch=-1)
    wrong = dirty.rows
    assert last["accuracy"].item() == pytest.approx(float(hits))
    assert last["memorised"].item() == pytest.approx(float((guess == dirty.data.y)[wrong].double().mean()))
    assert last["learned"].item() == pytest.approx(float((guess == dirty.data.y)[~wrong].double().mean()))
    assert last["recovered"].item() == pytest.approx(float((guess == train_set.y)[wrong].double().mean()))
    assert last["loss"].item() == pytest.approx(float(history.loss[-1, 0]))


@pytest.mark.parametrize(("name", "width"), [("sigmoid", 1), ("tanh", 2), ("softsign", 2)])
def test_without_its_last_layer_a_bounded_network_cannot_pass_the_least_loss(name, width):
    network = digit_network(name, 0, size=12, last_layer=False)
    train_set, _ = TASK.split(0)
    networks = [network, digit_network(name, 0, size=12)]
    training = Training(epochs=60, batch_size=30, learning_rate=0.01)
    coded, whole = train(networks, train_set.x, train_set.y, training, seeds=[0, 0]).loss[-1].tolist()
    least = np.log(1 + 127 * np.exp(-width))
    assert least < coded < np.log(128)
    assert whole < 0.2


def test_suspects():
    found, dirty, suspicious = suspects(
        TASK,
        activations=["elu"],
        seeds=[0, 1],
        training=Training(epochs=12, batch_size=10, learning_rate=0.003),
        share=0.2,
    )
    assert found.dims == ("activation", "seed")
    assert len(suspicious) == len(dirty.rows) == 90
    assert int(dirty.rows.sum()) == 18
    assert float(found.mean()) > 0.4  # chance would find 0.2


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
    large = digits.isel(regularisation=[0])
    curve = digits.isel(head=1, regularisation=0, drop=True)
    return collect(rows, coded, digits, large, curve, name + seed)


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
    assert "regularisation" not in measured["large_best"].dims


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DigitTask("letters"), "images must be one of"),
        (lambda: DigitTask(n_train=5), "n_train must be"),
        (lambda: DigitTask("digits", 12, 1500, 500).split(), "within the 1797 pictures of digits, got 1500 and 500"),
        (
            lambda: digit_sweep(TASK, activations=["relu"], seeds=[0], shares=[0.1, 0.1], training=SHORT),
            "share must be a non-empty list without repetitions",
        ),
        (lambda: digit_sweep(TASK, activations=["relu"], seeds=[0], shares=[1.5], training=SHORT), "share must be"),
        (
            lambda: multivariate_sweep(activations=["step"], seeds=[0], treatments=["clean"], training=SHORT),
            "activations.0. must be one of",
        ),
        (
            lambda: multivariate_sweep(activations=["relu"], seeds=[], treatments=["clean"], training=SHORT),
            "seeds must be",
        ),
        (lambda: Treatment(Noise())(multivariate(20).data, train_share=1.0), "train_share must leave"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
