"""Labelled results of a sweep on how networks treat the classes: vanishing gradients, and what a hidden layer maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from helpers.checks import Integer, ListOf
from helpers.datasets.dataset import Dataset
from helpers.experiments.sweeps import Sweep, merged, training_results
from helpers.metrics.mappings import (
    area,
    asymmetry,
    collapsed_class,
    displacement,
    effective_rank,
    margin,
    shape_distance,
    spread,
)
from helpers.metrics.vanishing import dead_unit_share, zero_gradient_share
from helpers.models.gradients import InputGradients
from helpers.seeding import numpy_stream
from helpers.training.protocol import Training
from helpers.training.train import train


def gradient_results(sweep: Sweep, batch_sizes: Sequence[int], *, n_points: int = 1000) -> xr.Dataset:
    """Where the gradients vanish, at every snapshot.

    Args:
        sweep: networks with two logits.
        batch_sizes: numbers of points behind one gradient, none twice.
        n_points: training points of each member to look at, at least as many as the largest batch.

    Returns:
        ``zero_gradients``: `vanishing.zero_gradient_share` with dimensions points (the batch size), epoch, layer and
        the axes; ``dead_units``: `vanishing.dead_unit_share` with epoch, layer (the hidden ones) and the axes;
        ``input_gradient``: median over the points of the norm of the loss's gradient by the point, with epoch and the
        axes (the vanishing-gradient check of Ślusarz 2021, §3.3, requirement 1).

    Raises:
        ValueError: a batch is larger than the points there are.
    """
    ListOf(Integer(at_least=1))("batch_sizes", batch_sizes)
    x, y = sweep.data("train", n_points)
    snapshots, epochs = sweep.history.snapshots, list(sweep.history.epochs)
    layers = list(range(len(sweep.history.final.weights)))
    shares = [
        torch.stack([zero_gradient_share(ensemble, x, y, batch_size=size) for ensemble in snapshots])
        for size in batch_sizes
    ]
    dead = torch.stack([dead_unit_share(ensemble, x) for ensemble in snapshots])
    member = torch.arange(len(x)).repeat_interleave(x.shape[1])
    by_point = [
        InputGradients(ensemble, "cross_entropy").both(member, x.flatten(0, 1), y.flatten())[1]
        for ensemble in snapshots
    ]
    norms = [torch.linalg.vector_norm(g, dim=1).view(len(x), -1).median(dim=1).values for g in by_point]
    leading: dict[str, Sequence[Any]] = {"points": list(batch_sizes), "epoch": epochs, "layer": layers}
    return xr.Dataset(
        {
            "zero_gradients": sweep.label(torch.stack(shares), *leading, **leading),
            "input_gradient": sweep.label(torch.stack(norms), "epoch", epoch=epochs),
        }
    ).merge(
        # The output layer has no units that could be off.
        {"dead_units": sweep.label(dead, "epoch", "layer", epoch=epochs, layer=layers[:-1])},
        join="outer",
    )


def mapping_results(sweep: Sweep, data: Dataset, *, layer: int = -1) -> xr.Dataset:
    """Where a hidden layer sends the two classes of a data set, at every snapshot: measures of `metrics.mappings`.

    Args:
        sweep: the networks.
        data: points, the same for all members.
        layer: the hidden layer, from 0; −1 is the last one.

    Returns:
        With dimensions class, epoch and the axes ``spread``, ``area`` and ``effective_rank``. With epoch and the axes
        ``collapsed``, 1 where one class has collapsed, else 0, and ``collapsed_with_outliers``, the same with no
        point overlooked; ``leaning``, 1 where it is class 1, −1 where it is class 0, else 0; ``asymmetry``. Of the last
        snapshot alone, with the axes, ``margin`` in units of the spread of all points. With pairing, epoch and the axes
        ``slope`` and ``r_squared`` of `mappings.displacement`; pairing is which image goes with a point: ``own``,
        ``shuffled`` (that of another one, as in the study's code), ``none`` (the mean of all images, as of a mapping
        without any effect).
    """
    epochs = list(sweep.history.epochs)
    leading: dict[int, dict[str, Sequence[Any]]] = {
        2: {"class": [0, 1], "epoch": epochs},
        3: {"pairing": ["own", "shuffled", "none"], "epoch": epochs},
    }
    results = xr.Dataset()
    snapshots = [_measure(ensemble.hidden(data.x, layer), data, ensemble.seeds) for ensemble in sweep.history.snapshots]
    for name, first in snapshots[0].items():
        stacked = torch.stack([measured[name] for measured in snapshots], dim=first.dim() - 1)
        coords = leading[len(first)] if first.dim() == 2 else {"epoch": epochs}
        results[name] = sweep.label(stacked, *coords, **coords)
    mapped = sweep.history.final.hidden(data.x, layer)
    extent = spread(mapped)
    results["margin"] = sweep.label(margin(mapped, data.y) / torch.where(extent > 0, extent, 1.0))
    return results


def _measure(mapped: Tensor, data: Dataset, seeds: Sequence[int]) -> dict[str, Tensor]:
    sides = [mapped[:, data.y == label] for label in (0, 1)]
    collapsed, strictly = (collapsed_class(mapped, data.y), collapsed_class(mapped, data.y, outlying=0))
    orders = np.stack([numpy_stream(seed, "pairing").permutation(len(data)) for seed in seeds])
    shuffled = mapped[torch.arange(len(mapped))[:, None], torch.from_numpy(orders)]
    lines = [displacement(data.x, images) for images in (mapped, shuffled, mapped.mean(dim=1, keepdim=True))]
    return {
        **{
            measure.__name__: torch.stack([measure(side) for side in sides])
            for measure in (spread, area, effective_rank)
        },
        "collapsed": (collapsed >= 0).double(),
        "collapsed_with_outliers": (strictly >= 0).double(),
        "leaning": (collapsed == 1).double() - (collapsed == 0).double(),
        "asymmetry": asymmetry(mapped, data.y),
        **{name: torch.stack([line[name] for line in lines]) for name in lines[0]},
    }


def width_results(
    softmax: Sequence[Sweep], sigmoid: Sequence[Sweep] = (), *, batch_sizes: Sequence[int], n_points: int
) -> xr.Dataset:
    """How far networks of several widths come, where their gradients vanish, and what the loss changes.

    Args:
        softmax: sweeps with width as an axis and two logits.
        sigmoid: for some or all of these widths the networks that started from the same functions, with the same
            snapshots, and were trained with one logit on the binary cross-entropy.
        batch_sizes: see `gradient_results`.
        n_points: see `gradient_results`.

    Returns:
        With the axes, what `training_results` and `gradient_results` have; and ``loss_difference``, test accuracy less
        that of the sigmoid networks, NaN for the other widths.
    """
    results = merged(
        measured
        for sweep in softmax
        for measured in (training_results(sweep), gradient_results(sweep, batch_sizes, n_points=n_points))
    )
    if sigmoid:
        other = merged(training_results(sweep) for sweep in sigmoid)["test_accuracy"]
        results["loss_difference"] = results["test_accuracy"] - other
    return results.transpose("width", ...)


def batch_size_sweeps(sweep: Sweep, batch_sizes: Sequence[int], *, training: Training) -> list[Sweep]:
    """Train the networks of a sweep again from their start with other batch sizes.

    Args:
        sweep: networks with a snapshot of epoch 0.
        batch_sizes: points a step, none twice.
        training: the protocol of the sweep.

    Returns:
        For each budget and batch size a sweep, with these axes of one entry in front; the budget is what is kept
        equal: ``epochs``, or ``steps``, as nearly as whole epochs can.

    Raises:
        ValueError: there is no snapshot of epoch 0, or a batch size is outside its range.
    """
    ListOf(Integer(at_least=1))("batch_sizes", batch_sizes)
    start, (x, y), n_points = sweep.history.at(0), sweep.data("train"), len(sweep.sets["train"][0])
    n_steps = training.epochs * -(-n_points // training.batch_size)
    sweeps = []
    for budget, size in product(("epochs", "steps"), batch_sizes):
        epochs = training.epochs if budget == "epochs" else max(1, round(n_steps / -(-n_points // size)))
        history = train(start, x, y, replace(training, batch_size=size, epochs=epochs))
        sweeps.append(replace(sweep, history=history).with_axes(budget=budget, batch_size=size))
    return sweeps


def batch_size_results(sweeps: Sequence[Sweep], standard: Sweep, data: Dataset) -> xr.Dataset:
    """What the last hidden layer does after training with other batch sizes, beside the protocol's own.

    Args:
        sweeps: from `batch_size_sweeps`.
        standard: the same networks with the protocol's batch size.
        data: points to map.

    Returns:
        With budget, batch_size and the axes ``shape_distance``: `mappings.shape_distance` from the mapping of the
        standard network, and ``collapsed_by_batch``, 1 where one class has collapsed, else 0. With the axes
        ``seed_distance``: the standard network's distance from that of the next seed.
    """
    parts = [xr.Dataset({"seed_distance": shape_distances(standard, standard, data, shift=1)})]
    for sweep in sweeps:
        collapsed = collapsed_class(sweep.history.final.hidden(data.x, -1), data.y) >= 0
        distances = shape_distances(standard, sweep, data)
        parts.append(xr.Dataset({"shape_distance": distances, "collapsed_by_batch": sweep.label(collapsed.double())}))
    return merged(parts)


def shape_distances(sweep: Sweep, other: Sweep, data: Dataset, *, shift: int = 0) -> xr.DataArray:
    """How much the mapping of the last hidden layer differs in shape between two sweeps, after training.

    Args:
        sweep: networks.
        other: networks with the same axes, and maybe further ones of one entry.
        data: points to map.
        shift: compare each member with the one this many seeds on, the last with the first ones.

    Returns:
        `mappings.shape_distance` with the axes of the other sweep.

    Raises:
        ValueError: the axes differ.
    """
    alike = {name: list(axis) for name, axis in other.axes.items() if name in sweep.axes or len(axis) > 1}
    if {name: list(axis) for name, axis in sweep.axes.items()} != alike:
        raise ValueError(f"other must have the axes {dict(sweep.axes)}, got {dict(other.axes)}.")
    first, second = (networks.history.final.hidden(data.x, -1) for networks in (sweep, other))
    n_seeds = len(sweep.axes["seed"])
    members = torch.arange(len(second)).view(-1, n_seeds).roll(-shift, dims=1).flatten()  # seed is the innermost axis
    return other.label(shape_distance(first, second[members]))
