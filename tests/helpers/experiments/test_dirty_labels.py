"""Wrong labels: who sees them, what is made of them, and who finds them."""

import numpy as np
import pytest
import torch
import xarray as xr

from helpers.datasets.corruption import LabelNoise
from helpers.datasets.digits import DigitTask
from helpers.experiments import dirty_labels
from helpers.experiments.dirty_labels import (
    REGULARISATIONS,
    label_gains,
    label_results,
    label_sweep,
    suspect_results,
    suspect_sweep,
    suspects,
)
from helpers.metrics.label_errors import share_found, suspicion
from helpers.models.sequential import digit_network
from helpers.training.out_of_sample import out_of_sample
from helpers.training.protocol import Training
from helpers.training.train import train

TASK = DigitTask("digits", 12, 90, 45)
SHORT = Training(epochs=2, batch_size=32)


def rows_of(data):
    return {row.numpy().tobytes() for row in data.x}


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
    sweep = label_sweep(TASK, activations=["relu"], seeds=[0], shares=[0.0, 0.6], training=SHORT, heads=["as written"])
    clean = TASK.split(0)[1]
    assert len(seen) == 2
    for validation in [*seen, *sweep.sets["validation"]]:
        assert torch.equal(validation.y, clean.y)
        assert torch.equal(validation.x, clean.x)


def test_labels_are_reported_as_the_networks_have_them():
    options = {"activations": ["elu", "tanh"], "seeds": [1, 2], "shares": [0.0, 0.3], "training": SHORT}
    sweeps = [label_sweep(TASK, regularisation=name, **options) for name in REGULARISATIONS]
    assert list(sweeps[0].axes) == ["head", "regularisation", "share", "activation", "seed"]
    found = label_results(*sweeps)
    expected = {"epoch": 2, "head": 2, "regularisation": 2, "share": 2, "activation": 2, "seed": 2}
    assert dict(found["accuracy"].sizes) == expected
    xr.testing.assert_equal(found["best"], found["accuracy"].max("epoch"))
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


def test_gains_are_differences_of_the_same_seeds():
    options = {"activations": ["elu"], "seeds": [0, 1], "shares": [0.0, 0.1], "training": SHORT}
    results = label_results(*(label_sweep(TASK, regularisation=name, **options) for name in REGULARISATIONS))
    gains = label_gains(results)
    assert set(gains) == {"last_layer", "best_epoch", "regularised", "fewer_memorised"}
    assert dict(gains.sizes) == {"activation": 1, "seed": 2}
    here = {"activation": "elu", "seed": 1}

    def best(head):
        return results["best"].sel(head=head, share=0.0, regularisation="none", **here).item()

    last = results.sel(here).isel(epoch=-1).sel(head="as written", share=0.1)
    plain, regularised = (last.sel(regularisation=name) for name in REGULARISATIONS)
    expected = {
        "last_layer": best("as written") - best("as coded"),
        "best_epoch": (plain["best"] - plain["accuracy"]).item(),
        "regularised": (regularised["accuracy"] - plain["accuracy"]).item(),
        "fewer_memorised": (plain["memorised"] - regularised["memorised"]).item(),
    }
    assert {name: gains[name].sel(here).item() for name in gains} == pytest.approx(expected)


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


@pytest.fixture(scope="module")
def suspected():
    training = Training(epochs=5, batch_size=10, learning_rate=0.003)
    return suspect_sweep(TASK, activations=["elu", "relu"], seeds=[0, 1], training=training, share=0.2)


def test_no_network_has_seen_what_it_is_to_judge(suspected):
    assert suspected.axes == {"activation": ["elu", "relu"], "seed": [0, 1], "fold": [0, 1, 2]}
    dirty = LabelNoise(0.2)(TASK.split(1)[0], seed=1)
    judged = set()
    for fold in range(3):
        number, other = (suspected.member(activation=name, seed=1, fold=fold) for name in ("elu", "relu"))
        seen, held_out = (suspected.sets[name][number] for name in ("train", "held out"))
        assert seen is suspected.sets["train"][other]  # held once for all activations
        assert (len(seen), len(held_out)) == (60, 30)
        assert not rows_of(seen) & rows_of(held_out)
        assert rows_of(seen) | rows_of(held_out) == rows_of(dirty.data)
        judged |= rows_of(held_out)
    assert judged == rows_of(dirty.data)


def test_suspects_are_found_more_often_than_by_chance(suspected):
    found = suspect_results(suspected)["found"]
    assert found.dims == ("activation", "seed")
    assert float(found.mean()) > 0.4  # chance would find 0.2
    dirty, suspicious = suspects(suspected, activation="relu", seed=1)
    assert len(suspicious) == len(dirty.rows) == 90
    assert int(dirty.rows.sum()) == 18
    assert found.sel(activation="relu", seed=1).item() == pytest.approx(share_found(suspicious, dirty.rows))


def test_suspicions_are_those_out_of_sample(suspected):
    noisy = LabelNoise(0.2)(TASK.split(0)[0], seed=0)
    protocol = Training(epochs=5, batch_size=10, learning_rate=0.003, rate_factor=0.7, rate_every=2)
    (probabilities,) = out_of_sample([digit_network("elu", 0, size=12)], [0], [noisy.data], protocol)
    _, suspicious = suspects(suspected, activation="elu", seed=0)
    expected = suspicion(probabilities, noisy.data.y)
    torch.testing.assert_close(suspicious.sort().values, expected.sort().values)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DigitTask("letters"), "images must be one of"),
        (lambda: DigitTask(n_train=5), "n_train must be"),
        (lambda: DigitTask("digits", 12, 1500, 500).split(), "within the 1797 pictures of digits, got 1500 and 500"),
        (
            lambda: label_sweep(TASK, activations=["relu"], seeds=[0], shares=[0.1, 0.1], training=SHORT),
            "shares must be a non-empty list without repetitions",
        ),
        (
            lambda: label_sweep(TASK, activations=["relu"], seeds=[0], shares=[1.5], training=SHORT),
            r"shares\[0\] must be",
        ),
        (
            lambda: label_sweep(
                TASK, activations=["relu"], seeds=[0], shares=[0.1], training=SHORT, heads=["as meant"]
            ),
            r"heads\[0\] must be one of as coded, as written",
        ),
        (
            lambda: label_sweep(
                TASK, activations=["relu"], seeds=[0], shares=[0.1], training=SHORT, regularisation="early stopping"
            ),
            "regularisation must be one of dropout and decay, none",
        ),
        (
            lambda: suspect_sweep(TASK, activations=["relu"], seeds=[0], training=SHORT, n_folds=1),
            "n_folds must be a whole number at least 2",
        ),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
