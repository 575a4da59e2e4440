"""The checklist of a trustworthy evaluation, on trained networks of every activation (Carlini et al. 2019)."""

from dataclasses import replace

import pytest
import torch

from helpers.attacks.attack import WorstOf
from helpers.attacks.curves import BEST, attack_curves, noise_accuracy, study_attacks
from helpers.attacks.gradient import bim_as_coded, fgsm, pgd
from helpers.attacks.search import ExhaustiveSearch
from helpers.experiments.sweeps import spiral_sweep
from helpers.models.activations import ACTIVATIONS
from helpers.norms import NORMS
from helpers.training.protocol import Training

EPSILONS = (0.5, 1.0, 2.0)
NAMES = list(ACTIVATIONS)
N_POINTS = 60
# Shares of points: what one, and what two of them make.
ONE, TWO = 1.01 / N_POINTS, 2.01 / N_POINTS
every_activation = pytest.mark.parametrize("name", NAMES)
each_norm = pytest.mark.parametrize("norm", list(NORMS))


@pytest.fixture(scope="module")
def trained():
    """A network of each activation that has learned the spirals, and test points of its own."""
    sweep = spiral_sweep(
        activations=NAMES,
        entanglements=[4],
        seeds=[0],
        hidden_layers=3,
        width=20,
        training=Training(epochs=60, learning_rate=0.003),
    )
    return sweep.history.final, *sweep.data("test", N_POINTS)


@pytest.fixture(scope="module")
def curves(trained):
    return {norm: attack_curves(*trained, EPSILONS, attacks=study_attacks(norm)) for norm in NORMS}


@pytest.fixture(scope="module")
def survivors(trained):
    """What survives some further attacks, by name and ε."""
    ensemble, x, y = trained
    strong = study_attacks()["pgd"]
    attacks = {
        "strong": strong,
        "longer": replace(strong, steps=100, step=0.1),
        "again": replace(strong, restarts=30),
        "exhaustive linf": ExhaustiveSearch(side=31),
        "exhaustive l2": ExhaustiveSearch(side=31, norm="l2"),
    }
    found = {(name, eps): one(*trained, eps).robust for name, one in attacks.items() for eps in EPSILONS}
    for norm in NORMS:
        # A ball that holds both spirals whole.
        every = WorstOf(attacks=(fgsm(norm=norm), pgd(20, 0.25, norm=norm, restarts=10), ExhaustiveSearch(norm=norm)))
        found[norm, 40.0] = every(*trained, 40.0).robust
    for eps in EPSILONS:
        found["double", eps] = strong(ensemble.select(slice(None)).double(), x.double(), y, eps).robust
    return found


@pytest.fixture(scope="module")
def clean(trained):
    return fgsm()(*trained, 0.0).robust_accuracy


def of(name, values):
    """The one network with this activation."""
    return values[..., NAMES.index(name)]


def attack(curves, name):
    return curves.robust_accuracy[curves.attacks.index(name)]


def share(robust, name):
    return float(robust[NAMES.index(name)].double().mean())


def test_the_networks_have_learned_something(clean):
    assert of("relu", clean) > 0.9
    assert of("tanh", clean) > 0.9
    assert (clean > 0.4).all()


@every_activation
@each_norm
def test_success_rises_with_epsilon_and_becomes_certain(curves, survivors, name, norm):
    assert (of(name, attack(curves[norm], BEST)).diff() <= 0).all()
    assert (of(name, attack(curves[norm], "pgd")).diff() <= ONE).all()
    assert share(survivors[norm, 40.0], name) == 0


@every_activation
@each_norm
def test_exhaustive_search_best_attack_and_fgsm_come_in_this_order(curves, survivors, name, norm):
    for number, epsilon in enumerate(EPSILONS):
        best = attack(curves[norm], BEST)[number]
        assert share(survivors[f"exhaustive {norm}", epsilon], name) <= of(name, best)
        for weaker in ("fgsm", "bim", "pgd"):
            assert of(name, best) <= of(name, attack(curves[norm], weaker)[number])


@every_activation
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_more_steps_more_restarts_and_more_precision_change_nothing(survivors, name, epsilon):
    base = share(survivors["strong", epsilon], name)
    for other in ("longer", "again", "double"):
        assert share(survivors[other, epsilon], name) == pytest.approx(base, abs=TWO), other


@every_activation
@each_norm
def test_search_without_gradients_does_not_win(curves, name, norm):
    assert of(name, curves[norm].search_wins).max() <= ONE


@every_activation
@each_norm
def test_share_of_zero_gradients_is_reported(curves, name, norm):
    found = of(name, curves[norm].zero_gradients[:3])
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[2] < 0.05).all()  # the margin's gradient does not vanish in these networks


@every_activation
def test_noise_costs_less_than_the_worst_case(trained, curves, clean, name):
    noise = of(name, noise_accuracy(*trained, EPSILONS))
    assert (noise >= of(name, attack(curves["linf"], BEST)) - 1e-12).all()
    torch.testing.assert_close(of(name, noise_accuracy(*trained, [0.0])), of(name, clean)[None])


def test_points_proved_safe_change_no_curve_but_their_work(trained, curves):
    ensemble, x, y = trained
    # What survives everything at ε = 0.5 is as good as proved for this test.
    radius = torch.where(curves["linf"].survived[0], 0.5, 0.0)
    again = attack_curves(ensemble, x, y, EPSILONS[:1], certified=radius)
    assert torch.equal(again.survived, curves["linf"].survived[:1])


def test_an_attack_that_leaves_its_ball_is_not_among_the_best(trained):
    ensemble, x, y = trained
    every = study_attacks()
    only_in_ball = {name: one for name, one in every.items() if one.reach == 1}
    with_it, without = (attack_curves(ensemble, x, y, (1.0,), attacks=some) for some in (every, only_in_ball))
    assert torch.equal(with_it.survived, without.survived)
    assert with_it.attacks == ("fgsm", "bim", "pgd", "bim as coded", BEST)


def test_curves_need_attacks_of_one_norm_and_a_radius(trained):
    for attacks in ({}, {"one": fgsm(), "other": fgsm(norm="l2")}):
        with pytest.raises(ValueError, match="attacks must be at least one, all with the same norm"):
            attack_curves(*trained, EPSILONS, attacks=attacks)
    with pytest.raises(ValueError, match="epsilons must be at least one radius"):
        attack_curves(*trained, [])
    alone = attack_curves(*trained, EPSILONS[:1], attacks={"bim as coded": bim_as_coded()}, search_steps=4)
    assert (alone.robust_accuracy[1] > alone.robust_accuracy[0]).any()  # what leaves its ball is not counted
