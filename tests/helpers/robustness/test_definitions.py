"""Each definition's verdicts are what dense points show, where they can, and never the opposite."""

import pytest
import torch

from helpers.attacks.gradient import pgd
from helpers.models.ensemble import Ensemble
from helpers.robustness.definitions import (
    ClassificationRobustness,
    LipschitzRobustness,
    StandardRobustness,
    StrongClassificationRobustness,
    decide,
)
from helpers.robustness.verification import verify

NAMES = ("tanh", "relu", "gelu", "elu", "abs")  # S-shaped, kinked, not monotone, convex, folding
DEFINITIONS = [
    ClassificationRobustness(),
    StrongClassificationRobustness(0.7),
    StandardRobustness(0.2),
    LipschitzRobustness(0.4),
]
NAMED = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: type(d).__name__)


def networks(sizes=(2, 10, 10, 2), gain=2.5):
    ensemble = Ensemble(sizes, NAMES, range(len(NAMES)))
    return ensemble.with_parameters(gain * ensemble.flatten())


def problem(n=8, sizes=(2, 10, 10, 2)):
    ensemble = networks(sizes)
    x = 2 * torch.randn(n, sizes[0], generator=torch.Generator().manual_seed(1))
    y = ensemble(x).argmax(2)
    y[:, ::4] = 1 - y[:, ::4]
    return ensemble, x, y


def holds_on(definition, ensemble, x, y, steps):
    """Whether it holds at all of these steps from every point, ``[n_networks, n_points]``."""
    double, x = ensemble.select(slice(None)).double(), x.double()
    with torch.no_grad():
        own = double(x)
        logits = double((x[:, None] + steps).flatten(0, 1)).unflatten(1, (len(x), len(steps)))
    distance = steps.abs().amax(1).expand(logits.shape[:3])
    return definition.holds(logits, own[:, :, None], y[..., None].expand(logits.shape[:3]), distance).all(2)


@NAMED
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_verdicts_in_the_plane_are_what_dense_points_show(definition, epsilon):
    ensemble, x, y = problem()
    found = decide(definition, ensemble, x, y, epsilon)
    assert found.by == "verification"
    axis = epsilon * torch.linspace(-1, 1, 41, dtype=torch.float64)
    dense = holds_on(definition, ensemble, x, y, torch.cartesian_prod(axis, axis))
    assert dense[found.verdict == 1].all()  # what is proved is never seen to fail
    assert (found.verdict != -1).double().mean() > 0.97
    assert ((found.verdict == 1) == dense).double().mean() > 0.97
    assert epsilon < 0.5 or 0.05 < dense.double().mean() < 1
    certain, possible = found.shares
    assert (certain <= possible).all()


@NAMED
def test_all_shrink_with_the_ball_and_in_l2_less(definition):
    ensemble, x, y = problem()
    shares = [decide(definition, ensemble, x, y, epsilon).shares[0].mean() for epsilon in (0.05, 0.3, 0.8)]
    assert shares[0] >= shares[1] > shares[2]
    assert decide(definition, ensemble, x, y, 0.3, norm="l2").shares[0].mean() >= shares[1]


def test_classification_is_what_the_verifier_says():
    ensemble, x, y = problem()
    assert torch.equal(
        decide(ClassificationRobustness(), ensemble, x, y, 0.3).verdict, verify(ensemble, x, y, 0.3).decide([0.3])[0]
    )


def test_the_strong_one_implies_the_weak_one_and_the_standard_one_lies_between():
    ensemble, x, y = problem()
    weak, strong = (
        decide(d, ensemble, x, y, 0.3).verdict
        for d in (ClassificationRobustness(), StrongClassificationRobustness(0.6))
    )
    assert (weak[strong == 1] == 1).all()
    assert ((weak == 1) & (strong == 0)).any()
    loose, tight = (decide(StandardRobustness(d), ensemble, x, y, 0.3).verdict for d in (0.3, 0.1))
    assert (loose[tight == 1] == 1).all()
    # L · ε = δ: a network that changes no faster has not changed more.
    lipschitz = decide(LipschitzRobustness(1.0), ensemble, x, y, 0.3).verdict
    assert (loose[lipschitz == 1] == 1).all()
    assert (lipschitz == 1).any()


