"""The experiments on dirty data: networks on clean and dirty rows and digits, over activations and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from helpers.datasets.corruption import Corruption, Noise, Outliers
from helpers.datasets.dataset import Dataset
from helpers.datasets.multivariate import multivariate
from helpers.experiments.sweeps import _axes, _labelled
from helpers.models.ensemble import Ensemble
from helpers.models.sequential import perceptron
from helpers.training.members import evaluate
from helpers.training.protocol import Training
from helpers.training.train import train

# The study's network for rows of numbers, and its shares of the rows.
HIDDEN_SIZES = (128, 64)
TRAIN_SHARE = 5000 / 7000


@dataclass(frozen=True)
class Treatment:
    """What is done to the rows before training.

    Attributes:
        corruption: dirt on the training rows; none for clean ones.
        leaking: as the study is coded: the whole set is dirtied and split by a shuffle of its own, so that rows of the
            validation set, which comes from the split of the clean one, are among those trained on.
    """

    corruption: Corruption | None = None
    leaking: bool = False

    def __call__(self, data: Dataset, *, train_share: float = TRAIN_SHARE, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Return the training set and the clean validation set.

        Args:
            data: all rows, clean.
            train_share: share of the rows in the training set.
            seed: seed of the split and of the dirt.
        """
        train_rows, validation = data.split(train_share=train_share, seed=seed)
        if self.leaking:
            dirty = data if self.corruption is None else self.corruption(data, seed=seed).data
            return dirty.split(train_share=train_share, seed=seed + 1)[0], validation
        return train_rows if self.corruption is None else self.corruption(train_rows, seed=seed).data, validation


TREATMENTS: Mapping[str, Treatment] = MappingProxyType(
    {
        "clean": Treatment(),
        "noise": Treatment(Noise()),
        "noise, leaking": Treatment(Noise(), leaking=True),
        "heavy tails": Treatment(Noise(tails="heavy")),
        "outliers in x": Treatment(Outliers(on="x")),
        "outliers in y": Treatment(Outliers(on="y")),
        "outliers in both": Treatment(Outliers(on="both")),
    }
)


def share_seen(train_set: Dataset, validation: Dataset) -> float:
    """Share of the validation rows whose points are, number for number, in the training set too."""
    known = {row.tobytes() for row in train_set.x.numpy()}
    return float(np.mean([row.tobytes() in known for row in validation.x.numpy()]))


def multivariate_sweep(
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    treatments: Sequence[str],
    training: Training,
    n_rows: int = 7000,
    batch_norm: bool = False,
) -> xr.Dataset:
    """Train a network 10 → 128 → 64 → 1 for every combination of treatment, activation and seed.

    A seed fixes the hidden functions, the rows, the split, the dirt, the initial weights and the batch order.

    Args:
        activations: names from `helpers.models.activations`, none twice.
        seeds: at least one, none twice.
        treatments: names from `TREATMENTS`.
        training: the protocol; the loss is the squared error whatever it says.
        n_rows: of the whole set; 5 in 7 are for training.
        batch_norm: whether batch norm stands before each ψ, as the study is coded.

    Returns:
        ``mse``, of the validation set after each epoch, in units of y squared, dimensions dirt, activation, seed and
        epoch; ``seen``, the share of validation rows trained on, dirt and seed; and for each seed ``floor``, the
        variance that periodic columns bring to y, and ``variance``, that of y in the validation set.
    """
    axes = _axes(dirt=treatments, activation=activations, seed=seeds)
    constructions = {seed: multivariate(n_rows, seed=seed) for seed in seeds}
    sets = {
        (name, seed): TREATMENTS[name](constructions[seed].data, seed=seed) for name, seed in product(treatments, seeds)
    }
    protocol = _with_loss(training, "squared_error")
    fit = _normed_errors if batch_norm else _plain_errors
    errors = torch.stack([fit(activations, seeds, [sets[name, s] for s in seeds], protocol) for name in treatments])
    results = xr.Dataset({"mse": _labelled(errors.flatten(0, 1).T, axes)})
    seen = [[share_seen(*sets[name, seed]) for seed in seeds] for name in treatments]
    results["seen"] = ("dirt", "seed"), seen
    results["floor"] = "seed", [constructions[seed].floor for seed in seeds]
    results["variance"] = "seed", [float(sets[treatments[0], seed][1].y.var(correction=0)) for seed in seeds]
    return results


