"""The door to training: networks, data and a protocol go in, a history with true snapshots comes out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice
from operator import call
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from helpers.checks import Choice, Flag, Integer, Real
from helpers.models.ensemble import Ensemble
from helpers.models.losses import LOSSES
from helpers.threads import side_by_side
from helpers.training.history import History, Networks
from helpers.training.members import Observation, train_modules
from helpers.training.progress import progress_bar
from helpers.training.protocol import Training
from helpers.training.runs import Run
from helpers.training.steps import Objective

# Epochs between two looks at the clock, for the progress shown and for checkpoints.
LEG = 10
CHECKPOINT_SECONDS = 30.0

DeviceName = Literal["auto", "cpu", "cuda"]


def train(
    networks: Networks,
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    training: Training | None = None,
    *,
    seeds: Sequence[int] | None = None,
    observe: Observation | None = None,
    snapshots: Collection[int] | None = None,
    device: DeviceName = "auto",
    compiled: bool = True,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    memory_gib: float = 2.0,
    objective: Objective | None = None,
) -> History[Networks]:
    """Train every member by minibatch steps on the mean loss of its batches.

    Each member sees its own data in an order drawn from its own seed, and its losses are never averaged with
    another's. On a CPU with a C++ compiler each core trains one member of an ensemble at a time in compiled code
    (`helpers.models.kernel`); otherwise members are stacked and trained in plain PyTorch (`helpers.training.steps`).
    Ordinary modules, which may compute anything, are differentiated by PyTorch, one to a core
    (`helpers.training.members`).

    Args:
        networks: what to start from: an ensemble; several, of whatever shapes, their members counted through; or
            ordinary modules. They are not changed.
        x: training points. Of an ensemble, ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` shared by all. Of
            several, or of modules (``[n_points, …]``), one tensor for each of them, or one shared by all.
        y: targets, likewise: classes ``[n_networks, n_points]`` or ``[n_points]``, int64, or for losses of numbers
            ``[n_networks, n_points, n_out]`` or ``[n_points, n_out]``.
        training: the protocol; by default the study's.
        seeds: of the batch orders of modules, one for each; ensembles have theirs.
        observe: for modules, called with a network's number and the network, in evaluation mode and without gradients,
            after each epoch; returns numbers by name, the names always the same.
        snapshots: epochs after which to keep a copy of all weights; by default the last one. 0 is the state
            before training.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: the GPU where there is one. The history is on the CPU, where
            modules are trained.
        compiled: whether compiled code may be used.
        progress: whether to show epochs (for modules, networks) and time left on the error stream; by default only to
            a person who waits (a terminal or JupyterLab), and only if it takes some seconds.
        checkpoint: file that keeps the state of a long run of one ensemble, written every half minute. If it is there
            at the start, the run continues from it, to the same result; it is removed at the end.
        memory_gib: what the state and the snapshots may need, GiB, above 0.
        objective: for ensembles, what to make smaller instead of the mean loss of each batch, in plain PyTorch
            (`helpers.robustness.objectives`). For a checkpoint it must be a frozen dataclass.

    Returns:
        The history; its last snapshot is the trained state if the last epoch is among the snapshots.

    Raises:
        TypeError: networks are none of these, or an argument has the wrong type.
        ValueError: the shapes do not fit, there are not as many seeds or tensors as networks, an argument is given that
            these networks have no use for, a snapshot is asked for outside 0 … epochs, the snapshots need too much
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
    options: dict[str, Any] = {"wanted": _wanted(snapshots, training), "progress": progress, "memory_gib": memory_gib}
    stacked = options | {"where": where, "compiled": compiled, "objective": objective}
    history: Any
    if isinstance(networks, Ensemble):
        _refuse("an ensemble, which has its own", seeds=seeds)
        _refuse("ensembles, whose snapshots can be looked at afterwards", observe=observe)
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            raise TypeError(f"x and y must be tensors for an ensemble, got {type(x).__name__} and {type(y).__name__}.")
        history = _train_ensemble(networks, x, y, training, checkpoint=checkpoint, **stacked)
    elif isinstance(networks, nn.Module) or not isinstance(networks, Sequence):
        raise TypeError(f"networks must be an Ensemble, or a list, got one {type(networks).__name__}.")
    elif wrong := [network for network in networks if not isinstance(network, nn.Module)]:
        raise TypeError(f"networks must be ensembles or modules, got {wrong[0]!r} among them.")
    elif ensembles := [network for network in networks if isinstance(network, Ensemble)]:
        if len(ensembles) < len(networks):
            raise TypeError("networks must be ensembles or modules, got some of each.")
        _refuse("ensembles, which have their own", seeds=seeds)
        _refuse("ensembles, whose snapshots can be looked at afterwards", observe=observe)
        _refuse("several ensembles: one file cannot serve several runs", checkpoint=checkpoint)
        history = _train_several(ensembles, x, y, training, **stacked)
    else:
        _refuse("modules: their state is not kept", checkpoint=checkpoint)
        _refuse("modules, which are trained on their mean loss", objective=objective)
        if device == "cuda":
            raise ValueError("device must be 'cpu' or 'auto' for modules, which are trained one to a core, got 'cuda'.")
        n = len(networks)
        if not n or seeds is None or len(seeds) != n:
            raise ValueError(
                "networks and seeds must have one entry for each of at least one member, "
                f"got {n} and {'no seeds' if seeds is None else len(seeds)}."
            )
        each = _one_each("x", x, n), _one_each("y", y, n)
        history = train_modules(networks, seeds, *each, training, observe=observe, **options)
    _warn_of(history.diverged, history.loss.shape[1])
    return history  # type: ignore[no-any-return]


def _train_ensemble(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    training: Training,
    *,
    wanted: list[int],
    where: torch.device,
    compiled: bool,
    progress: bool | None,
    memory_gib: float,
    objective: Objective | None,
    checkpoint: str | Path | None = None,
) -> History[Ensemble]:
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
    # The learning rate stays the same within a leg.
    falls = range(0, training.epochs, training.rate_every) if training.rate_factor < 1 else ()
    with progress_bar(training.epochs, f"{len(ensemble)} networks", "epoch", progress) as bar:
        bar.update(run.epoch)
        for stop in sorted({*range(0, training.epochs, LEG), *falls, *wanted, training.epochs}):
            if stop <= done:
                continue
            n_epochs = stop - run.epoch
            # One thread for each block or member: as fast as lending every operation all threads, it does not stall
            # when the cores are busy elsewhere, and it keeps the results free of the number of cores.
            side_by_side(call, jobs(n_epochs))
            run.epoch = stop
            if stop in wanted:
                run.snapshots[wanted.index(stop)] = run.parameters[:, : run.n_parameters]
            bar.update(n_epochs)
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS and stop < training.epochs:
                run.save(Path(checkpoint))
                saved = time.monotonic()
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    diverged = {k: int(epoch) for k, epoch in enumerate(run.diverged) if epoch >= 0}
    return History(tuple(wanted), tuple(map(ensemble.with_parameters, run.snapshots)), run.loss, diverged)


def _train_several(
    ensembles: Sequence[Ensemble],
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    training: Training,
    **options: Any,
) -> History[Sequence[Ensemble]]:
    """One ensemble after the other, each with the learning rates of its members."""
    n = len(ensembles)
    rates = iter(training.rates(sum(map(len, ensembles))))
    histories = [
        _train_ensemble(
            ensemble, own_x, own_y, replace(training, learning_rate=[*islice(rates, len(ensemble))]), **options
        )
        for ensemble, own_x, own_y in zip(ensembles, _one_each("x", x, n), _one_each("y", y, n), strict=True)
    ]
    starts = accumulate(map(len, ensembles), initial=0)
    return History(
        histories[0].epochs,
        tuple(zip(*(history.snapshots for history in histories), strict=True)),
        torch.cat([history.loss for history in histories], dim=1),
        {start + k: e for start, history in zip(starts, histories, strict=False) for k, e in history.diverged.items()},
    )


def _one_each(name: str, data: Tensor | Sequence[Tensor], n: int) -> list[Tensor]:
    parts = [data] * n if isinstance(data, Tensor) else list(data)
    if len(parts) != n:
        raise ValueError(f"{name} must be one tensor, or one for each of {n} networks, got {len(parts)}.")
    return parts


def _refuse(kind: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} must be left out for {kind}.")


def _warn_of(diverged: Mapping[int, int], n_networks: int) -> None:
    if diverged:
        listed = ", ".join(f"{k} in epoch {epoch + 1}" for k, epoch in list(diverged.items())[:10])
        more = ", …" if len(diverged) > 10 else ""
        warnings.warn(
            f"The loss of {len(diverged)} of {n_networks} members stopped being finite, and they were "
            f"frozen: {listed}{more}.",
            RuntimeWarning,
            stacklevel=3,
        )


def _device(name: DeviceName) -> torch.device:
    Choice(get_args(DeviceName))("device", name)
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


def training_seconds(
    ensemble: Ensemble, x: Tensor, y: Tensor, training: Training, *, device: DeviceName = "auto", n_epochs: int = 2
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
