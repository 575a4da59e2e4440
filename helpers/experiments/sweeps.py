"""Sweeps: a network for every combination of what varies, trained together, with the data that they saw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from helpers.checks import Integer, ListOf, Real
from helpers.datasets.dataset import Dataset
from helpers.datasets.spirals import spirals
from helpers.metrics.accuracy import accuracy
from helpers.models.activations import ACTIVATION_NAME
from helpers.models.ensemble import Ensemble
from helpers.models.heads import with_one_logit
from helpers.seeding import SEED
from helpers.training.history import History
from helpers.training.protocol import Training
from helpers.training.steps import Objective
from helpers.training.train import train


@dataclass(frozen=True)
class Sweep:
    """Trained networks with the data they saw.

    Attributes:
        axes: what varies over the members, outermost first, e.g. activation, entanglement, seed.
        history: what training left behind of the members, which are the product of the axes: of an ensemble, or of as
            many modules.
        sets: by name, e.g. ``"train"`` and ``"test"``, one data set for each member. Members that saw the same points
            share the same one, so that a large set is held once.
    """

    axes: Mapping[str, Sequence[Any]]
    history: History[Any]
    sets: Mapping[str, Sequence[Dataset]]

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
        """Return the number of the member with these values on the axes; an axis of one entry may be left out.

        Raises:
            ValueError: an axis is missing or has no such value, or there is no such axis.
        """
        if unknown := where.keys() - self.axes.keys():
            raise ValueError(f"where must name axes of the sweep, {', '.join(self.axes)}, got {', '.join(unknown)}.")
        index = 0
        for name, axis in self.axes.items():
            value = where.get(name, axis[0] if len(axis) == 1 else None)
            if value not in axis:
                raise ValueError(f"{name} must be one of {list(axis)}, got {value!r}.")
            index = index * len(axis) + list(axis).index(value)
        return index

    def select(self, **where: Any) -> Sweep:
        """Return the sweep of the members with these values, whose axes keep one entry.

        Raises:
            ValueError: an axis has no such value, or there is no such axis.
        """
        axes = {name: [where[name]] if name in where else list(axis) for name, axis in self.axes.items()}
        chosen = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        members = [self.member(**where | values) for values in chosen]
        whole = self.history
        history = replace(
            whole,
            snapshots=tuple(
                networks.select(members) if isinstance(networks, Ensemble) else [networks[m] for m in members]
                for networks in whole.snapshots
            ),
            loss=whole.loss[:, members],
            diverged={k: whole.diverged[m] for k, m in enumerate(members) if m in whole.diverged},
            observed={name: values[:, members] for name, values in whole.observed.items()},
        )
        return Sweep(axes, history, {name: [sets[m] for m in members] for name, sets in self.sets.items()})

    def data(self, name: str, n_points: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the points and targets of all members.

        Args:
            name: of the sets.
            n_points: of each member the first so many; by default all.

        Returns:
            ``[n_networks, n_points, n_features]`` and ``[n_networks, n_points]``; where all members share one set,
            views of it.

        Raises:
            ValueError: there is no such set.
        """
        if name not in self.sets:
            raise ValueError(f"name must be that of a set, {', '.join(self.sets)}, got {name!r}.")
        sets = self.sets[name]
        if all(data is sets[0] for data in sets):
            x, y = (part[:n_points] for part in (sets[0].x, sets[0].y))
            return x.expand(len(sets), *x.shape), y.expand(len(sets), *y.shape)
        return torch.stack([data.x[:n_points] for data in sets]), torch.stack([data.y[:n_points] for data in sets])

    def with_axes(self, **where: Any) -> Sweep:
        """Return the sweep with further axes of one entry each in front: what sets it apart from other sweeps.

        Raises:
            ValueError: it has such an axis.
        """
        if known := where.keys() & self.axes.keys():
            raise ValueError(f"where must name new axes, got {', '.join(known)}, which the sweep has.")
        return replace(self, axes={**{name: [value] for name, value in where.items()}, **self.axes})


