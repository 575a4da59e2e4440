"""The verifier proves nothing that is false, refutes only with a point in hand, and leaves little between the two."""

import math

import pytest
import torch

from helpers.datasets.spirals import spirals
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.norms import NORMS
from helpers.robustness import verification
from helpers.robustness.bounds import certified
from helpers.robustness.verification import positive_radii, verify
from helpers.training.protocol import Training
from helpers.training.train import train

EPSILONS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)


def networks(names=tuple(ACTIVATIONS), sizes=(2, 12, 12, 12, 2), seed=0):
    """Small networks with bends enough to have boundaries near every point."""
    ensemble = Ensemble(sizes, names, range(seed, seed + len(names)))
    flat = 3 * ensemble.flatten()
    flat[:, -len(sizes) + 2 :] = 0.3
    return ensemble.with_parameters(flat)


def some_points(n, seed=0):
    return 3 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def length(step, norm):
    return step.abs().amax(-1) if norm == "linf" else step.norm(dim=-1)


def check(ensemble, x, y, radii, norm):
    """What holds of every answer: proved balls are clean on a dense grid, counterexamples are what they say."""
    n, n_points = len(ensemble), len(x)
    right = ensemble(x).argmax(2) == y
    assert ((radii.broken == 0) == ~right).all()
    assert (radii.certified[~right] == 0).all()
    assert (radii.certified <= radii.broken).all()
    assert (radii.certified <= radii.epsilon).all()
    grid = torch.cartesian_prod(*2 * [torch.linspace(-1, 1, 41, dtype=torch.float64)])
    grid = grid / length(grid, norm)[:, None].clamp(min=1e-9) * grid.abs().amax(1, keepdim=True)
    for k in range(n_points):
        ball = x[k].double() + radii.certified[:, k, None, None] * (1 - 1e-9) * grid
        proved = ensemble(ball.float()).argmax(2) == y[:, k, None]
        assert (proved | ~right[:, k, None]).all()
    found = radii.broken.isfinite()
    assert (radii.counterexample.isfinite().all(2) == found).all()
    points = radii.counterexample.nan_to_num()
    assert ((ensemble(points.float()).argmax(2) != y) | ~found).all()
    torch.testing.assert_close(length(points - x.double(), norm)[found], radii.broken[found], rtol=0, atol=1e-12)
    assert (radii.broken[found] <= radii.epsilon).all()
    assert radii.n_boxes.shape == (n, n_points)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_answers_hold_for_every_activation(norm):
    ensemble, x = networks(), some_points(16)
    y = ensemble(x).argmax(2)
    y[:, ::8] = 1 - y[:, ::8]
    radii = verify(ensemble, x, y, 1.0, norm=norm)
    check(ensemble, x, y, radii, norm)
    gap = radii.broken.clamp(max=1.0) - radii.certified
    assert gap.max() < 0.01
    assert gap.mean() < 0.001
    assert (radii.broken[:, 1:8] < 1).any()
    assert (radii.certified == 1).any()


def test_three_classes():
    ensemble, x = networks(("tanh", "relu"), (2, 10, 10, 3)), some_points(20)
    y = ensemble(x).argmax(2)
    assert len(y.unique()) == 3
    radii = verify(ensemble, x, y, 1.5)
    check(ensemble, x, y, radii, "linf")
    assert (radii.broken.clamp(max=1.5) - radii.certified).max() < 0.01


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_radius_of_a_line_is_known(norm, dual):
    # A PReLU of slope 1 is the identity, the network linear: its boundary a line at |margin| / (dual norm).
    ensemble = networks(("prelu",), (2, 8, 8, 2))
    flat = ensemble.flatten()
    flat[:, -2:] = 1.0
    ensemble = ensemble.with_parameters(flat)
    w = [weight[0].double() for weight in ensemble.weights]
    row = torch.tensor([[1.0, -1.0]]).double() @ w[2] @ w[1] @ w[0]
    x = some_points(30)
    z = ensemble.select([0]).double()(x.double())[0].detach()
    exact = (z[:, 0] - z[:, 1]).abs() / row.detach().norm(p=dual)
    radii = verify(ensemble, x, ensemble(x)[0].argmax(1), 1.0, norm=norm, tolerance=1e-5)
    near = exact < 1
    assert near.any()
    assert (radii.certified[0] <= exact + 1e-12).all()
    assert (radii.broken[0] >= exact - 1e-5).all()  # seen in float32
    torch.testing.assert_close(radii.certified[0], exact.clamp(max=1), rtol=0, atol=3e-4)
    torch.testing.assert_close(radii.broken[0][near], exact[near], rtol=0, atol=3e-4)
    assert radii.n_boxes.max() < 50


