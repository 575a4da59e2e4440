"""The results of chapter 3: every measure against what it is made of, and the verifier against the attacks."""

import numpy as np
import pytest
import torch
import xarray as xr

from helpers.attacks.attack import exact_margins
from helpers.attacks.gradient import bim_as_coded, pgd
from helpers.attacks.search import ExhaustiveSearch
from helpers.experiments.robustness import (
    at,
    boundary_results,
    noise_results,
    robustness_results,
    tanh_ahead,
    verified_radii,
)
from helpers.experiments.sweeps import spiral_sweep
from helpers.metrics.boundaries import BOUNDARY_MEASURES, boundary_measures
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
    return robustness_results(sweep, EPSILONS, N_POINTS)


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
    radii = verified_radii(sweep, max(EPSILONS), N_POINTS)
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
    from helpers.experiments import robustness as robustness_study

    true = robustness_study.verified_radii(sweep, max(EPSILONS), N_POINTS)
    lying = type(true)(
        torch.full_like(true.certified, 2.0), torch.full_like(true.broken, torch.inf),
        true.counterexample, true.n_boxes, true.epsilon,
    )  # fmt: skip
    monkeypatch.setattr(robustness_study, "verified_radii", lambda *_, **__: lying)
    assert float(robustness_results(sweep, EPSILONS, N_POINTS)["contradictions"].sum()) > 0


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


def test_results_of_several_sweeps_fit_together():
    one, two = (xr.Dataset({"a": ("seed", [float(d), 1.0])}, coords={"seed": [0, 1]}) for d in (2, 4))
    merged = xr.merge([at(one, distance=2, width=5), at(two, distance=4, width=5)], join="outer", compat="no_conflicts")
    assert merged["a"].sel(distance=4, width=5).values.tolist() == [4.0, 1.0]
