"""Objectives do what they say to points and losses, leave members independent, and buy robustness."""

import importlib
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from helpers.attacks.gradient import GradientAttack, bim, fgsm, pgd
from helpers.datasets.spirals import spirals
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import differentiate
from helpers.models.losses import LOSSES
from helpers.robustness.bounds import interval_bounds
from helpers.robustness.boxes import region
from helpers.robustness.objectives import Adversarial, Augmented, Certified, _draw, _grown
from helpers.robustness.verification import verify
from helpers.seeding import torch_stream
from helpers.training.protocol import Training
from helpers.training.runs import Run
from helpers.training.steps import Moment
from helpers.training.train import train

EVERY = [*ACTIVATIONS, "prelu"]
LOSS = LOSSES["cross_entropy"]
OBJECTIVES = [
    Augmented(0.3),
    Adversarial(0.3, bim(3, 0.3, random_start=True)),
    Certified(0.1),
    Adversarial(0.2, fgsm(norm="l2"), ramp=0.0),
]


def networks(names=EVERY, sizes=(2, 8, 8, 2)):
    return Ensemble(sizes, names, range(len(names)))


def batch(n_networks, n_points=12, seed=0):
    stream = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(n_networks, n_points, 2, generator=stream)
    return x, torch.randint(0, 2, (n_networks, n_points), generator=stream)


def moment(n_networks, progress=1.0):
    return Moment(progress, [torch_stream(seed, "test") for seed in range(n_networks)])


def slot_of(ensemble):
    return ensemble.with_parameters(torch.full_like(ensemble.flatten(), 7.0))


@pytest.mark.parametrize("objective", [Augmented(0.0), Adversarial(0.0), Certified(0.0), Certified(0.4, weight=0.0)])
def test_nothing_asked_is_plain_training(objective):
    ensemble, (x, y) = networks(), batch(len(EVERY))
    plain, slot = slot_of(ensemble), slot_of(ensemble)
    expected = differentiate(ensemble, plain, x, y, LOSS)
    found = objective(ensemble, slot, x, y, LOSS, moment(len(EVERY)))
    assert torch.equal(found, expected)
    assert torch.equal(slot.flatten(), plain.flatten())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_augmentation_moves_points_within_the_ball(norm):
    ensemble, (x, y) = networks(["tanh"]), batch(1, 400)
    seen = []

    def loss(logits, y):
        seen.append(logits)
        return LOSS.function(logits, y)

    objective = Augmented(0.5, norm=norm, limits=(-3.0, 3.0))
    spy = type(LOSS)("cross_entropy", loss, classes=True)
    x = x.clamp(-3, 3)
    objective(ensemble, slot_of(ensemble), x, y, spy, moment(1))
    move = 0.5 * _draw(norm, x, moment(1).streams)
    length = move.abs().amax(2) if norm == "linf" else move.norm(dim=2)
    assert length.max() <= 0.5
    assert length.max() > 0.45
    torch.testing.assert_close(seen[0], ensemble((x + move).clamp(-3, 3)).detach())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("steps", "step"), [(1, 1.0), (5, 0.3)])
def test_adversarial_points_are_those_of_the_attack(norm, steps, step):
    ensemble, (x, y) = networks(), batch(len(EVERY))
    attack = GradientAttack(steps=steps, step=step, norm=norm, loss="cross_entropy", last=True)
    moved = Adversarial(0.4, attack).attacked(ensemble, x, y, 0.4, [])
    torch.testing.assert_close(moved, attack(ensemble, x, y, 0.4).x, rtol=0, atol=1e-5)
    before, after = (LOSS.function(ensemble(points).detach(), y)[0].mean() for points in (x, moved))
    assert after > before + 0.01


