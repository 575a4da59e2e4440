"""Training all members of an ensemble at once, with true snapshots of their weights on the way."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.checks import Choice, Integer, Real
from helpers.models import Ensemble, concatenate
from helpers.seeding import torch_stream

# Members trained side by side. The parameters, gradients and Adam moments of about forty networks of five
# layers of fifty fit the cache of a small machine; larger blocks only add trips to memory.
BLOCK = 40

OPTIMISERS = ("adam", "sgd")


@dataclass(frozen=True)
class Training:
    """How to train: the study's protocol by default (Ślusarz 2021, chapter 4).

    Attributes:
        epochs: passes over the training set, at least 0.
        batch_size: points a step, at least 1; the last batch of an epoch may be smaller.
        learning_rate: step size of the optimiser, above 0.
        optimiser: ``"adam"``, or ``"sgd"`` with momentum.
        momentum: momentum of SGD, at least 0 and at most 1.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.
    """

    epochs: int = 100
    batch_size: int = 50
    learning_rate: float = 1e-3
    optimiser: str = "adam"
    momentum: float = 0.9

    def __post_init__(self) -> None:
        Integer(at_least=0)("epochs", self.epochs)
        Integer(at_least=1)("batch_size", self.batch_size)
        Real(above=0)("learning_rate", self.learning_rate)
        Choice(OPTIMISERS)("optimiser", self.optimiser)
        Real(at_least=0, at_most=1)("momentum", self.momentum)

    def build(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser for these tensors; it works elementwise, so it never mixes members."""
        # Not fused: the fused kernels round the last few numbers of a tensor differently, and which ones are
        # last depends on the neighbours. This way a member trains to the bit as it would alone.
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, foreach=True)
        return torch.optim.SGD(parameters, lr=self.learning_rate, momentum=self.momentum, foreach=True)


@dataclass(frozen=True)
class History:
    """What training left behind.

    Attributes:
        epochs: the epochs of the snapshots, ascending; 0 is before training.
        ensembles: one ensemble for each of them, with the weights of that moment.
        loss: mean training loss of each epoch as the steps saw it, ``[n_epochs, n_networks]``.
    """

    epochs: tuple[int, ...]
    ensembles: tuple[Ensemble, ...]
    loss: Tensor

    def at(self, epoch: int) -> Ensemble:
        """Return the ensemble as it was at the end of this epoch.

        Raises:
            ValueError: there is no snapshot of this epoch.
        """
        if epoch not in self.epochs:
            raise ValueError(f"epoch must be one with a snapshot, {list(self.epochs)}, got {epoch!r}.")
        return self.ensembles[self.epochs.index(epoch)]

    @property
    def final(self) -> Ensemble:
        """The last snapshot."""
        return self.ensembles[-1]


def train(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    training: Training | None = None,
    *,
    snapshots: Collection[int] | None = None,
) -> History:
    """Train every member by minibatch steps on its softmax cross-entropy.

    Each member sees its own data in an order drawn from its own seed. Losses are averaged over a member's
    batch and summed over members, so no member's gradient depends on another.

    Args:
        ensemble: the networks to start from; it is not changed.
        x: training points, ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` shared by all.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``, int64.
        training: the protocol; by default the study's.
        snapshots: epochs after which to keep a copy of all weights; by default the last one. 0 is the state
            before training.

    Returns:
        The history; its last ensemble is the trained one if the last epoch is among the snapshots.

    Raises:
        ValueError: the shapes do not fit, or a snapshot is asked for outside 0 … epochs.
    """
    training = training or Training()
    wanted = sorted(set(snapshots if snapshots is not None else [training.epochs]))
    if not wanted:
        raise ValueError("snapshots must name at least one epoch, got none.")
    for epoch in wanted:
        Integer(at_least=0, at_most=training.epochs)("snapshots", epoch)
    n_networks = len(ensemble)
    if x.dim() == 2:
        x = x.expand(n_networks, *x.shape)
    if y.dim() == 1:
        y = y.expand(n_networks, *y.shape)
    if x.dim() != 3 or len(x) != n_networks or x.shape[:2] != y.shape or not x.shape[1]:
        raise ValueError(
            f"x and y must have shapes [{n_networks}, n_points, {ensemble.layer_sizes[0]}] and "
            f"[{n_networks}, n_points] with at least one point, got {list(x.shape)} and {list(y.shape)}."
        )
    # Blocks run side by side, one thread each. That is as fast as lending every operation all threads, does
    # not stall when the cores are busy elsewhere, and keeps the results free of the number of cores.
    workers = torch.get_num_threads()
    size = min(BLOCK, -(-n_networks // workers))
    slices = [slice(start, min(start + size, n_networks)) for start in range(0, n_networks, size)]
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [
            pool.submit(_train_block, ensemble.select(block), x[block], y[block], training, wanted) for block in slices
        ]
        blocks = [future.result() for future in futures]
    return History(
        tuple(wanted),
        tuple(concatenate(parts) for parts in zip(*(copies for copies, _ in blocks), strict=True)),
        torch.cat([loss for _, loss in blocks], dim=1),
    )


def _train_block(
    ensemble: Ensemble, x: Tensor, y: Tensor, training: Training, snapshots: list[int]
) -> tuple[list[Ensemble], Tensor]:
    optimiser = training.build(list(ensemble.parameters()))
    streams = [torch_stream(seed, "batch order") for seed in ensemble.seeds]
    n_points = x.shape[1]
    members = torch.arange(len(ensemble))[:, None]
    copies, losses = [], torch.zeros(training.epochs, len(ensemble))
    for epoch in range(training.epochs + 1):
        if epoch in snapshots:
            copies.append(ensemble.select(slice(None)))
        if epoch == training.epochs:
            break
        order = torch.stack([torch.randperm(n_points, generator=stream) for stream in streams])
        x_epoch, y_epoch = x[members, order], y[members, order]
        for start in range(0, n_points, training.batch_size):
            batch = slice(start, start + training.batch_size)
            logits, target = ensemble(x_epoch[:, batch]), y_epoch[:, batch]
            point_loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
            member_loss = point_loss.view(target.shape).mean(dim=1)
            optimiser.zero_grad()
            member_loss.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses[epoch] += member_loss.detach() * (target.shape[1] / n_points)
    return copies, losses
