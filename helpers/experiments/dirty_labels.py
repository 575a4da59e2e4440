"""Wrong labels: what they do to networks for digits, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor, nn

from helpers.checks import Choice, Integer, ListOf, Real
from helpers.datasets.corruption import Dirty, LabelNoise
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DigitTask
from helpers.experiments.sweeps import Sweep, merged
from helpers.metrics.label_errors import share_found, suspicion
from helpers.models.activations import ACTIVATION_NAME
from helpers.models.sequential import digit_network
from helpers.seeding import SEED
from helpers.threads import side_by_side
from helpers.training.members import evaluate
from helpers.training.out_of_sample import folds
from helpers.training.protocol import Training
from helpers.training.train import train

# Of the right and of the wrong labels, how many are looked up after each epoch at most.
MOST_WATCHED = 500

RegularisationName = Literal["none", "dropout and decay"]
LastLayerName = Literal["as coded", "as written"]

# The study's regularised run: share dropped before two linear layers, and weight decay.
REGULARISATIONS: Mapping[RegularisationName, tuple[float, float]] = MappingProxyType(
    {"none": (0.0, 0.0), "dropout and decay": (0.25, 1e-5)}
)
# Whether the last layer is reached.
LAST_LAYER: Mapping[LastLayerName, bool] = MappingProxyType({"as coded": False, "as written": True})


def falling(training: Training) -> Training:
    """Return the protocol with the study's fall of the learning rate, by 0.7 every second epoch."""
    return replace(training, rate_factor=0.7, rate_every=2)


def label_sweep(
    task: DigitTask,
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    shares: Sequence[float] = (0.0, 0.1),
    heads: Sequence[LastLayerName] = tuple(LAST_LAYER),
    regularisation: RegularisationName = "none",
    kind: str = "symmetric",
) -> Sweep:
    """Train the study's network for digits for every combination of head, share, activation and seed.

    A seed fixes the pictures, their split, the wrong labels, the initial weights, the dropout and the batch order.

    Args:
        task: the pictures.
        activations: names from `helpers.models.activations`, none twice.
        seeds: at least one, none twice.
        training: the protocol; loss, weight decay and the fall of the learning rate are the study's whatever it says.
        shares: of wrong labels in the training set, none twice; by default the study's.
        heads: names from `LAST_LAYER`, none twice: with the last layer or without.
        regularisation: a name from `REGULARISATIONS`.
        kind: of the wrong labels, see `corruption.LabelNoise`.

    Returns:
        Networks that were watched after each epoch, axes head, regularisation (of one entry), share, activation, seed;
        sets train, the same clean, and validation.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.
    """
    Choice(REGULARISATIONS)("regularisation", regularisation)
    dropout, decay = REGULARISATIONS[regularisation]
    axes: dict[str, list[Any]] = {
        "head": ListOf(Choice(LAST_LAYER))("heads", heads),
        "regularisation": [regularisation],
        "share": ListOf(Real(at_least=0, at_most=1))("shares", shares),
        "activation": ListOf(ACTIVATION_NAME)("activations", activations),
        "seed": ListOf(SEED)("seeds", seeds),
    }
    members = list(product(*axes.values()))
    split = {seed: task.split(seed) for seed in axes["seed"]}
    noisy = {
        (share, seed): LabelNoise(share, kind)(split[seed][0], seed=seed)
        for share, seed in product(axes["share"], axes["seed"])
    }
    dirty = [noisy[share, seed] for _, _, share, _, seed in members]
    validation = [split[seed][1] for *_, seed in members]
    history = train(
        [
            digit_network(name, seed, size=task.size, dropout=dropout, last_layer=LAST_LAYER[head])
            for head, _, _, name, seed in members
        ],
        [copy.data.x for copy in dirty],
        [copy.data.y for copy in dirty],
        falling(replace(training, loss="cross_entropy", weight_decay=decay)),
        seeds=[seed for *_, seed in members],
        observe=watch(dirty, validation),
    )
    sets = {"train": [copy.data for copy in dirty], "clean": [copy.clean for copy in dirty], "validation": validation}
    return Sweep(axes, history, sets)


