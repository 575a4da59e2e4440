"""Networks of every head are trained by every protocol, measured as said, or refused where it would take hours."""

from itertools import product

import numpy as np
import pytest
import torch

from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import load_digits, standardise
from helpers.experiments import perturbation_constraints
from helpers.experiments.perturbation_constraints import AMOUNTS, PROTOCOLS, TooLong, head_results, head_sweeps
from helpers.experiments.sweeps import merged, pick
from helpers.metrics.accuracy import accuracy
from helpers.metrics.sensitivity import (
    Sensitivity,
    at_fraction,
    constrained_accuracy,
    drop_off,
    loss_at_mass,
    sensitivity,
    unit_accuracy,
)
from helpers.models.constraints import Constraint
from helpers.training.protocol import Training

SEEDS = [3, 5]
TRAINING = Training(epochs=8, batch_size=30, learning_rate=0.01)


@pytest.fixture(scope="module")
def data():
    train, test = load_digits("digits")
    return Dataset(train.x[:300], train.y[:300]), Dataset(test.x[:100], test.y[:100])


HEADS = ["relu", "abs2", "abs2_neg"]


@pytest.fixture(scope="module")
def sweeps(data):
    return head_sweeps(data, protocols=list(PROTOCOLS), heads=HEADS, seeds=SEEDS, training=TRAINING, width=16)


@pytest.fixture(scope="module")
def results(sweeps):
    return merged(head_results(sweep, n_steps=20) for sweep in sweeps)


def test_networks_are_those_of_the_note(sweeps, data):
    assert [(*sweep.axes["training"], *sweep.axes["head"]) for sweep in sweeps] == list(product(PROTOCOLS, HEADS))
    for sweep in sweeps:
        assert list(sweep.axes) == ["training", "head", "seed"]
        ensemble = sweep.history.final
        assert ensemble.layer_sizes == (64, 16, 10)
        assert ensemble.seeds == tuple(SEEDS)
        outputs = {"relu": "linear", "abs2": "activated", "abs2_neg": "negated"}
        assert ensemble.output == outputs[sweep.axes["head"][0]]
        assert not ensemble.biases[-1].any()
    coded, adam = (pick(sweeps, training=protocol, head="relu") for protocol in ("as coded", "adam"))
    assert all(train_set.x is data[0].x for train_set in coded.sets["train"])
    assert torch.equal(adam.sets["test"][1].x, standardise(*data)[1].x)


def test_protocols_share_what_they_have_in_common(sweeps, results):
    coded, own, written = (
        pick(sweeps, training=protocol, head="relu").history for protocol in ("as coded", "own range", "as written")
    )
    assert coded is own
    assert not torch.equal(coded.final.weights[0], written.final.weights[0])
    assert float(results["train_accuracy"].sel(training="adam").mean()) > 80


def test_results_are_labelled_and_whole(results):
    assert dict(results.sizes) == {
        "training": 4, "head": 3, "side": 2, "percent": 21, "seed": 2, "fate": 2, "kind": 3, "amount": len(AMOUNTS),
    }  # fmt: skip
    assert results["percent"].values.tolist() == [5.0 * k for k in range(21)]
    assert not [name for name, values in results.items() if bool(values.isnull().any())]


@pytest.mark.parametrize("protocol", ["as coded", "as written"])
@pytest.mark.parametrize("name", ["relu", "abs2_neg"])
def test_results_are_what_the_measures_say(sweeps, results, protocol, name):
    found = results.sel(training=protocol, head=name)
    sweep = pick(sweeps, training=protocol, head=name)
    ensemble, train, test = sweep.history.final, sweep.sets["train"][0], sweep.sets["test"][0]
    fractions = torch.linspace(0, 1, 21)
    expected = sensitivity(ensemble, train.x, train.y, fractions, scope=PROTOCOLS[protocol].scope)

    def same(variable, values):
        array = found[variable].transpose(..., "seed").values
        np.testing.assert_allclose(array, 100 * np.asarray(values), rtol=1e-6, atol=1e-6)

    same("accuracy", expected.accuracy)
    same("touched", expected.touched)
    same("mass", expected.mass)
    same("drop_off", drop_off(expected.accuracy, fractions))
    half = drop_off(expected.accuracy, fractions)
    same("range_at_drop_off", torch.stack([half[0], 1 - half[1]]))
    same("train_accuracy", accuracy(ensemble, train.x, train.y))
    same("test_accuracy", accuracy(ensemble, test.x, test.y))
    rules = [Constraint(offset=amount) for amount in AMOUNTS]
    offset = constrained_accuracy(ensemble, test.x, test.y, rules)
    np.testing.assert_allclose(found["affine_accuracy"].sel(kind="offset"), 100 * offset, rtol=1e-6)
    off = unit_accuracy(ensemble, test.x, test.y, Constraint(cutoff=0))
    lost = accuracy(ensemble, test.x, test.y) - off.amin(dim=1)
    np.testing.assert_allclose(found["unit_loss_most"].sel(fate="lowest"), 100 * lost, rtol=1e-6, atol=1e-6)