def merged(results: Iterable[xr.Dataset | xr.DataArray]) -> xr.Dataset:
    """Put the results of several sweeps, or several results of one sweep, into one.

    Args:
        results: data sets, or arrays with a name; what they have in common must agree.

    Returns:
        On every dimension the labels of all: numbers ascending, names in the order of their first appearance, where
        the results differ in them. What was not measured is NaN.

    Raises:
        ValueError: there are no results.
    """
    parts = list(results)
    if not parts:
        raise ValueError("results must be at least one, got none.")
    whole = xr.merge(parts, join="outer", compat="no_conflicts")
    names: dict[Any, dict[Any, None]] = {}
    for part in parts:
        for dim, index in part.indexes.items():
            names.setdefault(dim, {}).update(dict.fromkeys(index))
    return whole.reindex({dim: list(labels) for dim, labels in names.items() if whole[dim].dtype.kind in "OU"})


def pick(sweeps: Iterable[Sweep], **where: Any) -> Sweep:
    """Return the one of several sweeps that has these values on its axes.

    Raises:
        ValueError: none or more than one has.
    """
    fitting = [sweep for sweep in sweeps if all(value in sweep.axes.get(name, []) for name, value in where.items())]
    if len(fitting) != 1:
        raise ValueError(f"where must hold for one of the sweeps, got {where}, which holds for {len(fitting)}.")
    return fitting[0]


def prefixed(results: xr.Dataset, prefix: str) -> xr.Dataset:
    """Return the results with a prefix to the names of the measures, so that they can stand beside others."""
    return results.rename({name: f"{prefix}{name}" for name in results.data_vars})


def training_results(sweep: Sweep) -> xr.Dataset:
    """What training came to.

    Args:
        sweep: networks with a training and a test set.

    Returns:
        ``train_accuracy`` and ``test_accuracy`` with dimension epoch and the axes; ``loss``, that of the last epoch
        trained, and ``diverged`` (0 or 1) with the axes.
    """
    history = sweep.history
    results = xr.Dataset()
    for name in ("train", "test"):
        x, y = sweep.data(name)
        stacked = torch.stack([accuracy(ensemble, x, y) for ensemble in history.snapshots])
        results[f"{name}_accuracy"] = sweep.label(stacked, "epoch", epoch=list(history.epochs))
    if len(history.loss):
        results["loss"] = sweep.label(history.loss[-1])
    diverged = [float(member in history.diverged) for member in range(len(history.final))]
    results["diverged"] = sweep.label(torch.tensor(diverged))
    return results


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
            logit and start from the same function as those with two (`models.heads.with_one_logit`).
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
    split: dict[tuple[float, int], tuple[Dataset, Dataset]] = {}
    for entanglement, seed in product(axes["entanglement"], axes["seed"]):
        data = spirals(entanglement, noise=noise, codimension=codimension, distance=distance, seed=seed)
        split[entanglement, seed] = data.split(train_share=train_share, seed=seed)
    train_sets, test_sets = zip(*(split[entanglement, seed] for _, entanglement, seed in members), strict=True)
    x, y = (torch.stack([getattr(data, name) for data in train_sets]) for name in ("x", "y"))
    history = train(
        with_one_logit(ensemble) if single else ensemble,
        x,
        y[..., None].float() if single else y,
        training,
        snapshots=snapshots,
        objective=objective,
    )
    return Sweep(axes, history, {"train": train_sets, "test": test_sets})


def spiral_sweeps(over: Mapping[str, Sequence[Any] | Mapping[str, Any]], **options: Any) -> list[Sweep]:
    """Train a sweep for every combination of further options, e.g. for every width and distance.

    Args:
        over: for each option of `spiral_sweep` its values, none twice; or their names with the values, where these are
            no numbers or texts.
        **options: further options of `spiral_sweep`, the same for all.

    Returns:
        The sweeps, in the order of the product; each has its own values, or their names, as axes of one entry in
        front, so that `merged` puts their results into place.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is outside its range, or has no value or one of them twice.
    """
    choices: dict[str, dict[Any, Any]] = {}
    for name, values in over.items():
        choices[name] = dict(values) if isinstance(values, Mapping) else {value: value for value in values}
        if not values or len(choices[name]) < len(values):
            raise ValueError(f"over must name values, none twice, for every option, got {values!r} for {name!r}.")
    sweeps = []
    for names in product(*choices.values()):
        where = dict(zip(choices, names, strict=True))
        chosen = {option: choices[option][name] for option, name in where.items()}
        sweeps.append(spiral_sweep(**chosen, **options).with_axes(**where))
    return sweeps