def label_results(*sweeps: Sweep) -> xr.Dataset:
    """What networks make of right and of wrong labels while they train.

    Args:
        *sweeps: one or several from `label_sweep`.

    Returns:
        With epoch, from 1, and the axes, what `watch` looks up, and ``loss``, the mean training loss; with the axes
        ``best``, the accuracy of the best epoch. What no sweep has measured is NaN.

    Raises:
        ValueError: there are no sweeps.
    """
    parts = []
    for sweep in sweeps:
        history = sweep.history
        epochs = list(range(1, len(history.loss) + 1))
        watched = {**history.observed, "loss": history.loss}
        parts.append({name: sweep.label(v.double(), "epoch", epoch=epochs) for name, v in watched.items()})
    results = merged(map(xr.Dataset, parts))
    return results.assign(best=results["accuracy"].max("epoch"))


def label_gains(results: xr.Dataset, *, share: float = 0.1) -> xr.Dataset:
    """What the last layer, stopping early and regularising bring, in shares of the pictures, paired by seed.

    Args:
        results: from `label_results`, with both heads and regularisations.
        share: of wrong labels that the last three are judged by.

    Returns:
        With activation and seed ``last_layer``, best accuracy on clean labels gained by reaching it. Of networks that
        reach it, on wrong labels, ``best_epoch``, accuracy gained by keeping that instead of the last; and for the last
        one ``regularised``, accuracy gained by dropout and decay, and ``fewer_memorised``, wrong labels that are less
        memorised then.

    Raises:
        KeyError: a head, a regularisation or the share is missing.
    """
    clean = results["best"].sel(regularisation="none", share=0.0, drop=True)
    last = results.isel(epoch=-1, drop=True).sel(head="as written", share=share, drop=True)
    plain, regularised = (last.sel(regularisation=name, drop=True) for name in REGULARISATIONS)
    return xr.Dataset(
        {
            "last_layer": clean.sel(head="as written", drop=True) - clean.sel(head="as coded", drop=True),
            "best_epoch": plain["best"] - plain["accuracy"],
            "regularised": regularised["accuracy"] - plain["accuracy"],
            "fewer_memorised": plain["memorised"] - regularised["memorised"],
        }
    )


def watch(sets: Sequence[Dirty], validation: Sequence[Dataset]) -> Callable[[int, nn.Module], dict[str, float]]:
    """Return what looks up a network's accuracy and what it has made of right and wrong labels.

    Args:
        sets: the training set of each network.
        validation: the clean validation set of each.

    Returns:
        What `training.train` may observe modules by. Its numbers: ``accuracy`` on the validation set; of up to
        `MOST_WATCHED` right and as many wrong training labels ``learned``, the share of right ones predicted,
        ``memorised``, that of wrong ones predicted, and ``recovered``, that of points with a wrong label whose true
        class is predicted.
    """

    def observe(k: int, network: nn.Module) -> dict[str, float]:
        def predicted(x: Tensor) -> Tensor:
            return evaluate(network, x).argmax(dim=1)

        dirty, new = sets[k], validation[k]
        wrong, right = (rows.nonzero()[:MOST_WATCHED, 0] for rows in (dirty.rows, ~dirty.rows))
        guess = predicted(dirty.data.x[torch.cat([wrong, right])])
        on_wrong, on_right = guess[: len(wrong)], guess[len(wrong) :]
        return {
            "accuracy": _share(predicted(new.x) == new.y),
            "learned": _share(on_right == dirty.data.y[right]),
            "memorised": _share(on_wrong == dirty.data.y[wrong]),
            "recovered": _share(on_wrong == dirty.clean.y[wrong]),
        }

    return observe


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())  # NaN of none


