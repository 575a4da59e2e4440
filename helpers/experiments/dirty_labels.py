"""Wrong labels: what they do to networks for digits, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType

import torch
import xarray as xr
from torch import Tensor, nn

from helpers.datasets.corruption import Dirty, LabelNoise
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DigitTask
from helpers.experiments.dirty_data import _with_loss
from helpers.experiments.sweeps import _axes, _labelled
from helpers.metrics.label_errors import share_found, suspicion
from helpers.models.sequential import digit_network
from helpers.training.members import evaluate
from helpers.training.out_of_sample import out_of_sample
from helpers.training.protocol import Training
from helpers.training.train import train

# Of the right and of the wrong labels, how many are looked up after each epoch at most.
MOST_WATCHED = 500


# The study's regularised run: dropout before two linear layers, and weight decay.
REGULARISATIONS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"none": (0.0, 0.0), "dropout and decay": (0.25, 1e-5)}
)
HEADS: Mapping[str, bool] = MappingProxyType({"as coded": False, "as written": True})


def falling(training: Training) -> Training:
    """Return the protocol with the study's fall of the learning rate, by 0.7 every second epoch."""
    return replace(training, rate_factor=0.7, rate_every=2)


def digit_sweep(
    task: DigitTask,
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    shares: Sequence[float],
    training: Training,
    heads: Sequence[str] = tuple(HEADS),
    regularisations: Sequence[str] = ("none",),
    kind: str = "symmetric",
) -> xr.Dataset:
    """Train the study's network for digits for every combination of head, regularisation, share, activation and seed.

    A seed fixes the pictures, their split, the wrong labels, the initial weights, the dropout and the batch order.

    Args:
        task: the pictures.
        activations: names from `helpers.models.activations`, none twice.
        seeds: at least one, none twice.
        shares: of wrong labels in the training set.
        training: the protocol; weight decay and the fall of the learning rate are the study's whatever it says.
        heads: names from `HEADS`: with the last layer or without.
        regularisations: names from `REGULARISATIONS`.
        kind: of the wrong labels, see `corruption.LabelNoise`.

    Returns:
        With these dimensions, after each epoch, ``accuracy`` on the clean validation set; of up to 500 right and as
        many wrong training labels ``learned``, the share of right ones predicted, ``memorised``, that of wrong ones
        predicted, and ``recovered``, that of points with a wrong label whose true class is predicted; and ``loss``,
        the mean training loss.
    """
    axes = _axes(head=heads, regularisation=regularisations, share=shares, activation=activations, seed=seeds)
    splits = {seed: task.split(seed) for seed in seeds}
    dirty = {
        (share, seed): LabelNoise(share, kind)(splits[seed][0], seed=seed) for share, seed in product(shares, seeds)
    }
    parts: dict[str, list[Tensor]] = {}
    for head, regularisation in product(heads, regularisations):
        dropout, decay = REGULARISATIONS[regularisation]
        members = list(product(shares, activations, seeds))
        sets = [dirty[share, seed] for share, _, seed in members]
        history = train(
            [
                digit_network(name, seed, size=task.size, dropout=dropout, last_layer=HEADS[head])
                for _, name, seed in members
            ],
            [noisy.data.x for noisy in sets],
            [noisy.data.y for noisy in sets],
            falling(_with_loss(training, "cross_entropy", decay)),
            seeds=[seed for *_, seed in members],
            observe=watch(sets, [splits[seed][1] for *_, seed in members]),
        )
        for name, values in {**history.observed, "loss": history.loss}.items():
            parts.setdefault(name, []).append(values)
    return xr.Dataset({name: _labelled(torch.cat(values, dim=1), axes) for name, values in parts.items()})


def watch(sets: Sequence[Dirty], validation: Sequence[Dataset]) -> Callable[[int, nn.Module], dict[str, float]]:
    """Return what looks up a network's accuracy and what it has made of right and wrong labels, see `digit_sweep`.

    Args:
        sets: the training set of each network.
        validation: the validation set of each.
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


def suspects(
    task: DigitTask,
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    share: float = 0.1,
    kind: str = "symmetric",
    n_folds: int = 3,
) -> tuple[xr.DataArray, Dirty, Tensor]:
    """Rank training labels by how wrong they look to networks, with their last layer, that have not seen them.

    Args:
        task: the pictures.
        activations: names from `helpers.models.activations`, none twice.
        seeds: at least one, none twice.
        training: the protocol, as in `digit_sweep`.
        share: of wrong labels.
        kind: of the wrong labels, see `corruption.LabelNoise`.
        n_folds: see `label_errors.out_of_sample`.

    Returns:
        The share of wrong labels found (`label_errors.share_found`), dimensions activation and seed; the dirty set of
        the first seed; and how suspicious each of its labels is to the networks of the first activation, ``[n_train]``.
    """
    axes = _axes(activation=activations, seed=seeds)
    dirty = {seed: LabelNoise(share, kind)(task.split(seed)[0], seed=seed) for seed in seeds}
    members = list(product(activations, seeds))
    probabilities = out_of_sample(
        [digit_network(name, seed, size=task.size) for name, seed in members],
        [seed for _, seed in members],
        [dirty[seed].data for _, seed in members],
        falling(_with_loss(training, "cross_entropy")),
        n_folds=n_folds,
    )
    scores = [suspicion(p, dirty[seed].data.y) for p, (_, seed) in zip(probabilities, members, strict=True)]
    found = [share_found(score, dirty[seed].rows) for score, (_, seed) in zip(scores, members, strict=True)]
    labelled = _labelled(torch.tensor([found]), axes).isel(epoch=0, drop=True)
    return labelled, dirty[seeds[0]], scores[0]
