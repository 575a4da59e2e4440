"""Ensemble training is the plain PyTorch loop, once for every member."""

import pytest
import torch
from torch import nn

from helpers.activations import ACTIVATIONS
from helpers.models import Ensemble
from helpers.seeding import torch_stream
from helpers.training import BLOCK, Training, train

SIZES = [2, 7, 6, 2]


def blobs(n, seed, gap=1.0):
    """Two overlapping clouds, as easy as the gap is wide."""
    stream = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    return torch.randn(n, 2, generator=stream) + gap * (2 * y[:, None] - 1), y


def own_blobs(n_networks, n):
    data = [blobs(n, seed) for seed in range(n_networks)]
    return torch.stack([x for x, _ in data]), torch.stack([y for _, y in data])


def plain_loop(network, seed, x, y, training):
    if training.optimiser == "adam":
        optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    else:
        optimiser = torch.optim.SGD(network.parameters(), lr=training.learning_rate, momentum=training.momentum)
    stream, losses = torch_stream(seed, "batch order"), []
    for _ in range(training.epochs):
        total = 0.0
        for batch in torch.randperm(len(x), generator=stream).split(training.batch_size):
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        losses.append(total / len(x))
    return losses


def distance(first, second):
    assert first.layer_sizes == second.layer_sizes
    return max(
        float((p - q).detach().abs().max()) for p, q in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["tanh", "relu", "prelu", "silu"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_one_member_is_the_plain_loop(optimiser, name):
    training = Training(epochs=4, batch_size=16, learning_rate=0.01, optimiser=optimiser, momentum=0.8)
    x, y = blobs(50, 1)  # the last batch has two points
    start = Ensemble(SIZES, [name], [9])
    network = start.member(0)
    losses = plain_loop(network, 9, x, y, training)
    history = train(start, x, y, training)
    found = list(history.final.member(0).parameters())
    for p, q in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)
    torch.testing.assert_close(history.loss[:, 0], torch.tensor(losses), rtol=0, atol=1e-5)
    assert distance(history.final, start) > 0.01


@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_member_of_fifty_is_the_same_seed_alone(name, optimiser):
    others = [*ACTIVATIONS]
    names = [name if k % 3 == 0 else others[k % len(others)] for k in range(50)]
    seeds = [100 + 3 * k for k in range(50)]
    training = Training(epochs=3, batch_size=10, learning_rate=0.01, optimiser=optimiser)
    x, y = own_blobs(50, 35)
    start = Ensemble(SIZES, names, seeds)
    together = train(start, x, y, training)
    assert together.loss.shape == (3, 50)
    assert together.final.seeds == tuple(seeds)
    assert together.final.activations == tuple(names)
    for k in (0, 3, BLOCK - 1, BLOCK, 48):
        alone = train(Ensemble(SIZES, [names[k]], [seeds[k]]), x[k], y[k], training)
        assert distance(together.final.select([k]), alone.final) < 1e-4
        torch.testing.assert_close(together.loss[:, k], alone.loss[:, 0], rtol=0, atol=1e-4)
        assert distance(start.select([k]), alone.final) > 0.01


def test_shared_data_are_everyones_own():
    x, y = blobs(30, 0)
    start = Ensemble(SIZES, ["relu", "tanh", "relu"], [1, 2, 1])
    training = Training(epochs=2, batch_size=7)
    shared = train(start, x, y, training).final
    own = train(start, x.expand(3, 30, 2).clone(), y.expand(3, 30).clone(), training).final
    assert distance(shared, own) == 0
    torch.testing.assert_close(shared.weights[0][0], shared.weights[0][2], rtol=0, atol=1e-6)


def test_snapshots_are_true():
    x, y = own_blobs(BLOCK + 2, 24)
    names = ["relu", "tanh"] * (BLOCK // 2 + 1)
    start = Ensemble(SIZES, names, range(BLOCK + 2))
    protocol = {"batch_size": 8, "learning_rate": 0.01}
    history = train(start, x, y, Training(epochs=5, **protocol), snapshots=[5, 0, 3, 3])
    assert history.epochs == (0, 3, 5)
    assert len(history.ensembles) == 3
    assert distance(history.at(0), start) == 0
    assert distance(history.at(0), history.at(3)) > 0.01
    assert distance(history.at(3), history.at(5)) > 0.01
    assert history.final is history.at(5)
    shorter = train(start, x, y, Training(epochs=3, **protocol))
    assert distance(history.at(3), shorter.final) == 0
    assert torch.equal(history.loss[:3], shorter.loss)
    addresses = {p.data_ptr() for e in (*history.ensembles, start) for p in e.parameters()}
    assert len(addresses) == 4 * len(list(start.parameters()))


def test_default_keeps_the_last_epoch_only():
    x, y = blobs(10, 0)
    history = train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=2))
    assert history.epochs == (2,)


