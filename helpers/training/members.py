"""Training ordinary modules, one to a core, with an observation of each after every epoch.

Ensembles of plain perceptrons have a quicker way (`helpers.training.runs`); here PyTorch differentiates whatever the
network computes. The networks take turns on the cores, each with its own streams, so that none can depend on another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from helpers.models.losses import LOSSES
from helpers.seeding import torch_stream
from helpers.threads import side_by_side
from helpers.training.history import History
from helpers.training.progress import progress_bar
from helpers.training.protocol import Training
from helpers.training.runs import check_memory

Observation = Callable[[int, nn.Module], Mapping[str, float]]

# Points evaluated together: their values in all layers should stay in the cache.
AT_ONCE = 500


@torch.no_grad()
def evaluate(network: nn.Module, x: Tensor) -> Tensor:
    """Return a network's outputs in evaluation mode, ``[n_points, n_out]``; its mode is as before afterwards."""
    was_training = network.training
    network.eval()
    outputs = torch.cat([network(part) for part in torch.split(x, AT_ONCE)])
    network.train(was_training)
    return outputs


def train_modules(
    networks: Sequence[nn.Module],
    seeds: Sequence[int],
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    training: Training,
    wanted: Sequence[int],
    *,
    observe: Observation | None = None,
    progress: bool | None = None,
    memory_gib: float = 2.0,
) -> History[Sequence[nn.Module]]:
    """Train each network on its own data, in an order drawn from its own seed: the part of `train` for modules.

    Args:
        networks: to start from; they are not changed.
        seeds: of the batch orders, one for each network.
        x: points of each network, ``[n_points, …]``; the same tensor may serve many.
        y: targets of each.
        training: the protocol.
        wanted: the epochs of the snapshots, ascending.
        observe: as in `train`.
        progress: as in `train`; counts networks.
        memory_gib: as in `train`.

    Raises:
        ValueError: targets do not suit the loss and the outputs, a last batch of one point would meet a batch norm, or
            the snapshots need too much memory.
    """
    sizes = [sum(values.numel() for values in network.state_dict().values()) for network in networks]
    check_memory(len(wanted), len(networks), max(sizes), 4 * sum(sizes), memory_gib)
    rates = training.rates(len(networks))
    loss = torch.full((training.epochs, len(networks)), torch.nan)
    observations: list[list[Mapping[str, float]]] = [[] for _ in networks]
    diverged: dict[int, int] = {}

    def train_one(k: int) -> list[nn.Module]:
        network = copy.deepcopy(networks[k])
        _check(network, x[k], y[k], training)
        stream = torch_stream(seeds[k], "batch order")
        stepper = _optimiser(network, training, rates[k])
        decay = torch.optim.lr_scheduler.StepLR(stepper, training.rate_every, training.rate_factor)
        kept = [copy.deepcopy(network).eval()] if 0 in wanted else []
        for epoch in range(training.epochs):
            if k not in diverged:
                network.train()
                mean = _epoch(network, x[k], y[k], torch.randperm(len(x[k]), generator=stream), stepper, training)
                loss[epoch, k] = mean
                decay.step()
                network.eval()
                if math.isnan(mean):
                    diverged[k] = epoch
                elif observe is not None:
                    with torch.no_grad():
                        observations[k].append(observe(k, network))
            if epoch + 1 in wanted:
                kept.append(network if epoch + 1 == training.epochs else copy.deepcopy(network))
        bar.update()
        return kept

    with progress_bar(len(networks), "training", "network", progress) as bar:
        snapshots = side_by_side(train_one, range(len(networks)))
    kept = tuple(zip(*snapshots, strict=True))
    return History(tuple(wanted), kept, loss, dict(sorted(diverged.items())), _table(observations, training.epochs))


def _table(observations: Sequence[Sequence[Mapping[str, float]]], n_epochs: int) -> dict[str, Tensor]:
    """Observations by name, ``[n_epochs, n_networks]``; NaN from where a network had diverged."""
    names = next((epochs[0] for epochs in observations if epochs), {})
    table = {name: torch.full((n_epochs, len(observations)), torch.nan, dtype=torch.float64) for name in names}
    for name, column in table.items():
        for k, epochs in enumerate(observations):
            column[: len(epochs), k] = torch.tensor([seen[name] for seen in epochs], dtype=torch.float64)
    return table


def _epoch(
    network: nn.Module, x: Tensor, y: Tensor, order: Tensor, stepper: torch.optim.Optimizer, training: Training
) -> float:
    """Take the steps of an epoch and return the mean loss; NaN, from before the step with it, if it is not finite."""
    total = 0.0
    for rows in torch.split(order, training.batch_size):
        stepper.zero_grad()
        logits = network(x[rows])
        value, slope = LOSSES[training.loss].function(logits.detach(), y[rows])
        total += float(value.sum())
        if not math.isfinite(total):
            return math.nan
        # The registry's own derivative of the loss starts the backward pass.
        torch.autograd.backward(logits, slope / len(rows))
        stepper.step()
    return total / len(x)


def _optimiser(network: nn.Module, training: Training, rate: float) -> torch.optim.Optimizer:
    decay = training.weight_decay
    if training.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=training.momentum, weight_decay=decay, fused=True)


def _check(network: nn.Module, x: Tensor, y: Tensor, training: Training) -> None:
    if not len(x) or len(x) != len(y):
        raise ValueError(f"x and y must hold at least one point and a target for each, got {len(x)} and {len(y)}.")
    LOSSES[training.loss].check(y, evaluate(network, x[:1]).shape[1])
    normed = any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules())
    if normed and len(x) % training.batch_size == 1:
        raise ValueError(
            f"batch_size must not leave a last batch of one point to a batch norm, got {training.batch_size} "
            f"with {len(x)} points."
        )