def test_standard_networks_are_decided_at_every_epsilon():
    data = spirals(8.0)
    split = [data.split(seed=seed) for seed in range(2)]
    x, y = (torch.stack([getattr(part[0], name) for part in split]) for name in "xy")
    start = Ensemble([2, 50, 50, 50, 50, 50, 2], ["tanh", "relu"], range(2))
    ensemble = train(start, x, y, Training(), progress=False).final
    x, y = (torch.stack([getattr(part[1], name)[:330] for part in split]) for name in "xy")
    radii = verify(ensemble, x, y, 2.0)
    verdicts = radii.decide(EPSILONS)
    assert verdicts.shape == (6, 2, 330)
    assert (verdicts != -1).double().mean() >= 0.999
    shares = (verdicts == 1).double().mean(2)
    assert (shares.diff(dim=0) <= 0).all()
    assert (shares[0] > 0.98).all()
    assert (shares[-1] < 0.95).all()
    assert radii.n_boxes.double().mean() < 300


def test_a_spent_budget_leaves_points_undecided_not_wrong():
    ensemble, x = networks(("tanh", "gelu")), some_points(20)
    y = ensemble(x).argmax(2)
    full, short = verify(ensemble, x, y, 1.0), verify(ensemble, x, y, 1.0, budget=2)
    assert (short.certified <= full.broken).all()
    assert (short.broken >= full.certified).all()
    assert short.n_boxes.sum() < full.n_boxes.sum() / 2
    verdicts = short.decide([0.5])[0]
    assert (verdicts == -1).any()
    decided = verdicts != -1
    assert (verdicts == full.decide([0.5])[0])[decided].all()


def test_a_member_does_not_depend_on_its_neighbours_nor_points_on_blocks():
    ensemble, x = networks(), some_points(4)
    y = ensemble(x).argmax(2)
    together = verify(ensemble, x, y, 0.7)
    alone = ensemble.select([3])
    found = verify(alone, x, y[3], 0.7)
    torch.testing.assert_close(found.certified[0], together.certified[3], rtol=0, atol=1e-9)
    # All members in one batch, as on a GPU, in tiny blocks.
    rows = torch.tensor([1.0, -1.0]).double() * (1 - 2 * y[..., None, None]).double()
    batch = verification.Search(ensemble, x.double().expand(10, -1, -1), rows, torch.zeros(10, 4, 1).double(), 0.7,
                                NORMS["linf"], 1e-3, 10_000).run(150)  # fmt: skip
    torch.testing.assert_close(batch.certified, together.certified, rtol=0, atol=2e-3)
    assert (batch.certified <= together.broken).all()
    assert (together.certified <= batch.broken).all()


def test_equal_logits_are_decided_as_argmax_does():
    ensemble = networks(("relu", "relu"), (2, 4, 2))
    flat = torch.zeros_like(ensemble.flatten())
    ensemble = ensemble.with_parameters(flat)  # every logit is 0 everywhere
    x = some_points(3)
    first, second = (verify(ensemble, x, torch.full((3,), k), 0.5, budget=50) for k in (0, 1))
    assert (second.broken == 0).all()
    assert first.broken.isinf().all()
    assert (first.decide([0.25]) == -1).all()  # a tie is not proved


