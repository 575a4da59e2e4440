"""The results of chapter 3: every measure against what it is made of, and the verifier against the attacks."""

import numpy as np
import pytest
import torch
import xarray as xr

from helpers.attacks.attack import exact_margins
from helpers.attacks.gradient import bim_as_coded, pgd
from helpers.attacks.search import ExhaustiveSearch
from helpers.experiments import robustness
from helpers.experiments.robustness import (
    DEFINITIONS,
    attack_results,
    boundary_results,
    definition_results,
    evaluation_checks,
    noise_results,
    objectives,
    robustness_results,
    tanh_ahead,
)
from helpers.experiments.sweeps import spiral_sweep, spiral_sweeps
from helpers.metrics.boundaries import BOUNDARY_MEASURES, boundary_measures
from helpers.robustness.verification import verify
from helpers.training.protocol import Training

EPSILONS = (0.5, 1.0, 2.0)
N_POINTS = 25


@pytest.fixture(scope="module")
def sweep():
    return spiral_sweep(
        activations=["tanh", "relu"],
        entanglements=[3, 5],
        seeds=[0, 1],
        hidden_layers=2,
        width=16,
        training=Training(epochs=40, learning_rate=0.005),
        distance=3,
    )


@pytest.fixture(scope="module")
def found(sweep):
    return attack_results(sweep, EPSILONS, N_POINTS)


def test_distance_of_the_spirals_is_the_one_asked_for(sweep):
    train = sweep.sets["train"][0]
    assert float(torch.cdist(train.x[train.y == 0], train.x[train.y == 1]).min()) == pytest.approx(3, rel=0.02)


def test_exact_best_and_single_attacks_come_in_order(found):
    robust = found["robust_accuracy"]
    exact, best = robust.sel(attack="exact"), robust.sel(attack="best")
    assert (exact <= best).all()
    for name in ("fgsm", "bim", "pgd"):
        assert (best <= robust.sel(attack=name)).all()
    assert (exact.diff("epsilon") <= 0).all()
    assert float(exact.min()) < 1  # the comparison is not empty
    assert list(robust["attack"].values) == ["fgsm", "bim", "pgd", "bim as coded", "best", "exact"]


def test_verifier_decides_and_is_never_contradicted(sweep, found):
    assert float(found["undecided"].max()) <= 0.001
    assert float(found["contradictions"].sum()) == 0
    x, y = sweep.data("test", N_POINTS)
    radii = verify(sweep.history.final, x, y, max(EPSILONS))
    broken = torch.isfinite(radii.broken)
    counter = torch.where(broken[..., None], radii.counterexample, x.double())
    assert (exact_margins(sweep.history.final.double(), counter, y)[broken] <= 1e-6).all()
    for epsilon, verdict in zip(EPSILONS, radii.decide(EPSILONS), strict=True):
        for attack in (pgd(20, 0.25, restarts=5), ExhaustiveSearch(side=31)):
            survived = attack(sweep.history.final, x, y, epsilon).robust
            assert not ((verdict == 1) & ~survived).any()
    # Certified radius ≤ true radius ≤ distance of every successful attack.
    assert (radii.certified <= radii.broken).all()
    lost = pgd(20, 0.25, restarts=5)(sweep.history.final, x, y, 2.0)
    distance = (lost.x.double() - x.double()).abs().amax(dim=2)
    assert (radii.certified <= distance)[~lost.robust & broken].all()


def test_a_contradiction_would_be_seen(sweep, monkeypatch):
    true = verify(sweep.history.final, *sweep.data("test", N_POINTS), max(EPSILONS))
    lying = type(true)(
        torch.full_like(true.certified, 2.0), torch.full_like(true.broken, torch.inf),
        true.counterexample, true.n_boxes, true.epsilon,
    )  # fmt: skip
    monkeypatch.setattr(robustness, "verify", lambda *_, **__: lying)
    assert float(attack_results(sweep, EPSILONS, N_POINTS)["contradictions"].sum()) > 0


def test_differences_are_those_of_the_accuracies(sweep, found):
    robust = found["robust_accuracy"]
    xr.testing.assert_allclose(
        found["overstated"].sel(attack="bim", drop=True),
        robust.sel(attack="bim", drop=True) - robust.sel(attack="exact", drop=True),
        check_dim_order=False,
    )
    xr.testing.assert_allclose(
        found["fgsm_less_bim"].sel(attack="bim as coded", drop=True),
        robust.sel(attack="fgsm", drop=True) - robust.sel(attack="bim as coded", drop=True),
        check_dim_order=False,
    )
    x, y = sweep.data("test", N_POINTS)
    clean = (exact_margins(sweep.history.final, x, y) > 0).double().mean(1)
    coded = bim_as_coded()(sweep.history.final, x, y, 1.0).robust_accuracy
    member = sweep.member(activation="relu", entanglement=5, seed=1)
    loss = found["robust_loss"].sel(attack="bim as coded", epsilon=1.0, activation="relu", entanglement=5, seed=1)
    assert float(loss) == pytest.approx(float(clean[member] - coded[member]))


def test_noise_costs_what_it_takes(sweep):
    results = noise_results(sweep, [0.5, 2.5])
    gap = results["clean_accuracy"] - results["noise_accuracy"]
    xr.testing.assert_allclose(results["noise_cost"], gap, check_dim_order=False)
    assert (results["noise_cost"].sel(noise=2.5) > results["noise_cost"].sel(noise=0.5)).all()