def test_no_epochs_leave_the_start():
    x, y = blobs(10, 0)
    start = Ensemble(SIZES, ["relu"], [0])
    history = train(start, x, y, Training(epochs=0))
    assert distance(history.final, start) == 0
    assert history.loss.shape == (0, 1)


def test_input_is_not_changed():
    x, y = own_blobs(3, 20)
    start = Ensemble(SIZES, ["relu", "prelu", "tanh"], range(3))
    before = [p.detach().clone() for p in start.parameters()], x.clone(), y.clone()
    state = torch.get_rng_state()
    history = train(start, x, y, Training(epochs=2, batch_size=5))
    assert all(torch.equal(p, q) for p, q in zip(start.parameters(), before[0], strict=True))
    assert all(p.grad is None for p in start.parameters())
    assert torch.equal(x, before[1])
    assert torch.equal(y, before[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert distance(history.final, start) > 0


def test_only_slopes_of_prelu_members_learn():
    x, y = blobs(40, 0)
    start = Ensemble(SIZES, ["relu", "prelu", "tanh"], range(3))
    final = train(start, x, y, Training(epochs=3, learning_rate=0.01)).final
    for before, after in zip(start.slopes, final.slopes, strict=True):
        assert (before != after).tolist() == [False, True, False]


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_loss_falls_on_easy_data(optimiser):
    x, y = blobs(80, 0, gap=3.0)
    start = Ensemble(SIZES, list(ACTIVATIONS), range(len(ACTIVATIONS)))
    training = Training(epochs=25, batch_size=10, learning_rate=0.02, optimiser=optimiser)
    history = train(start, x, y, training)
    assert (history.loss[-1] < 0.1).all()
    assert (history.loss[0] > 2 * history.loss[-1]).all()


def test_training_in_double_precision_stays_double():
    x, y = blobs(20, 0)
    final = train(Ensemble(SIZES, ["relu"], [0]).double(), x.double(), y, Training(epochs=1)).final
    assert all(p.dtype == torch.float64 for p in final.parameters())


def test_history_names_its_snapshots():
    x, y = blobs(10, 0)
    history = train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=2), snapshots=[0, 2])
    with pytest.raises(ValueError, match=r"epoch must be one with a snapshot, \[0, 2\], got 1"):
        history.at(1)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"epochs": -1}, ValueError),
        ({"epochs": 2.0}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": "50"}, TypeError),
        ({"learning_rate": 0}, ValueError),
        ({"learning_rate": "1e-3"}, TypeError),
        ({"optimiser": "lbfgs"}, ValueError),
        ({"momentum": -0.1}, ValueError),
        ({"momentum": 1.1}, ValueError),
    ],
)
def test_wrong_protocols(change, error):
    (name,) = change
    with pytest.raises(error, match=f"^{name} must be"):
        Training(**change)


@pytest.mark.parametrize("snapshots", [[3], [-1], [0, 5]])
def test_snapshots_outside_the_run(snapshots):
    x, y = blobs(10, 0)
    with pytest.raises(ValueError, match="snapshots must be a whole number at least 0 and at most 2"):
        train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=2), snapshots=snapshots)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((2, 10, 2), (2, 10)),
        ((10, 2), (9,)),
        ((3, 10, 2), (3, 9)),
        ((3, 0, 2), (3, 0)),
        ((10,), (10,)),
        ((10, 3), (10,)),
        ((3, 10, 3), (3, 10)),
    ],
)
def test_shapes_that_do_not_fit(x_shape, y_shape):
    start = Ensemble(SIZES, ["relu"] * 3, range(3))
    with pytest.raises(ValueError, match=r"^x (and y )?must have shape"):
        train(start, torch.zeros(x_shape), torch.zeros(y_shape, dtype=torch.int64), Training(epochs=1))
