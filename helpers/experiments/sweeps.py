"""A sweep: one network for every combination of activation, entanglement and seed, trained together."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from helpers.checks import Integer, ListOf, Real
from helpers.datasets.dataset import Dataset
from helpers.datasets.spirals import spirals
from helpers.metrics.accuracy import BLOCK, accuracy
from helpers.metrics.volumes import log_area_change, log_volume_change
from helpers.metrics.weights import weight_measures
from helpers.models.activations import ACTIVATION_NAME
from helpers.models.ensemble import Ensemble
from helpers.seeding import SEED
from helpers.training.history import History
from helpers.training.protocol import Training
from helpers.training.steps import Objective
from helpers.training.train import train


@dataclass(frozen=True)
class Sweep:
    """Trained networks with the data they saw.

    Attributes:
        axes: what varies over the members, outermost first: activation, entanglement, seed.
        history: snapshots of the ensemble, whose members are the product of the axes.
        x_train, y_train, x_test, y_test: each member's own data, ``[n_networks, n_points, n_features]`` and
            ``[n_networks, n_points]``.
    """

    axes: Mapping[str, Sequence[Any]]
    history: History
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def label(self, values: Tensor, *leading: str, **coords: Sequence[Any]) -> xr.DataArray:
        """Give names to an array whose last dimension runs over the members.

        Args:
            values: ``[..., n_networks]``.
            *leading: names of the dimensions before the last.
            **coords: coordinates of the leading dimensions.

        Returns:
            The array with the last dimension unfolded into the axes of the sweep.
        """
        shape = (*values.shape[:-1], *(len(axis) for axis in self.axes.values()))
        return xr.DataArray(
            values.detach().reshape(shape).numpy(),
            dims=(*leading, *self.axes),
            coords={**coords, **{name: list(axis) for name, axis in self.axes.items()}},
        )

    def member(self, **where: Any) -> int:
        """Return the number of the member with these values on the axes.

        Raises:
            ValueError: an axis is missing or has no such value.
        """
        index = 0
        for name, axis in self.axes.items():
            if where.get(name) not in axis:
                raise ValueError(f"{name} must be one of {list(axis)}, got {where.get(name)!r}.")
            index = index * len(axis) + list(axis).index(where[name])
        return index

    def training_results(self) -> xr.Dataset:
        """What training came to.

        Returns:
            ``train_accuracy`` and ``test_accuracy`` with dimension epoch and the axes; ``loss``, that of the last epoch
            trained, and ``diverged`` (0 or 1) with the axes.
        """
        epochs = list(self.history.epochs)
        results = xr.Dataset()
        for name, x, y in (
            ("train_accuracy", self.x_train, self.y_train),
            ("test_accuracy", self.x_test, self.y_test),
        ):
            stacked = torch.stack([accuracy(ensemble, x, y) for ensemble in self.history.ensembles])
            results[name] = self.label(stacked, "epoch", epoch=epochs)
        if len(self.history.loss):
            results["loss"] = self.label(self.history.loss[-1])
        diverged = [float(member in self.history.diverged) for member in range(len(self.history.final))]
        results["diverged"] = self.label(torch.tensor(diverged))
        return results

    def weight_results(self) -> xr.Dataset:
        """All weight measures of every layer and snapshot, and what `training_results` has.

        Returns:
            Variables of `metrics.WEIGHT_MEASURES` with dimensions epoch, layer and the axes.
        """
        epochs = list(self.history.epochs)
        layers = list(range(len(self.history.final.weights)))
        snapshots = [[weight_measures(w) for w in ensemble.weights] for ensemble in self.history.ensembles]
        results = xr.Dataset()
        for name in snapshots[0][0]:
            stacked = torch.stack([torch.stack([layer[name] for layer in one]) for one in snapshots])
            results[name] = self.label(stacked, "epoch", "layer", epoch=epochs, layer=layers)
        return results.merge(self.training_results())

    def volume_results(self, n_points: int = 100) -> xr.Dataset:
        """How each layer of the trained networks scales volume at test points.

        Args:
            n_points: test points of each member to look at, at least 1.

        Returns:
            With dimensions layer and the axes, ``log_volume``: median over the points of
            `metrics.log_volume_change` (−∞ where more than half the points are flattened), ``flattened``:
            share of the points at which the layer flattens space, and ``log_area``: median of
            `metrics.log_area_change` of all layers up to this one.
        """
        Integer(at_least=1)("n_points", n_points)
        final = self.history.final
        blocks = [slice(i, i + BLOCK) for i in range(0, len(final), BLOCK)]
        logs, areas = (
            torch.cat([change(final.select(b), self.x_test[b, :n_points]) for b in blocks], dim=1)
            for change in (log_volume_change, log_area_change)
        )
        layers = list(range(len(logs)))
        return xr.Dataset(
            {
                "log_volume": self.label(logs.median(dim=2).values, "layer", layer=layers),
                "log_area": self.label(areas.median(dim=2).values, "layer", layer=layers),
                "flattened": self.label(torch.isneginf(logs).double().mean(dim=2), "layer", layer=layers),
            }
        )


def spiral_sweep(
    *,
    activations: Sequence[str],
    entanglements: Sequence[float],
    seeds: Sequence[int],
    hidden_layers: int = 5,
    width: int = 50,
    training: Training | None = None,
    snapshots: Collection[int] | None = None,
    noise: float = 0.0,
    codimension: int = 1,
    distance: float | None = None,
    train_share: float = 0.67,
    objective: Objective | None = None,
) -> Sweep:
    """Train one network for every combination of activation, entanglement and seed.

    A seed fixes a member's spiral, split, initial weights and batch order; it is shared across activations
    and entanglements, so that comparisons can be paired by seed.

    Args:
        activations: names from `helpers.models.activations`, none twice.
        entanglements: ranges of φ, radians, each above 0, none twice.
        seeds: at least one, each at least 0, none twice.
        hidden_layers: how many, at least 1.
        width: neurons in each, at least 1.
        training: the protocol; by default the study's. With the loss ``"binary_cross_entropy"`` the networks have one
            logit and start from the same function as those with two (`models.Ensemble.with_one_logit`).
        snapshots: epochs to keep; by default the last.
        noise: see `datasets.spirals`.
        codimension: see `datasets.spirals`.
        distance: see `datasets.spirals`.
        train_share: see `datasets.Dataset.split`.
        objective: see `training.train`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.
    """
    ListOf(ACTIVATION_NAME)("activations", activations)
    ListOf(Real(above=0))("entanglements", entanglements)
    ListOf(SEED)("seeds", seeds)
    axes: dict[str, list[Any]] = {
        "activation": list(activations),
        "entanglement": list(entanglements),
        "seed": list(seeds),
    }
    layer_sizes = [1 + codimension] + [width] * Integer(at_least=1)("hidden_layers", hidden_layers) + [2]
    members = list(product(*axes.values()))
    ensemble = Ensemble(layer_sizes, [m[0] for m in members], [m[2] for m in members])
    training = training or Training()
    single = training.loss == "binary_cross_entropy"
    parts: dict[tuple[float, int], tuple[Dataset, Dataset]] = {}
    for entanglement, seed in product(axes["entanglement"], axes["seed"]):
        data = spirals(entanglement, noise=noise, codimension=codimension, distance=distance, seed=seed)
        parts[entanglement, seed] = data.split(train_share=train_share, seed=seed)
    columns = [parts[entanglement, seed] for _, entanglement, seed in members]
    x_train, y_train, x_test, y_test = (
        torch.stack([getattr(pair[side], name) for pair in columns]) for side in (0, 1) for name in ("x", "y")
    )
    history = train(
        ensemble.with_one_logit() if single else ensemble,
        x_train,
        y_train[..., None].float() if single else y_train,
        training,
        snapshots=snapshots,
        objective=objective,
    )
    return Sweep(axes, history, x_train, y_train, x_test, y_test)


def density_cost(sweep: Sweep, training: Training) -> xr.DataArray:
    """Time of |det Dg| for all layers and training points, as a share of the training time.

    For each seed, the members with this seed are trained for one epoch, whose time stands for all epochs,
    and then `metrics.log_volume_change` is timed on the same members and all their training points.

    Args:
        sweep: the networks.
        training: the protocol they were trained with, at least one epoch.

    Returns:
        Ratios, dimension seed.

    Raises:
        ValueError: the protocol has no epoch.
    """
    Integer(at_least=1)("epochs", training.epochs)
    one_epoch = replace(training, epochs=1)
    seeds = list(sweep.axes["seed"])
    shares = []
    for number in range(len(seeds)):
        members = slice(number, None, len(seeds))  # seed is the innermost axis
        ensemble, x, y = sweep.history.final.select(members), sweep.x_train[members], sweep.y_train[members]
        start = time.perf_counter()
        train(ensemble, x, y, one_epoch)
        trained = time.perf_counter()
        log_volume_change(ensemble, x)
        shares.append((time.perf_counter() - trained) / ((trained - start) * training.epochs))
    return xr.DataArray(shares, dims="seed", coords={"seed": seeds})


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