def test_random_starts_stay_in_the_ball_and_differ_between_steps():
    ensemble, (x, y) = networks(), batch(len(EVERY))
    at = moment(len(EVERY))
    objective = Adversarial(0.4, pgd(2, 0.1))
    first, second = (objective.attacked(ensemble, x, y, 0.4, at.streams) for _ in range(2))
    assert not torch.allclose(first, second)
    for moved in (first, second):
        assert ((moved.double() - x.double()).abs() <= 0.4).all()


def test_certified_gradient_is_that_of_its_formula():
    ensemble, (x, y) = networks(), batch(len(EVERY))
    ensemble, x = ensemble.double(), x.double()
    slot = slot_of(ensemble)
    found = Certified(0.2, weight=0.5)(ensemble, slot, x, y, LOSS, moment(len(EVERY)))
    lower, upper = interval_bounds(ensemble, region(ensemble, x, 0.2), rounding=0.0)[-1]
    worst = torch.where(F.one_hot(y, 2).bool(), lower, upper)
    value = sum(F.cross_entropy(z.transpose(1, 2), y, reduction="none").mean(1) for z in (ensemble(x), worst)) / 2
    torch.testing.assert_close(found, value.detach())
    value.sum().backward()
    for written, parameter in zip(slot.parameters(), ensemble.parameters(), strict=True):
        torch.testing.assert_close(written.detach(), parameter.grad, rtol=1e-9, atol=1e-12)
    assert (worst.gather(2, y[..., None]) <= ensemble(x).gather(2, y[..., None])).all()


