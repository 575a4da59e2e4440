"""What holds for every attack: ball, limits, ε = 0, known answers, and networks built to deceive."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.attacks.attack import Attacked, WorstOf, exact_margins, worse_of
from helpers.attacks.gradient import GradientAttack, bim, bim_as_coded, fgsm, pgd
from helpers.attacks.search import ExhaustiveSearch, RandomNoise, RandomSearch
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.norms import NORMS

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def every_attack(norm):
    """One of each, with few steps; the last two for the plane alone."""
    pieces = [
        RandomNoise(draws=3, norm=norm),
        RandomNoise(norm=norm, last=True),
        fgsm(norm=norm),
        replace(fgsm(norm=norm, loss="margin"), last=True),
        bim(norm=norm, random_start=True),
        pgd(5, 0.4, norm=norm, restarts=2),
        RandomSearch(steps=8, norm=norm),
        ExhaustiveSearch(side=5, zooms=1, norm=norm),
    ]
    return [*pieces, WorstOf(attacks=(pieces[2], pieces[5], pieces[7]))]


def linear(weights, biases, *, activation="relu"):
    """Networks whose margin for class 0 is exactly w·x + b."""
    n, d = len(weights), len(weights[0])
    ensemble = Ensemble([d, 2, 2], [activation] * n, range(n))
    w, b = torch.tensor(weights), torch.tensor(biases)
    with torch.no_grad():
        ensemble.weights[0].copy_(torch.stack([w, -w], dim=1))  # ReLU(z) − ReLU(−z) = z
        ensemble.biases[0].zero_()
        ensemble.weights[1].copy_(torch.tensor([[0.5, -0.5], [-0.5, 0.5]]).expand(n, 2, 2))
        ensemble.biases[1].copy_(torch.stack([b / 2, -b / 2], dim=1))
    return ensemble


@pytest.mark.parametrize("norm", list(NORMS))
@QUICK
@given(
    seed=st.integers(0, 10**6),
    names=st.lists(st.sampled_from(list(ACTIVATIONS)), min_size=1, max_size=3),
    width=st.integers(1, 9),
    n_out=st.integers(2, 4),
    size=st.sampled_from([0.1, 3.0, 30.0]),
    epsilon=st.sampled_from([0.0, 1e-3, 0.5, 4.0]),
    bounded=st.booleans(),
)
def test_every_point_lies_in_its_ball_and_limits(norm, seed, names, width, n_out, size, epsilon, bounded):
    stream = torch.Generator().manual_seed(seed)
    ensemble = Ensemble([2, width, width, n_out], names, range(seed, seed + len(names)))
    x = size * torch.randn(len(names), 6, 2, generator=stream)
    y = torch.randint(0, n_out, (len(names), 6), generator=stream)
    limits = (x.min(), x.max()) if bounded else None
    clean = exact_margins(ensemble, x, y)
    for attack in every_attack(norm):
        found = attack(ensemble, x, y, epsilon, limits=limits)
        assert found.x.shape == x.shape
        assert (NORMS[norm].length(found.x.double() - x.double()) <= epsilon + 1e-6).all(), attack
        if limits:
            assert ((found.x >= limits[0]) & (found.x <= limits[1])).all(), attack
        if not epsilon:
            assert torch.equal(found.x, x), attack
        torch.testing.assert_close(found.margin, exact_margins(ensemble, found.x, y), rtol=0, atol=1e-12)
        if not getattr(attack, "last", False):
            # Float32 finds the worst point, and may err by its own rounding.
            assert (found.margin <= clean + 1e-5 * (1 + clean.abs())).all(), attack


@pytest.mark.parametrize("epsilon", [0.25, 1.0])
def test_thesis_bim_leaves_its_ball_and_says_how_far(epsilon):
    attack = bim_as_coded()
    assert attack.reach == 3
    assert pgd().reach == 1
    ensemble = linear([[1.0, 1.0]], [0.0])
    x, y = torch.full((200, 2), 5.0), torch.zeros(200, dtype=torch.int64)
    found = attack(ensemble, x, y, epsilon)
    far = NORMS["linf"].length(found.x[0] - x) / epsilon
    assert 2.5 < far.max() <= 3 + 1e-6
    assert far.min() >= 1  # it starts within ε and walks 2 ε downhill
    inside = bim(random_start=True)(ensemble, x, y, epsilon)
    assert (NORMS["linf"].length(inside.x[0] - x) <= epsilon + 1e-6).all()


STRONG = {
    norm: [
        fgsm(norm=norm),
        fgsm(norm=norm, loss="margin"),
        bim(norm=norm),
        pgd(20, 0.25, norm=norm),
        RandomSearch(norm=norm),
        ExhaustiveSearch(norm=norm),
    ]
    for norm in NORMS
}


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("number", range(6))
def test_half_spaces_fall_at_their_distance_and_not_before(norm, dual, number):
    weights = [[1.0, 0.5], [-2.0, 0.3], [0.0, 1.0]]
    ensemble = linear(weights, [0.2, -0.4, 0.0])
    x = torch.tensor([[1.0, 2.0], [-3.0, 0.1], [0.5, 0.5], [2.0, -1.0]])
    margin = ensemble(x).detach()
    y = (margin[..., 1] > margin[..., 0]).long()
    gap = (margin[..., 0] - margin[..., 1]).abs().double()
    distance = gap / torch.tensor(weights).double().norm(dual, dim=1)[:, None]
    attack = STRONG[norm][number]
    # A random search comes close to the nearest point of a half-space, but not onto it.
    share = 1.02 if isinstance(attack, RandomSearch) else 1.001
    for k in range(3):
        one = ensemble.select([k])
        for i in range(4):
            point, label, radius = x[i : i + 1], y[k, i : i + 1], float(distance[k, i])
            assert bool(attack(one, point, label, 0.999 * radius).robust)
            assert not bool(attack(one, point, label, share * radius).robust)


def broken(change, n=3):
    """Networks that are right about the half-plane, each spoilt by `change`."""
    ensemble = linear([[1.0, 0.4]] * n, [0.0] * n)
    with torch.no_grad():
        change(ensemble)
    x = 2 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    return ensemble, x, (x @ torch.tensor([1.0, 0.4]) < 0).long()


def test_overconfident_network_hides_its_gradient_from_the_cross_entropy_alone():
    ensemble, x, y = broken(lambda e: e.weights[1].mul_(1e5))
    assert (ensemble(x).argmax(2) == y).all()
    blind, seeing = fgsm()(ensemble, x, y, 10.0), fgsm(loss="margin")(ensemble, x, y, 10.0)
    assert (blind.zero_gradients > 0.9).all()
    assert (blind.robust_accuracy > 0.9).all()
    assert (seeing.zero_gradients == 0).all()
    assert (seeing.robust_accuracy == 0).all()


def test_shattered_gradient_is_reported_and_does_not_stop_those_that_need_none():
    def shatter(ensemble):
        ensemble.weights[0].mul_(1e6)  # tanh becomes a step
        ensemble.activations = ("tanh",) * len(ensemble)

    ensemble, x, y = broken(shatter)
    for loss in ("cross_entropy", "margin"):
        blind = pgd(20, 0.25, loss=loss)(ensemble, x, y, 10.0)
        assert (blind.zero_gradients > 0.9).all()
    assert (fgsm(loss="margin")(ensemble, x, y, 10.0).robust_accuracy > 0.9).all()
    for attack in (RandomSearch(), ExhaustiveSearch(side=9)):
        assert (attack(ensemble, x, y, 10.0).robust_accuracy == 0).all()


def test_dead_network_is_wrong_from_the_start_and_has_no_gradient():
    def kill(ensemble):
        ensemble.biases[0].fill_(-1e3)

    ensemble, x, y = broken(kill)
    found = fgsm(loss="margin")(ensemble, x, y, 1.0)
    # All logits are equal: no class is ahead, and no point counts as robust.
    assert (found.margin == 0).all()
    assert (found.robust_accuracy == 0).all()
    every = replace(fgsm(loss="margin"), last=True)(ensemble, x, y, 1.0)
    assert (every.zero_gradients == 1).all()


def test_hidden_hole_is_found_by_the_grid():
    # |x| − 1 < 0 only near the axis: the gradient leads away from it.
    ensemble = Ensemble([2, 1, 2], ["abs"], [0])
    with torch.no_grad():
        ensemble.weights[0].copy_(torch.tensor([[[1.0, 0.0]]]))
        ensemble.biases[0].zero_()
        ensemble.weights[1].copy_(torch.tensor([[[0.0], [-1.0]]]))
        ensemble.biases[1].copy_(torch.tensor([[-0.05, 0.0]]))
    x, y = torch.tensor([[-1.0, 0.0]]), torch.tensor([0])  # margin |x| − 0.05
    step_too_long = replace(fgsm(loss="margin"), step=2.0)
    assert bool(step_too_long(ensemble, x, y, 2.0).robust)
    assert not bool(ExhaustiveSearch(side=41)(ensemble, x, y, 2.0).robust)
    assert not bool(WorstOf(attacks=(step_too_long, ExhaustiveSearch(side=41)))(ensemble, x, y, 2.0).robust)


@pytest.fixture(scope="module")
def tangled():
    """Untrained networks with steep weights, and points at which each is right or wrong as it happens."""
    names = ["tanh", "relu", "silu", "tanh"]
    ensemble = Ensemble([2, 20, 20, 3], names, [5, 6, 7, 5])
    with torch.no_grad():
        for weight in ensemble.weights:
            weight *= 4
    x = 2 * torch.randn(4, 40, 2, generator=torch.Generator().manual_seed(2))
    x[3] = x[0]
    y = ensemble(x).argmax(2)
    y[:, :5] = (y[:, :5] + 1) % 3
    return ensemble, x, y


@pytest.mark.parametrize("attack", every_attack("linf"), ids=lambda attack: type(attack).__name__)
def test_members_do_not_notice_their_neighbours(tangled, attack):
    ensemble, x, y = tangled
    together = attack(ensemble, x, y, 0.3)
    for k in range(4):
        alone = attack(ensemble.select([k]), x[k : k + 1], y[k : k + 1], 0.3)
        torch.testing.assert_close(alone.x[0], together.x[k], rtol=1e-4, atol=1e-4)
    # The same seed, network, points: the same random numbers.
    assert torch.equal(together.x[0], together.x[3])
    assert torch.equal(attack(ensemble, x, y, 0.3).x, together.x)


def test_safe_points_are_left_alone_and_lost_points_count_as_lost(tangled):
    ensemble, x, y = tangled
    safe = torch.zeros(4, 40, dtype=torch.bool)
    safe[:, ::2] = True
    free, held = pgd(10)(ensemble, x, y, 1.0), pgd(10)(ensemble, x, y, 1.0, safe=safe)
    assert torch.equal(held.x[safe], x[safe])
    assert (free.x[safe] != x[safe]).any()
    assert torch.equal(held.x[~safe], free.x[~safe])
    assert not held.robust[:, :5].any()
    assert torch.equal(held.x[:, :5], x[:, :5])


def test_worst_of_is_at_most_each_of_its_attacks(tangled):
    ensemble, x, y = tangled
    attacks = (RandomNoise(draws=5), fgsm(), pgd(10))
    for epsilon in (0.05, 0.2, 0.6):
        worst = WorstOf(attacks=attacks)(ensemble, x, y, epsilon)
        each = torch.stack([attack(ensemble, x, y, epsilon).robust for attack in attacks])
        assert torch.equal(worst.robust, each.all(0))


def test_worst_of_shares_its_mask_of_safe_points(tangled):
    ensemble, x, y = tangled
    safe = torch.ones(4, 40, dtype=torch.bool)
    found = WorstOf(attacks=(fgsm(), pgd(3)))(ensemble, x, y, 1.0, safe=safe)
    assert torch.equal(found.x, x)
    assert torch.equal(found.robust, exact_margins(ensemble, x, y) > 0)


def test_worse_of_keeps_the_smaller_margin():
    first = Attacked(torch.zeros(1, 2, 1), torch.tensor([[1.0, -1.0]]), torch.tensor([math.nan]))
    second = Attacked(torch.ones(1, 2, 1), torch.tensor([[0.5, 0.0]]), torch.tensor([0.25]))
    worst = worse_of(first, second)
    assert worst.x.flatten().tolist() == [1.0, 0.0]
    assert worst.margin.tolist() == [[0.5, -1.0]]
    assert worst.zero_gradients.tolist() == [0.25]


def test_shared_points_are_attacked_in_every_member():
    ensemble = Ensemble([2, 5, 2], ["tanh"] * 3, range(3))
    x, y = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(7, dtype=torch.int64)
    shared = fgsm()(ensemble, x, y, 0.5)
    own = fgsm()(ensemble, x.expand(3, 7, 2), y.expand(3, 7), 0.5)
    assert torch.equal(shared.x, own.x)


def test_margin_is_judged_in_double_precision():
    ensemble = Ensemble([2, 5, 2], ["tanh"], [0])
    x = torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(1, 9, dtype=torch.int64)
    logits = ensemble.member(0).double()(x[0].double())
    torch.testing.assert_close(exact_margins(ensemble, x, y)[0], logits[:, 0] - logits[:, 1], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "attack", [fgsm(), RandomNoise(), RandomSearch(), ExhaustiveSearch(), WorstOf(attacks=(fgsm(),))]
)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": -1.0}, "epsilon must be a finite number at least 0"),
        ({"x": torch.zeros(3, 4, 2)}, r"x must have shape \[2, n_points, 2\] or \[n_points, 2\]"),
        ({"y": torch.zeros(5, dtype=torch.int64)}, "y must hold classes, int64, of shape"),
        ({"limits": (1.0, 2.0)}, r"x must lie within its limits \(1.0, 2.0\), got values from 0 to 0"),
        ({"limits": (1.0, -1.0)}, r"limits must be the lowest and the highest value of an input, in this order"),
        ({"safe": torch.zeros(4, dtype=torch.bool)}, r"safe must have shape \[2, 4\]"),
    ],
)
def test_nonsense_is_refused(attack, change, words):
    options = {"x": torch.zeros(4, 2), "y": torch.zeros(4, dtype=torch.int64), "epsilon": 0.1} | change
    with pytest.raises(ValueError, match=words):
        attack(Ensemble([2, 3, 2], ["relu", "tanh"], [0, 1]), **options)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GradientAttack(steps=0), "steps must be"),
        (lambda: GradientAttack(step=0), "step must be"),
        (lambda: GradientAttack(norm="l1"), "norm must be one of l2, linf"),
        (lambda: GradientAttack(loss="squared_error"), "loss must be one of cross_entropy, margin"),
        (lambda: GradientAttack(restarts=2), "restarts must be a whole number at least 1 and at most 1"),
        (lambda: RandomNoise(draws=0), "draws must be"),
        (lambda: RandomSearch(steps=3), "steps must be"),
        (lambda: ExhaustiveSearch(side=10), "side must be odd"),
        (lambda: WorstOf(attacks=()), "attacks must be at least one"),
        (lambda: WorstOf(attacks=(fgsm(), fgsm(norm="l2"))), "attacks must be at least one, all with the same norm"),
    ],
)
def test_nonsense_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_exhaustive_search_is_for_the_plane():
    with pytest.raises(ValueError, match="two inputs to be searched, got 3"):
        ExhaustiveSearch()(Ensemble([3, 2, 2], ["relu"], [0]), torch.zeros(1, 3), torch.tensor([0]), 0.1)


@pytest.mark.parametrize("norm", list(NORMS))
def test_grid_has_its_corners_first_and_reaches_the_rim(norm):
    nodes = ExhaustiveSearch(norm=norm).nodes(5)
    assert len(nodes) == 25
    length = NORMS[norm].length(nodes)
    assert length.max() == pytest.approx(1)
    assert (length[:16] > 1 - 1e-12).all()  # 16 nodes on the rim of 5 × 5
    assert not nodes[-1].any()
    corner = {"linf": 1.0, "l2": 0.5**0.5}[norm]
    torch.testing.assert_close(nodes[:4].abs(), torch.full((4, 2), corner, dtype=torch.float64))