def test_boundaries_are_measured_around_each_members_spirals(sweep):
    results = boundary_results(sweep)
    assert set(results.data_vars) == set(BOUNDARY_MEASURES)
    member = sweep.member(activation="relu", entanglement=5, seed=1)
    reach = 1.1 * float(sweep.sets["train"][member].x.abs().max())
    alone = boundary_measures(sweep.history.final.select([member]), (-reach, reach, -reach, reach))
    where = {"activation": "relu", "entanglement": 5, "seed": 1}
    assert float(results["n_crossed"].sel(where)) == float(alone["n_crossed"])
    assert float(results["n_components"].sel(where)) == float(alone["n_components"].sum())
    assert results["n_crossed"].sel(activation="tanh").isnull().all()


def test_tanh_ahead_asks_for_one_epsilon():
    curves = xr.DataArray(
        # of a third activation, trained elsewhere only, nothing is known here
        [[[0.9, 0.5], [0.9, 0.5], [np.nan, 0.5]], [[1.0, 0.4], [1.0, 0.5], [1.0, 0.4]], [[np.nan] * 2] * 3],
        dims=("activation", "seed", "epsilon"),
        coords={"activation": ["tanh", "relu", "abs"]},
    )
    found = tanh_ahead(curves)
    assert found.values[:2].tolist() == [1.0, 0.0]
    assert np.isnan(found.values[2])


def test_results_of_several_sweeps_are_merged_over_distances_and_widths():
    three = ["tanh", "gelu", "relu"]
    options = {"activations": three, "seeds": [0, 1], "hidden_layers": 2, "training": Training(epochs=5)}
    sweeps = spiral_sweeps({"distance": [4]}, entanglements=[3, 5], width=8, **options)
    sweeps += spiral_sweeps({"distance": [2]}, entanglements=[5], width=8, **options)
    small = spiral_sweeps({"distance": [4, 2]}, entanglements=[5], width=4, **options)
    found = robustness_results(sweeps, small, epsilons=[1.0], noises=[0.5], n_points=5, boundaries_at=4)
    axes = {"distance": 2, "activation": 3, "entanglement": 2, "seed": 2}
    assert dict(found["robust_accuracy"].sizes) == {"attack": 6, "epsilon": 1, **axes}
    assert dict(found["tanh_ahead"].sizes) == {"attack": 6, **{n: k for n, k in axes.items() if n != "activation"}}
    assert dict(found["noise_accuracy"].sizes) == {"noise": 1, "width": 2, **axes}
    for group, width in ((sweeps, 8), (small, 4)):
        for sweep, distance in zip(group, (4, 2), strict=True):
            for entanglement in sweep.axes["entanglement"]:
                where = {"distance": distance, "entanglement": entanglement}
                here = found["noise_accuracy"].sel(where | {"width": width}).drop_vars("width")
                alone = noise_results(sweep, [0.5])["noise_accuracy"].sel(where)
                xr.testing.assert_allclose(here, alone, check_dim_order=False)
    alone = attack_results(sweeps[1], [1.0], 5)["robust_accuracy"].sel(distance=2, entanglement=5)
    xr.testing.assert_allclose(found["robust_accuracy"].sel(distance=2, entanglement=5), alone, check_dim_order=False)
    lengths = boundary_results(sweeps[0])["length_per_area"].sel(distance=4)
    xr.testing.assert_allclose(found["length_per_area"].sel(distance=4), lengths, check_dim_order=False)
    assert found["activation"].values.tolist() == three
    assert found["robust_accuracy"].sel(distance=4).notnull().all()  # of every activation
    assert found["length_per_area"].sel(distance=2).isnull().all()
    assert found["robust_accuracy"].sel(distance=2, entanglement=3).isnull().all()
    assert "clean_accuracy" not in found
    assert found["noise_accuracy"].sel(width=4, entanglement=3).isnull().all()


def test_checklist_looks_at_the_attacks_again(sweep, found):
    numbers = evaluation_checks(sweep, found, N_POINTS)
    assert numbers.sizes == {"check": 8}
    by_hand = {"undecided": found["undecided"].max(), "broke": found["contradictions"].sum()}
    for words, value in by_hand.items():
        (check,) = (name for name in numbers["check"].values if words in name and "gradients" not in name)
        assert float(numbers.sel(check=check)) == float(value)
    assert (numbers.drop_sel(check=numbers["check"].values[0]) >= 0).all()
    assert (numbers <= 0.2).all()
    saturated = found.assign(zero_gradients=found["zero_gradients"] * 0 + 0.9)
    assert float(evaluation_checks(sweep, saturated, N_POINTS).max()) == pytest.approx(0.9)


def test_definitions_are_not_the_same_property(sweep):
    one = sweep.select(entanglement=5, seed=1)
    found = definition_results(one, 1.2, 10)
    assert found.dims == ("definition", "verdict", "activation", "entanglement", "seed")
    assert found["definition"].values.tolist() == list(DEFINITIONS)
    assert (found.sum("verdict") == 10).all()
    assert len({tuple(row) for row in found.transpose("definition", ...).values.reshape(len(DEFINITIONS), -1)}) > 1
    name = "classification: argmax p = y"
    radii = verify(one.history.final, *one.data("test", 10), 1.2)
    proved = found.sel(definition=name, verdict="proved").values.flatten()
    assert proved.tolist() == (radii.certified >= 1.2).sum(1).tolist()


def test_objectives_are_trained_for_one_radius():
    chosen = objectives(0.7)
    assert list(chosen) == ["none", "noise", "FGSM", "PGD", "certified"]
    assert chosen["none"] is None
    assert {objective.epsilon for objective in chosen.values() if objective is not None} == {0.7}