@NAMED
def test_elsewhere_bounds_prove_and_attacks_refute(definition):
    ensemble, x, y = problem(sizes=(5, 10, 10, 2))
    attack = pgd()
    near, far = (decide(definition, ensemble, x, y, epsilon, attack=attack) for epsilon in (0.01, 1.0))
    assert near.by == "bounds and attack"
    assert near.shares[0].mean() > far.shares[0].mean()
    for epsilon, found in ((0.01, near), (1.0, far)):
        stream = torch.Generator().manual_seed(0)
        steps = epsilon * (3 * torch.rand(400, 5, generator=stream, dtype=torch.float64) - 1.5).clamp(-1, 1)
        assert holds_on(definition, ensemble, x, y, steps)[found.verdict == 1].all()
    assert (far.verdict == 0).any()
    without = decide(definition, ensemble, x, y, 1.0)
    assert ((without.verdict == 0) <= (far.verdict == 0)).all()


def test_the_plane_and_the_bounds_never_disagree():
    ensemble, x, y = problem()
    for definition in DEFINITIONS:
        exact = decide(definition, ensemble, x, y, 0.1).verdict
        bounded = decide(definition, ensemble, x, y, 0.1, limits=(-50.0, 50.0), attack=pgd()).verdict
        both = (exact != -1) & (bounded != -1)
        assert both.any()
        assert (exact == bounded)[both].all()


def test_more_classes():
    ensemble = networks((2, 8, 8, 3))
    x = 2 * torch.randn(10, 2, generator=torch.Generator().manual_seed(1))
    y = ensemble(x).argmax(2)
    assert decide(ClassificationRobustness(), ensemble, x, y, 0.1).by == "verification"
    strong = decide(StrongClassificationRobustness(0.5), ensemble, x, y, 0.05, attack=pgd())
    assert strong.by == "bounds and attack"
    axis = 0.05 * torch.linspace(-1, 1, 21, dtype=torch.float64)
    dense = holds_on(StrongClassificationRobustness(0.5), ensemble, x, y, torch.cartesian_prod(axis, axis))
    assert dense[strong.verdict == 1].all()
    assert (strong.verdict == 1).any()
    for definition in (StandardRobustness(0.1), LipschitzRobustness(1.0)):
        with pytest.raises(ValueError, match="ensemble must have two classes"):
            decide(definition, ensemble, x, y, 0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: StrongClassificationRobustness(1.0), "confidence must be a finite number above 0 and below 1"),
        (lambda: StandardRobustness(0.0), "delta must be a finite number above 0 and below 1"),
        (lambda: LipschitzRobustness(-1.0), "constant must be a finite number above 0"),
        (lambda: decide(ClassificationRobustness(), *problem(), 0.0), "epsilon must be a finite number above 0"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def nothing_but_nan(sizes=(2, 8, 8, 2)):
    """Networks one of whose weights is NaN, as training that diverged may leave them."""
    ensemble = networks(sizes)
    with torch.no_grad():
        ensemble.weights[0][:, 0, 0] = torch.nan
    return ensemble


@NAMED
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("n_in", [2, 4])
def test_a_network_that_answers_nan_is_robust_in_no_sense(definition, norm, n_in):
    ensemble = nothing_but_nan((n_in, 8, 8, 2))
    x, y = torch.randn(3, n_in, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0])
    for attack in (None, pgd(3, norm=norm)):
        assert (decide(definition, ensemble, x, y, 0.1, norm=norm, attack=attack).verdict == 0).all()


@NAMED
def test_points_outside_the_limits_are_refused(definition):
    ensemble, x, y = problem()
    for limits in ((-0.1, 0.1), (50.0, -50.0)):
        for attack in (None, pgd(3)):
            with pytest.raises(ValueError, match="limits"):
                decide(definition, ensemble, x, y, 0.1, limits=limits, attack=attack)
