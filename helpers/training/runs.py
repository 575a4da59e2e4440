"""The state of a training run: what its steps change, in compiled code or in plain PyTorch, and its checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from helpers.files import replacing
from helpers.models import kernel
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import differentiate
from helpers.models.losses import LOSSES
from helpers.seeding import torch_stream
from helpers.training.protocol import Training
from helpers.training.steps import Moment, Objective, optimiser

# Members that plain PyTorch trains side by side in one thread. With fewer, threads wait for each other's turn in Python
# more than they compute; with more, the arrays leave the cache.
FEWEST, MOST = 40, 125
# With an objective of its own a step computes so much more that fewer members keep a thread busy.
FEWEST_WITH_OBJECTIVE = 4
# What the kernel may need for one network: beyond the caches, PyTorch's products of large matrices are as fast.
KERNEL_BYTES = 2**25
# What plain PyTorch may need for the points of the batches to come, put in order beforehand for all members.
GATHERED_BYTES = 2**28


def check_memory(n_snapshots: int, n_networks: int, n_parameters: int, n_bytes: int, memory_gib: float) -> None:
    """Raise ValueError unless so many snapshots and the state of training fit into memory.

    Args:
        n_snapshots: how many.
        n_networks: in each.
        n_parameters: of each, at most.
        n_bytes: of all networks together.
        memory_gib: what there is, GiB.
    """
    needed = (n_snapshots + 3) * n_bytes / 2**30  # the state: parameters and two moments
    if needed > memory_gib:
        raise ValueError(
            f"snapshots must fit into memory_gib = {memory_gib:g}, got {n_snapshots} of {n_networks} networks "
            f"of {n_parameters} parameters, which need {needed:.2g} GiB: ask for fewer, or allow more."
        )


class Run:
    """A run of an ensemble's training, between its epochs.

    Args:
        ensemble: the networks to start from.
        x: points, ``[n_networks, n_points, n_in]``, on the device that is to train.
        y: targets, there too.
        training: the protocol.
        wanted: epochs of the snapshots, ascending.
        memory_gib: what the state and the snapshots may need.
        objective: what to make smaller instead of the mean loss of a batch.

    Attributes:
        n_parameters: of each member.
        parameters, first, second: numbers of the members and their moments, ``[n_networks, n_parameters]`` and some
            columns of zeros.
        loss: mean loss of each epoch, NaN where there is none, ``[n_epochs, n_networks]``.
        diverged: epochs a diverged member had finished, −1 for the others, ``[n_networks]``.
        snapshots: ``[n_snapshots, n_networks, n_parameters]``.
        streams: each member's stream of batch orders.
        epoch: the number of epochs done.

    Raises:
        ValueError: the snapshots need too much memory, or there are too many or few learning rates.
    """

    KEPT = ("parameters", "first", "second", "loss", "diverged", "snapshots")

    def __init__(
        self,
        ensemble: Ensemble,
        x: Tensor,
        y: Tensor,
        training: Training,
        wanted: list[int],
        *,
        memory_gib: float,
        objective: Objective | None = None,
    ) -> None:
        self.objective = objective
        self.ensemble, self.x, self.y, self.training, self.wanted = ensemble, x, y, training, wanted
        flat = ensemble.flatten().to(x.device)
        self.n_parameters = flat.shape[1]
        training.rates(len(ensemble))  # as many as members
        check_memory(len(wanted), len(ensemble), self.n_parameters, flat.nbytes, memory_gib)
        # Whole vectors: an array's last few numbers are rounded differently, and would depend on the neighbours.
        self.parameters = torch.nn.functional.pad(flat, (0, -self.n_parameters % 64))
        self.first, self.second = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.loss = torch.full((training.epochs, len(ensemble)), torch.nan, dtype=flat.dtype)
        self.diverged = torch.full((len(ensemble),), -1)
        self.snapshots = torch.zeros(len(wanted), *flat.shape, dtype=flat.dtype)
        self.streams = [torch_stream(seed, "batch order") for seed in ensemble.seeds]
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self.epoch * -(-self.x.shape[1] // self.training.batch_size)

    def orders(self, member: int, n_epochs: int) -> Tensor:
        """Draw the order of the points for the next epochs of a member, ``[n_epochs, n_points]``."""
        stream, n_points = self.streams[member], self.x.shape[1]
        return torch.stack([torch.randperm(n_points, generator=stream) for _ in range(n_epochs)])

    def can_compile(self, wish: bool = True) -> bool:
        """Whether the kernel can train these networks here."""
        batch = min(self.training.batch_size, self.x.shape[1])
        n_floats = 5 * self.n_parameters + 4 * batch * sum(self.ensemble.layer_sizes)
        return (
            wish
            and self.objective is None
            and self.x.device.type == "cpu"
            and self.x.dtype == torch.float32
            and 4 * n_floats <= KERNEL_BYTES
            and set(self.ensemble.activations) <= set(kernel.ACTIVATION_CODES)
            and kernel.library() is not None
        )

    def kernel_jobs(self, n_epochs: int) -> list[Callable[[], None]]:
        """One job for each member, that trains it for some epochs in compiled code."""
        if not n_epochs:
            return []
        return [partial(self._compiled, k, n_epochs) for k in range(len(self.ensemble)) if self.diverged[k] < 0]

    def _compiled(self, k: int, n_epochs: int) -> None:
        training = self.training
        protocol = kernel.TrainingProtocol(
            kernel.ACTIVATION_CODES.index(self.ensemble.activations[k]),
            kernel.LOSS_CODES.index(training.loss),
            kernel.OPTIMISER_CODES.index(training.optimiser),
            kernel.OUTPUT_CODES.index(self.ensemble.output),
            self.ensemble.output_bias,
            training.rates(len(self.ensemble), self.epoch)[k],
            *((0.9, 0.999) if training.optimiser == "adam" else (training.momentum, 0.0)),  # PyTorch's defaults
            1e-8,
            training.weight_decay,
        )
        y = self.y[k].float()
        loss = torch.full((n_epochs,), torch.nan)
        finished = kernel.train_network(
            protocol,
            self.ensemble.layer_sizes,
            self.x[k].contiguous(),
            (y[:, None] if LOSSES[training.loss].classes else y).contiguous(),
            self.orders(k, n_epochs),
            training.batch_size,
            self.steps,
            (self.parameters[k], self.first[k], self.second[k]),
            loss,
        )
        self.loss[self.epoch : self.epoch + n_epochs, k] = loss
        if finished < n_epochs:
            self.diverged[k] = self.epoch + finished

    def stacked_jobs(self, n_epochs: int) -> list[Callable[[], None]]:
        """One job for each block of members, that trains it for some epochs in plain PyTorch."""
        n = len(self.ensemble)
        n_threads = min(
            torch.get_num_threads(), max(1, n // (FEWEST if self.objective is None else FEWEST_WITH_OBJECTIVE))
        )
        n_blocks = n_threads * -(-n // (n_threads * MOST)) if self.x.device.type == "cpu" else 1
        size = -(-n // n_blocks)
        blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        return [partial(self._stacked, block, n_epochs) for block in blocks] if n_epochs else []

    @torch.no_grad()
    def _stacked(self, block: slice, n_epochs: int) -> None:
        training, loss = self.training, LOSSES[self.training.loss]
        x = self.x[block]
        n_networks, n_points = x.shape[:2]
        state = [array[block] for array in (self.parameters, self.first, self.second)]  # views
        gradient = torch.zeros_like(state[0])
        networks = self.ensemble.select(block).with_parameters(state[0][:, : self.n_parameters])
        slot = networks.with_parameters(gradient[:, : self.n_parameters])
        stepper = optimiser(
            training.optimiser,
            state,
            gradient,
            training.rates(len(self.ensemble), self.epoch)[block],
            steps=self.steps,
            momentum=training.momentum,
            decay=training.weight_decay,
        )
        reach = training.batch_size * max(1, GATHERED_BYTES // (training.batch_size * x[:, :1].nbytes))
        alive = self.diverged[block] < 0
        # What a diverged member was before it diverged; its row then fills with NaN, which disturbs no other row.
        frozen = {int(k): [array[k].clone() for array in state] for k in (~alive).nonzero()}
        for epoch in range(self.epoch, self.epoch + n_epochs):
            total = torch.zeros(n_networks, device=x.device, dtype=x.dtype)
            moment = self._moment(networks, epoch) if self.objective else None
            for points, targets in self._batches(block, reach):
                if self.objective is None or moment is None:
                    mean = differentiate(networks, slot, points, targets, loss)
                else:
                    mean = self.objective(networks, slot, points, targets, loss, moment)
                total += mean * (points.shape[1] / n_points)
                finite = total.isfinite().cpu()
                if not finite[alive].all():
                    for k in map(int, (alive & ~finite).nonzero()):
                        frozen[k] = [array[k].clone() for array in state]
                        self.diverged[block.start + k] = epoch
                    alive &= finite
                stepper.step()
            self.loss[epoch, block] = torch.where(alive, total.cpu(), torch.nan)
        for k, before in frozen.items():
            for array, kept in zip(state, before, strict=True):
                array[k] = kept

    def _moment(self, networks: Ensemble, epoch: int) -> Moment:
        # Streams that start anew in every epoch leave nothing for a checkpoint to keep.
        streams = [torch_stream(seed, f"objective, epoch {epoch}") for seed in networks.seeds]
        return Moment(epoch / self.training.epochs, streams)

    def _batches(self, block: slice, reach: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch for a block of members, so many points put in order at once."""
        x, y, batch_size = self.x[block], self.y[block], self.training.batch_size
        n_networks, n_points = x.shape[:2]
        if batch_size >= n_points:  # one step on all points, whose order means nothing
            yield x, y
            return
        order = torch.cat([self.orders(k, 1) for k in range(len(self.ensemble))[block]]).to(x.device)
        rows = torch.arange(n_networks, device=x.device)[:, None]
        for start in range(0, n_points, reach):
            chosen = order[:, start : start + reach]
            yield from zip(*(torch.split(part[rows, chosen], batch_size, dim=1) for part in (x, y)), strict=True)

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the result."""
        networks = self.ensemble
        members = (networks.activations, networks.seeds, networks.output, networks.output_bias)
        named = (self.training, self.wanted, members, *filter(None, [self.objective]))
        seen = hashlib.sha256(repr(named).encode())
        for tensor in (networks.flatten(), self.x, self.y):
            seen.update(tensor.contiguous().cpu().numpy().data)
        return seen.hexdigest()

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        content = {name: getattr(self, name) for name in self.KEPT} | {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "streams": torch.stack([stream.get_state() for stream in self.streams]),
        }
        with replacing("checkpoint", path) as temporary:
            torch.save(content, temporary)

    def resume(self, path: Path) -> bool:
        """Continue from a checkpoint and return True, if there is one.

        Raises:
            ValueError: the checkpoint belongs to another run or is not whole, or the objective is not a frozen
                dataclass, by whose attributes a checkpoint could be known.
            FileNotFoundError: its folder does not exist.
        """
        if self.objective is not None and not (
            is_dataclass(self.objective) and self.objective.__dataclass_params__.frozen
        ):
            raise ValueError(
                "checkpoint must be left out where the objective is not a frozen dataclass: no file could say whether "
                f"it belongs to this one, {self.objective!r}."
            )
        if not path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint must lie in an existing folder, got {str(path)!r}.")
        if not path.exists():
            return False
        try:
            content = torch.load(path, weights_only=True)
        except Exception as error:  # torch.load raises whatever its zip reader and unpickler happen to raise
            raise ValueError(f"checkpoint must be a whole file, got {str(path)!r}: {error}.") from error
        if not isinstance(content, dict) or content.get("fingerprint") != self.fingerprint:
            raise ValueError(f"checkpoint must belong to this run, got {str(path)!r} of another; remove or rename it.")
        for name in self.KEPT:
            setattr(self, name, content[name].to(getattr(self, name).device))
        self.epoch = content["epoch"]
        for stream, state in zip(self.streams, content["streams"], strict=True):
            stream.set_state(state.clone())  # set_state reads from the start of the storage, not of the view
        return True
