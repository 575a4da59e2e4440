"""Training all members of an ensemble at once, with true snapshots of their weights on the way."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from helpers.checks import Choice, Flag, Integer, Real
from helpers.models.ensemble import Ensemble
from helpers.models.losses import LOSSES
from helpers.training.history import History, MixedHistory
from helpers.training.protocol import Training
from helpers.training.runs import Run
from helpers.training.steps import Objective

# Epochs between two looks at the clock, for the progress shown and for checkpoints.
LEG = 10
CHECKPOINT_SECONDS = 30.0

__all__ = ["History", "MixedHistory", "Training", "train", "train_mixed", "training_seconds"]

DEVICES = ("auto", "cpu", "cuda")


def train(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    training: Training | None = None,
    *,
    snapshots: Collection[int] | None = None,
    device: str = "auto",
    compiled: bool = True,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    memory_gib: float = 2.0,
    objective: Objective | None = None,
) -> History:
    """Train every member by minibatch steps on the mean loss of its batches.

    Each member sees its own data in an order drawn from its own seed, and its losses are never averaged with
    another's. On a CPU with a C++ compiler each core trains one member at a time in compiled code
    (`helpers.models.kernel`); otherwise members are stacked and trained in plain PyTorch (`helpers.training.steps`).

    Args:
        ensemble: the networks to start from; it is not changed.
        x: training points, ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` shared by all.
        y: targets: classes ``[n_networks, n_points]`` or ``[n_points]``, int64, or for losses of numbers
            ``[n_networks, n_points, n_out]`` or ``[n_points, n_out]``.
        training: the protocol; by default the study's.
        snapshots: epochs after which to keep a copy of all weights; by default the last one. 0 is the state
            before training.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: the GPU where there is one. The history is on the CPU.
        compiled: whether compiled code may be used.
        progress: whether to show epochs and time left on the error stream; by default only to a person who waits
            (a terminal or JupyterLab), and only if it takes some seconds.
        checkpoint: file that keeps the state of a long run, written every half minute. If it is there at the
            start, the run continues from it, to the same result; it is removed at the end.
        memory_gib: what the state and the snapshots may need, GiB, above 0.
        objective: what to make smaller instead of the mean loss of each batch, in plain PyTorch
            (`helpers.robustness.objectives`). For a checkpoint it must be a frozen dataclass.

    Returns:
        The history; its last ensemble is the trained one if the last epoch is among the snapshots.

    Raises:
        ValueError: the shapes do not fit, a snapshot is asked for outside 0 … epochs, the snapshots need too much
            memory, or the checkpoint belongs to another run or is not whole.

    Warns:
        RuntimeWarning: members diverged; they are frozen and listed in the history.
    """
    training = training or Training()
    Real(above=0)("memory_gib", memory_gib)
    Flag()("compiled", compiled)
    if progress is not None:
        Flag()("progress", progress)
    where = _device(device)
    wanted = _wanted(snapshots, training)
    loss, dtype = LOSSES[training.loss], ensemble.weights[0].dtype
    # Moved before it is shown to all members, shared data is moved once.
    x, y = ensemble.own(x.to(where, dtype), y.to(where, None if loss.classes else dtype), classes=loss.classes)
    if not x.shape[1]:
        raise ValueError("x must hold at least one point, got none.")
    loss.check(y, ensemble.layer_sizes[-1])
    run = Run(ensemble, x, y, training, wanted, memory_gib=memory_gib, objective=objective)
    jobs = run.kernel_jobs if run.can_compile(compiled) else run.stacked_jobs
    done = run.epoch if checkpoint is not None and run.resume(Path(checkpoint)) else -1
    saved = time.monotonic()
    with (
        _pool(torch.get_num_threads() if where.type == "cpu" else 1) as pool,
        progress_bar(training.epochs, f"{len(ensemble)} networks", "epoch", progress) as bar,
    ):
        bar.update(run.epoch)
        for stop in sorted({*range(0, training.epochs, LEG), *wanted, training.epochs}):
            if stop <= done:
                continue
            n_epochs = stop - run.epoch
            for future in [pool.submit(job) for job in jobs(n_epochs)]:
                future.result()
            run.epoch = stop
            if stop in wanted:
                run.snapshots[wanted.index(stop)] = run.parameters[:, : run.n_parameters]
            bar.update(n_epochs)
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS and stop < training.epochs:
                run.save(Path(checkpoint))
                saved = time.monotonic()
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return _history(run)


def training_seconds(
    ensemble: Ensemble, x: Tensor, y: Tensor, training: Training, *, device: str = "auto", n_epochs: int = 2
) -> float:
    """Estimate how long `train` would take, by training for a few epochs.

    Args:
        ensemble: the networks, or some of them: the estimate is for these.
        x: points, as in `train`.
        y: targets.
        training: the protocol.
        device: as in `train`.
        n_epochs: how many to time, at least 1, after a first one that warms up.

    Returns:
        Seconds for all epochs of the protocol.
    """
    few = replace(training, epochs=Integer(at_least=1)("n_epochs", n_epochs))
    train(ensemble, x, y, replace(training, epochs=1), device=device, progress=False)
    start = time.perf_counter()
    train(ensemble, x, y, few, device=device, progress=False)
    return (time.perf_counter() - start) / n_epochs * training.epochs


def train_mixed(
    layer_sizes: Sequence[Sequence[int]],
    activations: Sequence[str],
    seeds: Sequence[int],
    data: Sequence[tuple[Tensor, Tensor]],
    training: Training | None = None,
    **options: Any,
) -> MixedHistory:
    """Train members that differ in shape, those of one shape together.

    Args:
        layer_sizes: of each member, see `Ensemble`.
        activations: of each member.
        seeds: of each member.
        data: points ``[n_points, n_in]`` and targets of each member; of one shape among members of one shape.
        training: the protocol; learning rates, if several, one for each member.
        **options: see `train`, all but ``checkpoint``.

    Returns:
        The histories, by shape.

    Raises:
        ValueError: the lists are empty or differ in length, or a checkpoint is asked for; otherwise as `train`.
    """
    training = training or Training()
    if "checkpoint" in options:
        raise ValueError(
            "checkpoint must be left out where members differ in shape: one file cannot serve several runs."
        )
    lengths = {len(layer_sizes), len(activations), len(seeds), len(data)}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "layer_sizes, activations, seeds and data must have one entry for each of at least one member, "
            f"got {len(layer_sizes)}, {len(activations)}, {len(seeds)} and {len(data)}."
        )
    rates = training.rates(len(layer_sizes))
    shapes: dict[tuple[Any, ...], list[int]] = {}
    for k, (sizes, (x, _)) in enumerate(zip(layer_sizes, data, strict=True)):
        shapes.setdefault((tuple(sizes), tuple(x.shape)), []).append(k)
    groups = []
    for (sizes, _), members in shapes.items():
        ensemble = Ensemble(sizes, [activations[k] for k in members], [seeds[k] for k in members])
        x, y = (torch.stack([data[k][side] for k in members]) for side in (0, 1))
        own = replace(training, learning_rate=tuple(rates[k] for k in members))
        groups.append((tuple(members), train(ensemble, x, y, own, **options)))
    return MixedHistory(tuple(groups))


def _history(run: Run) -> History:
    diverged = {k: int(epoch) for k, epoch in enumerate(run.diverged) if epoch >= 0}
    if diverged:
        listed = ", ".join(f"{k} in epoch {epoch + 1}" for k, epoch in list(diverged.items())[:10])
        more = ", …" if len(diverged) > 10 else ""
        warnings.warn(
            f"The loss of {len(diverged)} of {len(run.ensemble)} members stopped being finite, and they were "
            f"frozen: {listed}{more}.",
            RuntimeWarning,
            stacklevel=3,
        )
    ensembles = tuple(run.ensemble.with_parameters(snapshot) for snapshot in run.snapshots)
    return History(tuple(run.wanted), ensembles, run.loss, diverged)


def _device(name: str) -> torch.device:
    Choice(DEVICES)("device", name)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be one that is there, got 'cuda' where PyTorch finds no GPU.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _wanted(snapshots: Collection[int] | None, training: Training) -> list[int]:
    wanted = sorted(set(snapshots if snapshots is not None else [training.epochs]))
    if not wanted:
        raise ValueError("snapshots must name at least one epoch, got none.")
    for epoch in wanted:
        Integer(at_least=0, at_most=training.epochs)("snapshots", epoch)
    return wanted


def _pool(n_threads: int) -> ThreadPoolExecutor:
    # One thread for each block or member: as fast as lending every operation all threads, it does not stall when
    # the cores are busy elsewhere, and it keeps the results free of the number of cores.
    return ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))


def progress_bar(total: int, title: str, unit: str, shown: bool | None) -> AbstractContextManager[Any]:
    """Return a bar on the error stream; by default shown only to a person who waits, after two seconds."""
    if shown is None:
        # Jupyter's server names the notebook to the kernels it starts for people; papermill and nbval do not.
        shown = sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ
    bar: AbstractContextManager[Any] = tqdm(total=total, desc=title, unit=unit, delay=2, disable=not shown, leave=False)
    return bar