def test_a_seed_is_the_same_alone(results, data):
    options = {"protocols": ["adam"], "heads": ["abs2"], "training": TRAINING, "width": 16}
    (alone,) = head_sweeps(data, seeds=SEEDS[1:], **options)
    together = results.sel(training=["adam"], head=["abs2"], seed=SEEDS[1:])
    np.testing.assert_allclose(
        head_results(alone, n_steps=20)["accuracy"].transpose(*together["accuracy"].dims), together["accuracy"], atol=1
    )


def test_curves_are_read_between_the_steps():
    grid = torch.tensor([0.0, 0.5, 1.0])
    curves = torch.tensor([[[0.0, 1.0], [10.0, 3.0], [30.0, 4.0]], [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]]).double()
    wanted = torch.tensor([[0.25, 0.75], [0.0, 1.0]]).double()
    assert at_fraction(curves, grid, wanted).tolist() == [[5.0, 3.5], [1.0, 4.0]]


def test_loss_at_equal_mass_by_hand():
    accuracy_ = torch.tensor([[[1.0], [0.8], [0.2]], [[0.1], [0.5], [1.0]]]).double()
    mass = torch.tensor([[[0.0], [0.2], [1.0]], [[1.0], [0.3], [0.0]]]).double()
    found = loss_at_mass(Sensitivity(torch.tensor([0.0, 0.5, 1.0]), accuracy_, mass, mass), 0.1)
    # Half way to 0.8 from below; from above a third of the way from 1 to 0.5.
    np.testing.assert_allclose(found[:, 0], [0.1, 0.5 / 3], rtol=1e-6)


def test_hours_are_refused_in_a_sentence_without_a_gpu(data, monkeypatch):
    monkeypatch.setattr(perturbation_constraints.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(perturbation_constraints, "training_seconds", lambda *_, **__: 36.0)
    options = {
        "protocols": ["as coded", "own range", "as written"], "heads": ["relu", "abs"], "seeds": range(100),
        "training": Training(epochs=2, batch_size=300), "width": 4,
    }  # fmt: skip
    # 36 s for each of 200 networks, by two ways of training.
    words = r"Training 400 networks would take about 4\.0 hours without a GPU, more than most_hours = 3\.9"
    with pytest.raises(TooLong, match=words):
        head_sweeps(data, most_hours=3.9, **options)
    fewer = options | {"seeds": [0]}
    assert len(head_sweeps(data, most_hours=5, **fewer)) == 6
    assert len(head_sweeps(data, most_hours=None, **fewer)) == 6


def test_the_notes_protocol_is_timed_and_refused(data, monkeypatch):
    monkeypatch.setattr(perturbation_constraints.torch.cuda, "is_available", lambda: False)
    paper = Training(epochs=10**8, batch_size=len(data[0]))
    with pytest.raises(TooLong, match="hours without a GPU"):
        head_sweeps(data, protocols=["as coded"], heads=["relu"], seeds=[0], training=paper, most_hours=1.0)


def test_a_gpu_is_not_refused(data, monkeypatch):
    monkeypatch.setattr(perturbation_constraints.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(perturbation_constraints, "training_seconds", lambda *_, **__: pytest.fail("timed"))
    monkeypatch.setattr(perturbation_constraints, "_train_head", lambda *_: (_ for _ in ()).throw(InterruptedError))
    with pytest.raises(InterruptedError):
        head_sweeps(data, protocols=["adam"], heads=["relu"], seeds=[0], training=TRAINING, most_hours=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"protocols": ["as meant"]}, ValueError, r"protocols\[0\] must be one of adam, as coded"),
        ({"heads": ["relu", "relu"]}, ValueError, "heads must be a non-empty list without repetitions"),
        ({"seeds": []}, ValueError, "seeds must be"),
        ({"width": 0}, ValueError, "width must be"),
        ({"most_hours": 0}, ValueError, "most_hours must be"),
    ],
)
def test_wrong_arguments(data, change, error, words):
    options = {"protocols": ["adam"], "heads": ["relu"], "seeds": [0], "training": TRAINING, "width": 4}
    with pytest.raises(error, match=words):
        head_sweeps(data, **(options | change))


def test_steps_must_be_some(sweeps):
    with pytest.raises(ValueError, match="n_steps must be a whole number at least 1, got 0"):
        head_results(sweeps[0], n_steps=0)