def test_what_is_asked_grows_with_the_training():
    assert [_grown(p, 0.2, 0.6) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert _grown(0.0, 0.0, 0.0) == 1.0
    assert [_grown(p, 0.5, 0.5) for p in (0.0, 0.4, 0.5, 1.0)] == [0, 0, 1, 1]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_members_are_independent_and_runs_repeat(objective):
    names, data = ["tanh", "relu", "gelu", "prelu", "abs"], spirals(3.0, n_per_class=40)
    ensemble, training = Ensemble([2, 10, 10, 2], names, range(5)), Training(epochs=5)
    together = train(ensemble, data.x, data.y, training, objective=objective, progress=False)
    again = train(ensemble, data.x, data.y, training, objective=objective, progress=False)
    assert torch.equal(together.final.flatten(), again.final.flatten())
    alone = train(ensemble.select([3]), data.x, data.y, training, objective=objective, progress=False)
    torch.testing.assert_close(alone.final.flatten()[0], together.final.flatten()[3], rtol=0, atol=1e-4)
    plain = train(ensemble, data.x, data.y, training, progress=False)
    assert (plain.final.flatten() - together.final.flatten()).abs().amax(1).min() > 1e-4


class Stop(Exception):
    pass


@pytest.mark.parametrize("objective", [Augmented(0.3), Adversarial(0.3, pgd(2, 0.3)), Certified(0.1)])
def test_a_killed_run_goes_on_to_the_same_end(objective, tmp_path, monkeypatch):
    module = importlib.import_module("helpers.training.train")
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(module, "LEG", 2)
    data, file = spirals(3.0, n_per_class=30), tmp_path / "run.pt"
    ensemble, training = Ensemble([2, 6, 2], ["tanh", "relu"], range(2)), Training(epochs=6)
    whole = train(ensemble, data.x, data.y, training, objective=objective, progress=False)
    save = Run.save

    def stop(self, path):
        save(self, path)
        if self.epoch == 4:
            raise Stop

    monkeypatch.setattr(Run, "save", stop)
    with pytest.raises(Stop):
        train(ensemble, data.x, data.y, training, objective=objective, checkpoint=file, progress=False)
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        train(ensemble, data.x, data.y, training, objective=Augmented(0.31), checkpoint=file, progress=False)
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        train(ensemble, data.x, data.y, training, checkpoint=file, progress=False)
    monkeypatch.setattr(Run, "save", save)
    resumed = train(ensemble, data.x, data.y, training, objective=objective, checkpoint=file, progress=False)
    assert torch.equal(resumed.final.flatten(), whole.final.flatten())


def test_an_objective_without_a_fingerprint_takes_no_checkpoint(tmp_path):
    @dataclass
    class Loose:
        def __call__(self, ensemble, gradient, x, y, loss, moment):
            return differentiate(ensemble, gradient, x, y, loss)

    data, ensemble = spirals(3.0, n_per_class=30), Ensemble([2, 6, 2], ["tanh"], [0])
    for objective in (Loose(), lambda *a: differentiate(*a[:-1])):
        with pytest.raises(ValueError, match="checkpoint must be left out where the objective"):
            train(ensemble, data.x, data.y, Training(epochs=1), objective=objective, checkpoint=tmp_path / "a")
        train(ensemble, data.x, data.y, Training(epochs=1), objective=objective, progress=False)  # without, it may


def test_trained_for_robustness_networks_are_more_robust():
    data = spirals(4.0, n_per_class=150)
    ensemble, training = Ensemble([2, 20, 20, 2], ["tanh", "relu"], range(2)), Training(epochs=60)
    radii = {}
    for name, objective in {
        "plain": None,
        "noise": Augmented(1.5),
        "pgd": Adversarial(1.5, bim(3, 0.3, random_start=True)),
    }.items():
        trained = train(ensemble, data.x, data.y, training, objective=objective, progress=False).final
        radii[name] = verify(trained, data.x[::6], data.y[::6], 2.0, tolerance=0.01).certified.mean(1)
    assert (radii["noise"] > radii["plain"]).all()
    assert (radii["pgd"] > radii["plain"]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Augmented(-1.0), "epsilon must be a finite number at least 0"),
        (lambda: Augmented(1.0, norm="l1"), "norm must be one of"),
        (lambda: Adversarial(1.0, pgd(restarts=2)), "attack must start once in a step of the training, got 2 restarts"),
        (lambda: Adversarial(1.0, ramp=2.0), "ramp must be a finite number at least 0 and at most 1"),
        (lambda: Certified(1.0, start=0.5, end=0.4), r"end must be a finite number at least 0\.5 and at most 1"),
        (lambda: Certified(1.0, weight=1.1), "weight must be a finite number at least 0 and at most 1"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize("objective", [Augmented, Adversarial, Certified])
def test_limits_are_checked_with_the_objective_and_with_the_points(objective):
    with pytest.raises(ValueError, match="limits must be the lowest and the highest value of an input, in this order"):
        objective(0.1, limits=(9.0, -9.0))
    ensemble, (x, y) = networks(["tanh"]), batch(1)
    with pytest.raises(ValueError, match="x must lie within its limits"):
        objective(0.1, limits=(0.0, 1.0))(ensemble, slot_of(ensemble), x, y, LOSS, moment(1))


def test_points_are_moved_by_every_step_whatever_the_attack_would_stop_at():
    ensemble, (x, y) = networks(), batch(len(EVERY))
    moved = Adversarial(0.4, fgsm()).attacked(ensemble, x, y, 0.4, [])
    torch.testing.assert_close((moved - x).abs().amax(2), torch.full(y.shape, 0.4))


def test_adversarial_training_needs_classes():
    ensemble, (x, _) = networks(["tanh"]), batch(1)
    with pytest.raises(ValueError, match="loss must be one of classes to be attacked, got squared_error"):
        Adversarial(0.1)(ensemble, slot_of(ensemble), x, x, LOSSES["squared_error"], moment(1))


def test_certified_training_needs_classes():
    ensemble, (x, y) = networks(["tanh"]), batch(1)
    with pytest.raises(ValueError, match="loss must be cross_entropy"):
        Certified(0.1)(ensemble, slot_of(ensemble), x, y, LOSSES["squared_error"], moment(1))


def test_only_an_attack_along_the_gradient_can_be_trained_against():
    with pytest.raises(TypeError, match=r"^attack must be one along the gradient, .* got 'pgd'\.$"):
        Adversarial(0.1, "pgd")
