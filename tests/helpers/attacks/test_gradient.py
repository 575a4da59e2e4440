"""FGSM, BIM and PGD agree point for point with an established library, on the same network, loss, start and step."""

from dataclasses import replace

import pytest
import torch

from helpers.attacks.attack import exact_margins
from helpers.attacks.gradient import bim, fgsm, pgd
from helpers.models import kernel
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble

foolbox = pytest.importorskip("foolbox", reason="foolbox, the library to agree with, is not installed")

EPSILON = 0.4
WAYS = pytest.mark.parametrize(
    ("dtype", "compiled"),
    [
        pytest.param(torch.float64, False, id="float64"),
        pytest.param(torch.float32, False, id="plain"),
        pytest.param(
            torch.float32,
            True,
            id="compiled",
            marks=pytest.mark.skipif(kernel.library() is None, reason="no C++ compiler was found"),
        ),
    ],
)


def from_start(kind, start):
    """A class of foolbox's with a given start instead of its own random one."""

    class FromStart(kind):
        def get_random_start(self, x0, epsilon):
            return type(x0)(start)

    return FromStart


def by_foolbox(attack, start, network, x, y, limits):
    """What foolbox's attack of the same settings makes of each point."""
    kinds = {
        ("linf", False): foolbox.attacks.LinfBasicIterativeAttack,
        ("l2", False): foolbox.attacks.L2BasicIterativeAttack,
        ("linf", True): foolbox.attacks.LinfProjectedGradientDescentAttack,
        ("l2", True): foolbox.attacks.L2ProjectedGradientDescentAttack,
    }
    if attack.steps == 1:
        kind = {"linf": foolbox.attacks.LinfFastGradientAttack, "l2": foolbox.attacks.L2FastGradientAttack}[attack.norm]
        theirs = kind()
    else:
        kind = from_start(kinds[attack.norm, attack.random_start], start)
        theirs = kind(rel_stepsize=attack.step, steps=attack.steps, random_start=attack.random_start)
    model = foolbox.PyTorchModel(network.eval(), bounds=limits, device="cpu")
    _, clipped, _ = theirs(model, x, foolbox.criteria.Misclassification(y), epsilons=EPSILON)
    return clipped


@WAYS
@pytest.mark.parametrize("limits", [(-100.0, 100.0), (-2.0, 2.0)], ids=["wide", "narrow"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "make",
    [
        fgsm,
        lambda norm: bim(10, 0.2, norm=norm),
        lambda norm: pgd(25, 0.07, norm=norm, loss="cross_entropy"),
    ],
    ids=["fgsm", "bim", "pgd"],
)
def test_agrees_point_for_point(make, norm, limits, dtype, compiled):
    names = list(ACTIVATIONS)
    ensemble = Ensemble([2, 20, 20, 20, 3], names, range(len(names))).to(dtype)
    stream = torch.Generator().manual_seed(4)
    x = (2 * torch.randn(len(names), 60, 2, generator=stream)).clamp(-2, 2).to(dtype)
    with torch.no_grad():
        for weight in ensemble.weights:
            weight *= 2
        y = ensemble(x).argmax(2)
    attack = replace(make(norm=norm), last=True, record=True, compiled=compiled)
    found = attack(ensemble, x, y, EPSILON, limits=limits)
    n_lost = 0
    for k in range(len(names)):
        expected = by_foolbox(attack, found.path[0][k], ensemble.member(k), x[k], y[k], limits)
        difference = (found.x[k] - expected).abs().amax(dim=1)
        n_lost += int((~found.robust[k]).sum())
        if dtype == torch.float64:
            assert difference.max() < 1e-5, names[k]
        else:
            # A gradient's coordinate that is zero but for rounding has the sign of the rounding; few points have one.
            assert float((difference > 1e-5).double().mean()) <= 0.05, names[k]
            assert torch.equal(found.robust[k][difference <= 1e-5], ~lost(ensemble, k, expected, y)[difference <= 1e-5])
    assert n_lost > 20


def lost(ensemble, k, x, y):
    return exact_margins(ensemble.select([k]), x[None], y[k : k + 1])[0] <= 0


def test_a_point_that_is_lost_is_left_where_it_was_lost():
    ensemble = Ensemble([2, 10, 2], ["tanh"], [0])
    x = torch.randn(1, 80, 2, generator=torch.Generator().manual_seed(0))
    y = ensemble(x).argmax(2)
    early = replace(bim(20, 0.1), record=True)(ensemble, x, y, 1.0)
    late = replace(bim(20, 0.1), last=True, record=True)(ensemble, x, y, 1.0)
    margins = torch.stack([exact_margins(ensemble, step, y) for step in late.path])
    first = (margins <= 0).double().argmax(0)
    fell = (margins <= 0).any(0)
    assert 5 < fell.sum() < 80
    for i in fell[0].nonzero()[:, 0]:
        torch.testing.assert_close(early.x[0, i], late.path[first[0, i], 0, i])
    assert torch.equal(early.path[0], x)
    assert len(early.path) == 21
    assert torch.equal(early.robust, ~fell)


def test_restarts_find_more_and_never_less():
    ensemble = Ensemble([2, 30, 30, 2], ["relu"] * 3, range(3))
    with torch.no_grad():
        for weight in ensemble.weights:
            weight *= 4
    x = torch.randn(3, 100, 2, generator=torch.Generator().manual_seed(0))
    y = ensemble(x).argmax(2)
    one, ten = (pgd(10, 0.3, restarts=n)(ensemble, x, y, 0.5) for n in (1, 10))
    assert not (ten.robust & ~one.robust).any()
    assert ten.robust_accuracy.mean() < one.robust_accuracy.mean()


def test_all_attacks_of_the_family_are_one_loop():
    assert fgsm() == replace(bim(), steps=1, step=1.0)
    assert pgd(4, 0.5, loss="cross_entropy") == bim(random_start=True)