def suspect_sweep(
    task: DigitTask,
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    share: float = 0.1,
    kind: str = "symmetric",
    n_folds: int = 3,
) -> Sweep:
    """Train networks, with their last layer, that have each seen all dirty pictures but those of one fold.

    Args:
        task: the pictures.
        activations: names from `helpers.models.activations`, none twice.
        seeds: at least one, none twice.
        training: the protocol, as in `label_sweep`.
        share: of wrong labels.
        kind: of the wrong labels, see `corruption.LabelNoise`.
        n_folds: see `training.out_of_sample.folds`.

    Returns:
        Networks with axes activation, seed, fold; sets train, held out (the fold), and the fold clean.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range, or a label has fewer pictures than there are folds.
    """
    axes: dict[str, list[Any]] = {
        "activation": ListOf(ACTIVATION_NAME)("activations", activations),
        "seed": ListOf(SEED)("seeds", seeds),
        "fold": list(range(Integer(at_least=2)("n_folds", n_folds))),
    }
    parts: dict[tuple[int, int], tuple[Dataset, Dataset, Dataset]] = {}
    for seed in axes["seed"]:
        dirty = LabelNoise(share, kind)(task.split(seed)[0], seed=seed)
        for fold, rows in enumerate(folds(dirty.data, seed, n_folds)):
            rest = torch.ones(len(dirty.rows), dtype=torch.bool).index_fill_(0, rows, False)
            chosen = ((dirty.data, rest), (dirty.data, rows), (dirty.clean, rows))
            train_set, held_out, clean = (Dataset(data.x[where], data.y[where]) for data, where in chosen)
            parts[seed, fold] = train_set, held_out, clean
    members = list(product(*axes.values()))
    sets = zip(*(parts[seed, fold] for _, seed, fold in members), strict=True)
    named = dict(zip(("train", "held out", "held out, clean"), sets, strict=True))
    history = train(
        [digit_network(name, seed, size=task.size) for name, seed, _ in members],
        [data.x for data in named["train"]],
        [data.y for data in named["train"]],
        falling(replace(training, loss="cross_entropy")),
        seeds=[seed for _, seed, _ in members],
    )
    return Sweep(axes, history, named)


def suspects(sweep: Sweep, **where: Any) -> tuple[Dirty, Tensor]:
    """How wrong each label looks to networks that have not seen it.

    Args:
        sweep: from `suspect_sweep`.
        **where: the activation and the seed of the networks.

    Returns:
        The pictures of all folds, one fold after the other, and the `label_errors.suspicion` of each.
    """
    folds_of = sweep.select(**where)
    held_out, clean = (folds_of.sets[name] for name in ("held out", "held out, clean"))
    x, y, true = (
        torch.cat([getattr(data, side) for data in sets])
        for sets, side in ((held_out, "x"), (held_out, "y"), (clean, "y"))
    )
    scores = [
        suspicion(evaluate(network, data.x).softmax(dim=1), data.y)
        for network, data in zip(folds_of.history.final, held_out, strict=True)
    ]
    return Dirty(Dataset(x, y), Dataset(x, true), y != true), torch.cat(scores)


def suspect_results(sweep: Sweep) -> xr.Dataset:
    """How many wrong labels are among the most suspicious ones.

    Args:
        sweep: from `suspect_sweep`.

    Returns:
        ``found``, the `label_errors.share_found`, with dimensions activation and seed.
    """
    axes = {name: axis for name, axis in sweep.axes.items() if name != "fold"}

    def share(values: tuple[Any, ...]) -> float:
        dirty, suspicious = suspects(sweep, **dict(zip(axes, values, strict=True)))
        return share_found(suspicious, dirty.rows)

    shares = torch.tensor(side_by_side(share, product(*axes.values())), dtype=torch.float64)
    return xr.Dataset({"found": replace(sweep, axes=axes).label(shares)})
