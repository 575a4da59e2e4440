"""Networks for rows of numbers, trained on clean and on dirty ones; and all results on dirt as the claims name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from helpers.checks import Choice, ListOf
from helpers.datasets.corruption import Corruption, Noise, Outliers
from helpers.datasets.dataset import Dataset
from helpers.datasets.multivariate import multivariate
from helpers.experiments.sweeps import Sweep, merged, prefixed
from helpers.metrics.accuracy import BLOCK
from helpers.models.activations import ACTIVATION_NAME
from helpers.models.ensemble import Ensemble
from helpers.models.sequential import perceptron
from helpers.seeding import SEED
from helpers.threads import side_by_side
from helpers.training.history import History
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
TREATMENT_NAME = Choice(tuple(TREATMENTS))


def share_seen(train_set: Dataset, validation: Dataset) -> float:
    """Share of the validation rows whose points are, number for number, in the training set too."""
    known = {row.tobytes() for row in train_set.x.numpy()}
    return float(np.mean([row.tobytes() in known for row in validation.x.numpy()]))


def multivariate_sweep(
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    treatments: Sequence[str] | None = None,
    n_rows: int = 7000,
    batch_norm: bool = False,
) -> Sweep:
    """Train a network 10 → 128 → 64 → 1 for every combination of treatment, activation and seed.

    A seed fixes the hidden functions, the rows, the split, the dirt, the initial weights and the batch order.

    Args:
        activations: names from `helpers.models.activations`, none twice.
        seeds: at least one, none twice.
        training: the protocol; the loss is the squared error whatever it says.
        treatments: names from `TREATMENTS`, none twice; by default those that do not leak, or, with batch norm, what
            the study is coded like: clean rows, and noise with one split and with two.
        n_rows: of the whole set; 5 in 7 are for training.
        batch_norm: whether batch norm stands before each ψ, as the study is coded.

    Returns:
        Networks with a snapshot of every epoch, axes dirt, activation, seed; sets train and validation.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.
    """
    if treatments is None:
        honest = [name for name, treatment in TREATMENTS.items() if not treatment.leaking]
        treatments = ["clean", "noise", "noise, leaking"] if batch_norm else honest
    axes = {
        "dirt": ListOf(TREATMENT_NAME)("treatments", treatments),
        "activation": ListOf(ACTIVATION_NAME)("activations", activations),
        "seed": ListOf(SEED)("seeds", seeds),
    }
    rows = {seed: multivariate(n_rows, seed=seed).data for seed in axes["seed"]}
    split = {
        (name, seed): TREATMENTS[name](rows[seed], seed=seed) for name, seed in product(axes["dirt"], axes["seed"])
    }
    _, names, own_seeds = zip(*product(*axes.values()), strict=True)
    train_sets, validation = zip(*(split[dirt, seed] for dirt, _, seed in product(*axes.values())), strict=True)
    x, y = ([getattr(data, name) for data in train_sets] for name in ("x", "y"))
    sizes = [x[0].shape[1], *HIDDEN_SIZES, 1]
    protocol, epochs = replace(training, loss="squared_error"), range(1, training.epochs + 1)
    history: History[Ensemble] | History[Sequence[nn.Module]]
    if batch_norm:
        networks = [perceptron(sizes, name, seed) for name, seed in zip(names, own_seeds, strict=True)]
        history = train(networks, x, y, protocol, seeds=own_seeds, snapshots=epochs)
    else:
        history = train(Ensemble(sizes, names, own_seeds), torch.stack(x), torch.stack(y), protocol, snapshots=epochs)
    return Sweep(axes, history, {"train": train_sets, "validation": validation})


SATURATING = ("sigmoid", "tanh")
PIECEWISE_LINEAR = ("relu", "leaky_relu", "prelu")
# Those that Sigmoid and Tanh are compared with.
OTHERS = (*PIECEWISE_LINEAR, "elu", "softsign")


def multivariate_results(sweep: Sweep) -> xr.Dataset:
    """How wrong networks for rows are after each epoch, beside what can be learned.

    Args:
        sweep: from `multivariate_sweep`, with treatment ``"clean"`` among others.

    Returns:
        With epoch and the axes ``mse``, of the validation set, in units of y squared, and ``excess``, the same less
        that after training on clean rows; without dirt ``unexplained``, the error on clean rows as a share of the
        variance of y; without activation ``mse_of_others``, the mean over `OTHERS`. With dirt and seed ``seen``, the
        share of validation rows trained on. With seed ``floor``, the variance that periodic columns bring to y, and
        ``variance``, that of y in the validation set.
    """
    if "clean" not in sweep.axes["dirt"]:
        raise ValueError(f"sweep must have networks for clean rows, got {', '.join(sweep.axes['dirt'])}.")
    train_sets, validation = sweep.sets["train"], sweep.sets["validation"]
    errors = torch.stack([_errors(networks, validation) for networks in sweep.history.snapshots])
    mse = sweep.label(errors, "epoch", epoch=list(sweep.history.epochs))
    clean = mse.sel(dirt="clean", drop=True)
    others = [name for name in OTHERS if name in sweep.axes["activation"]]
    first = [
        [sweep.member(dirt=dirt, activation=sweep.axes["activation"][0], seed=seed) for seed in sweep.axes["seed"]]
        for dirt in sweep.axes["dirt"]
    ]
    n_rows = len(train_sets[0]) + len(validation[0])
    variance = "seed", [float(validation[k].y.var(correction=0)) for k in first[0]]
    results = xr.Dataset(
        {"mse": mse, "excess": mse - clean, "mse_of_others": mse.sel(activation=others).mean("activation")}
    )
    results["seen"] = ("dirt", "seed"), [[share_seen(train_sets[k], validation[k]) for k in row] for row in first]
    results["floor"] = "seed", [multivariate(n_rows, seed=seed).floor for seed in sweep.axes["seed"]]
    results["variance"] = variance
    return results.assign(unexplained=clean / results["variance"])


def _errors(networks: Ensemble | Sequence[nn.Module], validation: Sequence[Dataset]) -> Tensor:
    """Mean squared error of each network on its own validation set, ``[n_networks]``, float64."""
    if isinstance(networks, Ensemble):
        errors = []
        for start in range(0, len(networks), BLOCK):
            block = slice(start, start + BLOCK)
            x, y = (torch.stack([getattr(data, name) for data in validation[block]]) for name in ("x", "y"))
            with torch.no_grad():
                errors.append((networks.select(block)(x) - y).square().mean(dim=(1, 2)).double())
        return torch.cat(errors)

    def error(k: int) -> float:
        return float((evaluate(networks[k], validation[k].x) - validation[k].y).square().mean())

    return torch.tensor(side_by_side(error, range(len(networks))), dtype=torch.float64)


def saturation_gap(values: xr.DataArray) -> xr.DataArray:
    """The mean over Sigmoid and Tanh less that over ReLU and its piecewise linear relatives, NaN without either.

    Args:
        values: a measure with dimension activation, of which those that are there count.
    """
    saturating, linear = (
        values.sel(activation=[name for name in names if name in values["activation"]]).mean("activation")
        for names in (SATURATING, PIECEWISE_LINEAR)
    )
    return saturating - linear


def collect(
    rows: xr.Dataset, coded: xr.Dataset, digits: xr.Dataset, large: xr.Dataset, curve: xr.Dataset, found: xr.Dataset
) -> xr.Dataset:
    """Put the results of all experiments into one set, as the claims name them.

    Args:
        rows: from `multivariate_results`, as written.
        coded: the same with batch norm; its measures get the name in front, as do those of the next three.
        digits: from `dirty_labels.label_results`.
        large: likewise, with more pictures.
        curve: likewise, over shares.
        found: from `dirty_labels.suspect_results`.

    Returns:
        The measures, and of digits the epochs, by these names; a head, regularisation or share that was not varied is
        no dimension. What was not computed of the product of all dimensions is NaN.
    """
    parts = [rows, prefixed(coded.drop_vars(["floor", "variance"]), "coded_"), found]
    for name, results in {"digits": digits, "large": large, "curve": curve}.items():
        # A dimension of one entry would meet the others' entries, and leave gaps of NaN there.
        single = [dim for dim in ("head", "regularisation", "share") if results.sizes.get(dim) == 1]
        own_epochs = results.squeeze(single, drop=True).rename(epoch=f"{name}_epoch")
        parts.append(prefixed(own_epochs, f"{name}_"))
    return merged(parts)