def test_other_properties_can_be_searched():
    # Class 0 by a margin of 1: holds less far than the class itself.
    ensemble, x = networks(("silu",)), some_points(30)
    x = x[ensemble(x)[0].argmax(1) == 0]
    rows = torch.tensor([[1.0, -1.0]]).double().expand(1, len(x), 1, 2)
    plain, strict = (
        positive_radii(ensemble, x.double()[None], rows, torch.full((1, len(x), 1), -margin).double(), 1.0)
        for margin in (0.0, 1.0)
    )
    assert (strict.certified <= plain.broken).all()
    assert (strict.certified < plain.certified).any()
    z = ensemble(strict.counterexample.nan_to_num().float())[0]
    assert ((z[:, 0] - z[:, 1] < 1) | strict.broken[0].isinf()).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be a finite number above 0"),
        ({"norm": "l1"}, "norm must be one of l2, linf"),
        ({"tolerance": -1.0}, "tolerance must be a finite number above 0"),
        ({"budget": 0}, "budget must be a whole number at least 1"),
        ({"ensemble": Ensemble([3, 4, 2], ["relu"], [0]), "x": torch.zeros(2, 3)}, "ensemble must have 2 inputs"),
        ({"y": torch.tensor([0, 2])}, "y must hold classes from 0 to 1"),
    ],
)
def test_bad_input_is_named(wrong, message):
    good = {"ensemble": networks(("relu",)), "x": torch.zeros(2, 2), "y": torch.tensor([0, 1]), "epsilon": 0.1}
    with pytest.raises(ValueError, match=message):
        verify(**(good | wrong))


def test_no_verdict_beyond_the_searched_radius():
    ensemble = networks(("relu",))
    radii = verify(ensemble, torch.zeros(1, 2), torch.tensor([0]), 0.2)
    with pytest.raises(ValueError, match=r"epsilon must be a finite number at least 0 and at most 0\.2"):
        radii.decide([0.3])
    assert math.isclose(radii.epsilon, 0.2)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_network_that_answers_nan_is_refuted_at_the_point_itself(norm, layer):
    ensemble, x = networks(), some_points(3)
    with torch.no_grad():
        ensemble.weights[layer][:, 0, 1] = torch.nan
    radii = verify(ensemble, x, torch.tensor([0, 1, 0]), 0.5, norm=norm)
    assert (radii.certified == 0).all()
    assert (radii.broken == 0).all()
    assert (radii.decide([0.0, 0.5]) == 0).all()


@pytest.mark.parametrize("size", [1e20, 1e25, 1e38])
def test_logits_that_overflow_are_not_proved(size):
    # Finite in float64, in which bounds are computed; as run, ∞ − ∞.
    ensemble, x = networks(("relu", "elu", "abs"), (2, 8, 8, 2)), some_points(4)
    large = ensemble.with_parameters(size * ensemble.flatten())
    as_run = large(x).isfinite().all(2)
    for y in (torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)):
        radii = verify(large, x, y, 0.1)
        assert (radii.certified[~as_run] == 0).all()
        assert not certified(large, x, y, 0.1)[~as_run].any()
        assert not certified(large, x, y, 0.1, method="interval")[~as_run].any()
    assert not as_run.all()


def test_no_points_and_points_that_are_no_numbers():
    ensemble = networks(("relu", "tanh"))
    none = verify(ensemble, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 0.1)
    assert none.certified.shape == none.broken.shape == (2, 0)
    assert none.counterexample.shape == (2, 0, 2)
    assert certified(ensemble, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 0.1).shape == (2, 0)
    lost = verify(ensemble, torch.full((1, 2), torch.nan), torch.tensor([0]), 0.1)
    assert (lost.certified == 0).all()
