"""Ordinary modules train as elsewhere, each on its own, and are watched after every epoch."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.models.sequential import digit_network, perceptron
from helpers.seeding import torch_stream
from helpers.training.members import AT_ONCE, evaluate
from helpers.training.protocol import Training
from helpers.training.train import train

SIZES = [3, 8, 6, 2]


def points(n, seed, n_in=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n_in, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def pictures(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 12, 12, generator=generator), torch.arange(n) % 10


def numbers(network):
    return torch.cat([p.detach().flatten() for p in network.state_dict().values()])


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_plain_perceptrons_train_as_the_ensemble_does(optimiser, loss):
    x, y = points(90, 0)
    if loss == "squared_error":
        y = torch.stack([x[:, 0] * x[:, 1], x[:, 2]], dim=1)
    training = Training(epochs=4, batch_size=25, optimiser=optimiser, weight_decay=0.01, loss=loss)
    members = [(name, seed) for name in ACTIVATIONS for seed in (0, 5)]
    history = train(Ensemble(SIZES, *zip(*members, strict=True)), x, y, training, compiled=False)
    made = [perceptron(SIZES, name, seed, batch_norm=False) for name, seed in members]
    modules = train(made, x, y, training, seeds=[seed for _, seed in members])
    torch.testing.assert_close(modules.loss, history.loss, rtol=1e-4, atol=1e-5)
    for k, network in enumerate(modules.final):
        torch.testing.assert_close(evaluate(network, x), history.final(x)[k], rtol=1e-3, atol=1e-4)


def test_a_member_does_not_depend_on_its_neighbours():
    names, seeds, sets = ["relu", "tanh", "prelu", "sigmoid"], [3, 4, 4, 9], [pictures(40, k) for k in range(4)]
    training = Training(epochs=2, batch_size=16, weight_decay=1e-5)

    def run(members):
        made = [digit_network(names[k], seeds[k], size=12, dropout=0.25) for k in members]
        x, y = ([sets[k][side] for k in members] for side in (0, 1))
        return train(made, x, y, training, seeds=[seeds[k] for k in members])

    together = run(range(4))
    for k in range(4):
        alone = run([k])
        assert torch.equal(numbers(alone.final[0]), numbers(together.final[k]))
        assert torch.equal(alone.loss[:, 0], together.loss[:, k])


def test_networks_given_are_not_changed_and_no_global_state_is_touched():
    x, y = pictures(30, 0)
    network = digit_network("relu", 0, size=12, dropout=0.5)
    before, state = numbers(network), torch.get_rng_state()
    first, second = (train([network], x, y, Training(epochs=1, batch_size=10), seeds=[0]).final[0] for _ in range(2))
    assert torch.equal(numbers(network), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(numbers(first), numbers(second))
    assert not torch.equal(numbers(first), before)
    assert not first.training


def test_observed_after_each_epoch_in_evaluation_mode_without_gradients():
    x, y = pictures(30, 0)
    seen = []

    def observe(k, network):
        assert not network.training
        assert not torch.is_grad_enabled()
        seen.append((k, network[0].weight.detach().clone()))
        return {"mean": float(network(x).mean()), "number": k}

    networks = [digit_network("relu", seed, size=12, dropout=0.5) for seed in (0, 1)]
    history = train(networks, x, y, Training(epochs=3, batch_size=10), seeds=[0, 1], observe=observe)
    assert history.observed["number"].tolist() == [[0, 1]] * 3
    assert history.observed["mean"].shape == (3, 2)
    mine = [weight for k, weight in seen if k == 1]
    assert len(mine) == 3
    assert torch.equal(mine[-1], history.final[1][0].weight)
    assert not torch.equal(mine[0], mine[1])
    last = float(evaluate(history.final[0], x).mean())
    assert history.observed["mean"][-1, 0].item() == pytest.approx(last, rel=1e-5)


def test_learning_rate_falls_by_its_factor():
    # Plain gradient descent on a loss whose gradient is constant in the bias: the steps show the rates.
    network = perceptron([1, 1, 1], "relu", 0, batch_norm=False)
    x, y = torch.zeros(4, 1), torch.zeros(4, 1)
    seen = []
    falling = {"learning_rate": 1e-3, "rate_factor": 0.5, "rate_every": 2}
    protocol = Training(epochs=5, batch_size=4, optimiser="sgd", momentum=0.0, loss="squared_error", **falling)
    with torch.no_grad():
        network[2].bias.fill_(100.0)
        network[0].bias.fill_(-1.0)  # the hidden neuron is off
    train([network], x, y, protocol, seeds=[0], observe=lambda k, n: seen.append(float(n[2].bias)) or {"bias": 0.0})
    values = [100.0, *seen]
    rates = [(a - b) / (2 * a) for a, b in pairwise(values)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4], rel=1e-3)


def test_batch_orders_come_from_the_seed():
    x, y = points(64, 0)
    network = perceptron(SIZES, "tanh", 0, batch_norm=False)
    training = Training(epochs=1, batch_size=8)
    first, second = (train([network], x, y, training, seeds=[seed]).final[0] for seed in (0, 1))
    assert not torch.equal(numbers(first), numbers(second))
    by_hand = perceptron(SIZES, "tanh", 0, batch_norm=False)
    optimiser = torch.optim.Adam(by_hand.parameters(), lr=1e-3)
    for rows in torch.randperm(64, generator=torch_stream(1, "batch order")).split(8):
        optimiser.zero_grad()
        nn.functional.cross_entropy(by_hand(x[rows]), y[rows]).backward()
        optimiser.step()
    torch.testing.assert_close(numbers(second), numbers(by_hand))


def test_evaluation_in_parts_keeps_the_mode():
    x, _ = points(AT_ONCE + 3, 1)
    network = perceptron(SIZES, "relu", 0, dropout=0.5).train()
    torch.testing.assert_close(evaluate(network, x), network.eval()(x).detach())
    network.train()
    assert evaluate(network, x).shape == (AT_ONCE + 3, 2)
    assert network.training


def test_snapshots_are_the_weights_of_their_epochs():
    x, y = pictures(30, 0)
    starts = [digit_network("relu", seed, size=12, dropout=0.5) for seed in (0, 1)]
    history = train(starts, x, y, Training(epochs=4, batch_size=10), seeds=[0, 1], snapshots=[0, 2, 4])
    assert history.epochs == (0, 2, 4)
    for k, start in enumerate(starts):
        assert torch.equal(numbers(history.at(0)[k]), numbers(start))
        shorter = train([start], x, y, Training(epochs=2, batch_size=10), seeds=[k])
        assert torch.equal(numbers(history.at(2)[k]), numbers(shorter.final[0]))
        assert not torch.equal(numbers(history.at(2)[k]), numbers(history.final[k]))
    assert not any(network.training for networks in history.snapshots for network in networks)


def test_a_diverging_module_is_frozen_flagged_and_alone():
    x, y = points(40, 0)
    starts = [perceptron(SIZES, "relu", seed, batch_norm=False) for seed in (0, 1, 2)]
    rates = [0.01, 1e30, 0.01]
    protocol = {"epochs": 12, "batch_size": 40, "optimiser": "sgd"}
    options = {"seeds": [0, 1, 2], "observe": lambda k, network: {"number": k}, "snapshots": range(13)}
    with pytest.warns(RuntimeWarning, match="The loss of 1 of 3 members .* frozen: 1 in epoch"):
        history = train(starts, x, y, Training(learning_rate=rates, **protocol), **options)
    ((member, epoch),) = history.diverged.items()
    assert member == 1
    assert 1 <= epoch < 10
    for values in (history.loss, history.observed["number"]):
        assert values[:epoch].isfinite().all()
        assert values[epoch:, 1].isnan().all()
        assert values[:, [0, 2]].isfinite().all()
    assert torch.equal(numbers(history.at(epoch)[1]), numbers(history.final[1]))
    assert numbers(history.final[1]).isfinite().all()
    ensemble = Ensemble(SIZES, ["relu"] * 3, [0, 1, 2])
    with pytest.warns(RuntimeWarning, match="1 of 3"):
        stacked = train(ensemble, x, y, Training(learning_rate=rates, **protocol), compiled=False)
    assert stacked.diverged == history.diverged


def test_modules_are_not_trained_on_a_gpu_nor_beyond_the_memory():
    x, y = points(16, 0)
    networks = [perceptron(SIZES, "relu", 0)]
    with pytest.raises(
        ValueError, match=r"snapshots must fit into memory_gib = 1e-06, got 3 of 1 networks of \d+ param"
    ):
        train(networks, x, y, Training(epochs=2, batch_size=4), seeds=[0], snapshots=range(3), memory_gib=1e-6)
    with pytest.raises(ValueError, match="device must be"):
        train(networks, x, y, Training(epochs=2, batch_size=4), seeds=[0], device="cuda")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"networks": []}, "networks and seeds must have one entry for each of at least one member, got 0"),
        ({"seeds": [1, 2]}, "got 1 and 2"),
        ({"seeds": None}, "got 1 and no seeds"),
        ({"seeds": [-1]}, "seed must be a whole number at least 0"),
        ({"x": torch.zeros(0, 3), "y": torch.zeros(0).long()}, "x and y must hold at least one point"),
        ({"x": torch.zeros(5, 3), "y": torch.zeros(4).long()}, "and a target for each, got 5 and 4"),
        ({"y": torch.full((16,), 2)}, "y must hold classes from 0 to 1"),
        ({"x": torch.zeros(9, 3), "y": torch.zeros(9).long()}, "batch_size must not leave a last batch of one point"),
    ],
)
def test_wrong_arguments(change, words):
    x, y = points(16, 0)
    given = {"networks": [perceptron(SIZES, "relu", 0)], "seeds": [0], "x": x, "y": y} | change
    with pytest.raises(ValueError, match=words):
        train(**given, training=Training(epochs=1, batch_size=4))
