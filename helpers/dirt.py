"""The experiments on dirty data: networks on clean and dirty rows and digits, over activations and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import xarray as xr
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.activations import ACTIVATION_NAME
from helpers.checks import Integer, ListOf
from helpers.corruption import Corruption, Dirty, LabelNoise, Noise, Outliers
from helpers.datasets import Dataset
from helpers.digits import DIGITS, DIGITS_NAME, load_digits, standardise
from helpers.label_errors import out_of_sample, share_found, suspicion
from helpers.member_training import evaluate, train_members
from helpers.models import Ensemble
from helpers.multivariate import multivariate
from helpers.networks import digit_network, perceptron
from helpers.seeding import SEED, numpy_stream
from helpers.training import Training, train

# The study's network for rows of numbers, and its shares of the rows.
HIDDEN_SIZES = (128, 64)
TRAIN_SHARE = 5000 / 7000

# Of the right and of the wrong labels, how many are looked up after each epoch at most.
MOST_WATCHED = 500


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
        activations: names from `helpers.activations`, none twice.
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
        return torch.stack([(one(x_new) - y_new).square().mean(dim=(1, 2)) for one in history.ensembles], dim=1)


def _normed_errors(
    activations: Sequence[str], seeds: Sequence[int], sets: Sequence[tuple[Dataset, Dataset]], training: Training
) -> Tensor:
    """The same of perceptrons with batch norm."""
    members = list(product(activations, range(len(seeds))))
    sizes = [sets[0][0].x.shape[1], *HIDDEN_SIZES, 1]

    def observe(k: int, network: nn.Module) -> dict[str, float]:
        validation = sets[members[k][1]][1]
        return {"mse": float((evaluate(network, validation.x) - validation.y).square().mean())}

    trace = train_members(
        [perceptron(sizes, name, seeds[i]) for name, i in members],
        [seeds[i] for _, i in members],
        [(sets[i][0].x, sets[i][0].y) for _, i in members],
        training,
        observe=observe,
    )
    return trace.observed["mse"].T


@dataclass(frozen=True)
class DigitTask:
    """Pictures of digits to train on and to validate with.

    Attributes:
        images: a name from `helpers.digits`.
        size: side of the pictures after resizing, pixels.
        n_train: pictures for training, at least 10.
        n_validation: pictures for validation, at least 10.

    References:
        Harrison (2023): MNIST at 64 × 64, 31,500 and 10,500 pictures.
    """

    images: str = "mnist"
    size: int = 64
    n_train: int = 31500
    n_validation: int = 10500

    def __post_init__(self) -> None:
        DIGITS_NAME("images", self.images)
        for name in ("n_train", "n_validation"):
            Integer(at_least=10)(name, getattr(self, name))

    def split(self, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Draw both sets from all pictures there are, with the classes in equal shares in both, none in both.

        Args:
            seed: seed of the draw.

        Returns:
            Sets with x ``[n, 1, size, size]``, standardised by the training pixels' mean and deviation.

        Raises:
            ValueError: there are not as many pictures.
        """
        pool = _pool(self.images)
        if self.n_train + self.n_validation > len(pool):
            raise ValueError(
                f"n_train and n_validation must leave within the {len(pool)} pictures of {self.images}, "
                f"got {self.n_train} and {self.n_validation}."
            )
        drawn = train_test_split(
            np.arange(len(pool)),
            train_size=self.n_train,
            test_size=self.n_validation,
            stratify=pool.y,
            random_state=int(numpy_stream(seed, "split").integers(2**31)),
        )
        train_set, validation = (self._pictures(pool, torch.from_numpy(rows)) for rows in drawn)
        standard = standardise(train_set, validation)
        return standard[0], standard[1]

    def _pictures(self, pool: Dataset, rows: Tensor) -> Dataset:
        side = DIGITS[self.images].side
        x = pool.x[rows].view(-1, 1, side, side)
        resized = F.interpolate(x, size=self.size, mode="bilinear", antialias=True) if self.size != side else x
        return Dataset(resized, pool.y[rows])


@lru_cache(maxsize=2)
def _pool(images: str) -> Dataset:
    sets = load_digits(images)
    return Dataset(*(torch.cat([getattr(part, name) for part in sets]) for name in ("x", "y")))


# The study's regularised run: dropout before two linear layers, and weight decay.
REGULARISATIONS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"none": (0.0, 0.0), "dropout and decay": (0.25, 1e-5)}
)
HEADS: Mapping[str, bool] = MappingProxyType({"as coded": False, "as written": True})
# The study multiplies the learning rate by 0.7 every second epoch.
RATE_FACTOR, RATE_EVERY = 0.7, 2


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
        activations: names from `helpers.activations`, none twice.
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
        trace = train_members(
            [
                digit_network(name, seed, size=task.size, dropout=dropout, last_layer=HEADS[head])
                for _, name, seed in members
            ],
            [seed for *_, seed in members],
            [(one.data.x, one.data.y) for one in sets],
            _with_loss(training, "cross_entropy", decay),
            observe=watch(sets, [splits[seed][1] for *_, seed in members]),
            rate_factor=RATE_FACTOR,
            rate_every=RATE_EVERY,
        )
        for name, values in {**trace.observed, "loss": trace.loss}.items():
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
        activations: names from `helpers.activations`, none twice.
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
        _with_loss(training, "cross_entropy"),
        n_folds=n_folds,
        rate_factor=RATE_FACTOR,
        rate_every=RATE_EVERY,
    )
    scores = [suspicion(p, dirty[seed].data.y) for p, (_, seed) in zip(probabilities, members, strict=True)]
    found = [share_found(score, dirty[seed].rows) for score, (_, seed) in zip(scores, members, strict=True)]
    labelled = _labelled(torch.tensor([found]), axes).isel(epoch=0, drop=True)
    return labelled, dirty[seeds[0]], scores[0]


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


def _axes(**axes: Sequence[Any]) -> dict[str, list[Any]]:
    """The axes of a sweep, checked, outermost first."""
    rules = {"activation": ListOf(ACTIVATION_NAME), "seed": ListOf(SEED)}
    for name, values in axes.items():
        if name in rules:
            rules[name](f"{name}s", values)
        elif not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must be a non-empty list without repetitions, got {list(values)}.")
    return {name: list(values) for name, values in axes.items()}


def _labelled(values: Tensor, axes: Mapping[str, Sequence[Any]]) -> xr.DataArray:
    """Name the dimensions of values ``[n_epochs, n_networks]``; epochs count from 1."""
    shape = (len(values), *(len(axis) for axis in axes.values()))
    coords = {"epoch": np.arange(1, len(values) + 1)} | {name: list(axis) for name, axis in axes.items()}
    return xr.DataArray(values.double().reshape(shape).numpy(), dims=("epoch", *axes), coords=coords)


def _with_loss(training: Training, loss: str, decay: float | None = None) -> Training:
    return replace(training, loss=loss, weight_decay=training.weight_decay if decay is None else decay)