def _plain_errors(
    activations: Sequence[str], seeds: Sequence[int], sets: Sequence[tuple[Dataset, Dataset]], training: Training
) -> Tensor:
    """Validation errors of plain perceptrons, ``[n_activations · n_seeds, n_epochs]``: compiled where that can be."""
    members = list(product(activations, range(len(seeds))))
    n_columns = sets[0][0].x.shape[1]
    ensemble = Ensemble([n_columns, *HIDDEN_SIZES, 1], [name for name, _ in members], [seeds[i] for _, i in members])
    x, y, x_new, y_new = (
        torch.stack([getattr(sets[i][side], name) for _, i in members]) for side in (0, 1) for name in ("x", "y")
    )
    history = train(ensemble, x, y, training, snapshots=range(1, training.epochs + 1))
    with torch.no_grad():
        return torch.stack([(one(x_new) - y_new).square().mean(dim=(1, 2)) for one in history.snapshots], dim=1)


def _normed_errors(
    activations: Sequence[str], seeds: Sequence[int], sets: Sequence[tuple[Dataset, Dataset]], training: Training
) -> Tensor:
    """The same of perceptrons with batch norm."""
    members = list(product(activations, range(len(seeds))))
    sizes = [sets[0][0].x.shape[1], *HIDDEN_SIZES, 1]

    def observe(k: int, network: nn.Module) -> dict[str, float]:
        validation = sets[members[k][1]][1]
        return {"mse": float((evaluate(network, validation.x) - validation.y).square().mean())}

    history = train(
        [perceptron(sizes, name, seeds[i]) for name, i in members],
        [sets[i][0].x for _, i in members],
        [sets[i][0].y for _, i in members],
        training,
        seeds=[seeds[i] for _, i in members],
        observe=observe,
    )
    return history.observed["mse"].T


# Those that Sigmoid and Tanh are compared with.
OTHERS = ("relu", "leaky_relu", "prelu", "elu", "softsign")


def collect(
    rows: xr.Dataset, coded: xr.Dataset, digits: xr.Dataset, large: xr.Dataset, curve: xr.Dataset, found: xr.DataArray
) -> xr.Dataset:
    """Put the results of all experiments into one set, as the claims name them.

    Args:
        rows: from `multivariate_sweep`, as written; with treatment ``"clean"``.
        coded: the same with batch norm.
        digits: from `digit_sweep`; its measures and epochs get the name in front, as do those of the next two.
        large: from `digit_sweep`, with more pictures.
        curve: from `digit_sweep`, over shares.
        found: from `suspects`.

    Returns:
        Besides the measures themselves, of rows ``unexplained``, the error as a share of the variance of y;
        ``excess``, the error less that on clean rows; ``mse_of_others``, the mean of `OTHERS`; and of digits ``best``,
        the accuracy of the best epoch. Dimensions of one entry go from sweeps of digits. What was not computed of the
        product of all dimensions is NaN.
    """
    parts = [xr.Dataset({"found": found})]
    for sweep, prefix in ((rows, ""), (coded, "coded_")):
        mse, clean = sweep["mse"], sweep["mse"].sel(dirt="clean", drop=True)
        others = [name for name in OTHERS if name in mse["activation"]]
        measures = {
            "mse": mse,
            "unexplained": clean / sweep["variance"],
            "excess": mse - clean,
            "mse_of_others": mse.sel(activation=others).mean("activation"),
            "seen": sweep["seen"],
        }
        parts.append(xr.Dataset({f"{prefix}{name}": values for name, values in measures.items()}))
    for name, sweep in {"digits": digits, "large": large, "curve": curve}.items():
        # A dimension of one entry would meet the others' entries, and leave gaps of NaN there.
        whole = sweep.squeeze(drop=True).assign(best=sweep["accuracy"].squeeze(drop=True).max("epoch"))
        renamed = {measure: f"{name}_{measure}" for measure in whole.data_vars}
        parts.append(whole.rename({**renamed, "epoch": f"{name}_epoch"}))
    merged = xr.merge([rows[["floor", "variance"]], *parts], join="outer", compat="no_conflicts")
    # Labels that not all parts have come out sorted by name.
    dirts = dict.fromkeys([*rows["dirt"].values, *coded["dirt"].values])
    return merged.reindex(activation=rows["activation"].values, dirt=list(dirts))


def _with_loss(training: Training, loss: str, decay: float | None = None) -> Training:
    return replace(training, loss=loss, weight_decay=training.weight_decay if decay is None else decay)
