"""Training ordinary modules, one to a core, with an observation of each after every epoch.

`helpers.training.train` is for plain perceptrons; here PyTorch differentiates whatever the network computes. The
members of an ensemble take turns on the cores, each with its own streams, so that none can depend on another.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helpers.checks import Integer, Real
from helpers.models.losses import LOSSES
from helpers.seeding import torch_stream
from helpers.training.protocol import Training
from helpers.training.train import progress_bar

Data = tuple[Tensor, Tensor]
Observation = Callable[[int, nn.Module], Mapping[str, float]]

# Points evaluated together: their values in all layers should stay in the cache.
AT_ONCE = 500


@dataclass(frozen=True)
class Trace:
    """What training left behind.

    Attributes:
        networks: the trained networks, in evaluation mode.
        loss: mean training loss of each epoch as the steps saw it, dropout included, ``[n_epochs, n_networks]``.
        observed: what was observed after each epoch, by name, ``[n_epochs, n_networks]``, float64.
    """

    networks: tuple[nn.Module, ...]
    loss: Tensor
    observed: Mapping[str, Tensor]


@torch.no_grad()
def evaluate(network: nn.Module, x: Tensor) -> Tensor:
    """Return a network's outputs in evaluation mode, ``[n_points, n_out]``; its mode is as before afterwards."""
    was_training = network.training
    network.eval()
    outputs = torch.cat([network(part) for part in torch.split(x, AT_ONCE)])
    network.train(was_training)
    return outputs


def train_members(
    networks: Sequence[nn.Module],
    seeds: Sequence[int],
    data: Sequence[Data],
    training: Training,
    *,
    observe: Observation | None = None,
    rate_factor: float = 1.0,
    rate_every: int = 1,
    progress: bool | None = None,
) -> Trace:
    """Train each network on its own data, in an order drawn from its own seed.

    Args:
        networks: to start from; they are not changed.
        seeds: of the batch orders, one for each network.
        data: points ``[n_points, …]`` and targets, for each network; the same tensors may serve many.
        training: the protocol; one learning rate, or one for each network.
        observe: called with a network's number and the network in evaluation mode after each epoch, without
            gradients; the names it returns must always be the same.
        rate_factor: what the learning rate is multiplied by every ``rate_every`` epochs, above 0 and at most 1.
        rate_every: at least 1.
        progress: see `training.train`; counts networks.

    Raises:
        ValueError: the lists differ in length or are empty, targets do not suit the loss and the outputs, or a last
            batch of one point would meet a batch norm.
    """
    if not networks or len({len(networks), len(seeds), len(data)}) > 1:
        raise ValueError(
            "networks, seeds and data must have one entry for each of at least one member, "
            f"got {len(networks)}, {len(seeds)} and {len(data)}."
        )
    Real(above=0, at_most=1)("rate_factor", rate_factor)
    Integer(at_least=1)("rate_every", rate_every)
    rates = training.rates(len(networks))
    loss = torch.full((training.epochs, len(networks)), torch.nan)
    observations: list[list[Mapping[str, float]]] = [[] for _ in networks]

    def one(k: int) -> nn.Module:
        network, (x, y) = copy.deepcopy(networks[k]), data[k]
        _check(network, x, y, training)
        stream = torch_stream(seeds[k], "batch order")
        stepper = _optimiser(network, training, rates[k])
        decay = torch.optim.lr_scheduler.StepLR(stepper, rate_every, rate_factor)
        for epoch in range(training.epochs):
            network.train()
            loss[epoch, k] = _epoch(network, x, y, torch.randperm(len(x), generator=stream), stepper, training)
            decay.step()
            network.eval()
            if observe is not None:
                with torch.no_grad():
                    observations[k].append(observe(k, network))
        return network.eval()

    n_threads = torch.get_num_threads()
    with (
        ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        progress_bar(len(networks), "training", "network", progress) as bar,
    ):
        trained = []
        for network in pool.map(one, range(len(networks))):
            trained.append(network)
            bar.update()
    names = observations[0][0] if observe is not None and training.epochs else ()
    observed = {
        name: torch.tensor([[seen[name] for seen in member] for member in observations], dtype=torch.float64).T
        for name in names
    }
    return Trace(tuple(trained), loss, observed)


def _epoch(
    network: nn.Module, x: Tensor, y: Tensor, order: Tensor, stepper: torch.optim.Optimizer, training: Training
) -> float:
    total = 0.0
    for rows in torch.split(order, training.batch_size):
        stepper.zero_grad()
        logits = network(x[rows])
        value, slope = LOSSES[training.loss].function(logits.detach(), y[rows])
        # The registry's own derivative of the loss starts the backward pass.
        torch.autograd.backward(logits, slope / len(rows))
        stepper.step()
        total += float(value.sum())
    return total / len(x)


def _optimiser(network: nn.Module, training: Training, rate: float) -> torch.optim.Optimizer:
    decay = training.weight_decay
    if training.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=training.momentum, weight_decay=decay, fused=True)


def _check(network: nn.Module, x: Tensor, y: Tensor, training: Training) -> None:
    if not len(x) or len(x) != len(y):
        raise ValueError(f"data must hold at least one point and a target for each, got {len(x)} and {len(y)}.")
    LOSSES[training.loss].check(y, evaluate(network, x[:1]).shape[1])
    normed = any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules())
    if normed and len(x) % training.batch_size == 1:
        raise ValueError(
            f"batch_size must not leave a last batch of one point to a batch norm, got {training.batch_size} "
            f"with {len(x)} points."
        )
