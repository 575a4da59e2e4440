"""Labelled results of a sweep on how networks treat the classes: vanishing gradients, and what a hidden layer maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from helpers.checks import Integer, ListOf
from helpers.datasets.dataset import Dataset
from helpers.experiments.sweeps import Sweep, spiral_sweep, training_results
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
    snapshots, epochs = sweep.history.ensembles, list(sweep.history.epochs)
    layers = list(range(len(sweep.history.final.weights)))
    shares = [
        torch.stack([zero_gradient_share(one, x, y, batch_size=size) for one in snapshots]) for size in batch_sizes
    ]
    dead = torch.stack([dead_unit_share(one, x) for one in snapshots])
    member = torch.arange(len(x)).repeat_interleave(x.shape[1])
    by_point = [InputGradients(one, "cross_entropy").both(member, x.flatten(0, 1), y.flatten())[1] for one in snapshots]
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
    snapshots = [_measure(one.hidden(data.x, layer), data, one.seeds) for one in sweep.history.ensembles]
    for name, first in snapshots[0].items():
        stacked = torch.stack([one[name] for one in snapshots], dim=first.dim() - 1)
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
    widths: Sequence[int],
    sigmoid_widths: Sequence[int],
    *,
    batch_sizes: Sequence[int],
    n_points: int,
    training: Training,
    **options: Any,
) -> xr.Dataset:
    """Train sweeps of several widths, some with softmax and with sigmoid; look at their accuracy and their gradients.

    Args:
        widths: neurons in each hidden layer, none twice.
        sigmoid_widths: those of them to train both ways.
        batch_sizes: see `gradient_results`.
        n_points: see `gradient_results`.
        training: the protocol.
        **options: of `sweeps.spiral_sweep`.

    Returns:
        With dimension width before all others: what `training_results` and `gradient_results` have, before
        and after training, and ``loss_difference``: test accuracy less that of the networks that started from the same
        functions and were trained with one logit on the binary cross-entropy, NaN for the other widths.
    """
    ListOf(Integer(at_least=1))("widths", widths)
    parts = []
    for width in widths:
        ends = {"width": width, "snapshots": [0, training.epochs], **options}
        sweep = spiral_sweep(training=training, **ends)
        results = training_results(sweep)
        if width in sigmoid_widths:
            sigmoid = spiral_sweep(training=replace(training, loss="binary_cross_entropy"), **ends)
            results["loss_difference"] = results["test_accuracy"] - training_results(sigmoid)["test_accuracy"]
        parts.append(results.merge(gradient_results(sweep, batch_sizes, n_points=n_points), join="outer"))
    return xr.concat(parts, xr.Variable("width", list(widths)))


def batch_size_results(batch_sizes: Sequence[int], data: Dataset, *, training: Training, **options: Any) -> xr.Dataset:
    """Train sweeps with several batch sizes, and compare what their last hidden layer does with the protocol's own.

    Args:
        batch_sizes: points a step, none twice.
        data: points to map.
        training: the protocol, with the batch size to compare with.
        **options: of `sweeps.spiral_sweep`.

    Returns:
        ``shape_distance``: `mappings.shape_distance` between the mappings of the same seed, and
        ``collapsed_by_batch``, with dimensions budget, batch_size and the axes; budget is what is kept equal:
        ``epochs`` or ``steps``.
        ``seed_distance``: the distance, at the protocol's batch size, from the next seed, with the axes.
    """
    ListOf(Integer(at_least=1))("batch_sizes", batch_sizes)
    standard = spiral_sweep(training=training, **options)
    n_train = len(standard.sets["train"][0])
    n_steps = training.epochs * -(-n_train // training.batch_size)
    budgets = []
    for name in ("epochs", "steps"):
        parts = []
        for size in batch_sizes:
            epochs = training.epochs if name == "epochs" else max(1, round(n_steps / -(-n_train // size)))
            other = spiral_sweep(training=replace(training, batch_size=size, epochs=epochs), **options)
            mapped = other.history.final.hidden(data.x, -1)
            collapsed = other.label((collapsed_class(mapped, data.y) >= 0).double())
            parts.append(
                xr.Dataset({"shape_distance": shape_distances(standard, other, data), "collapsed_by_batch": collapsed})
            )
        budgets.append(xr.concat(parts, xr.Variable("batch_size", list(batch_sizes))))
    results = xr.concat(budgets, xr.Variable("budget", ["epochs", "steps"]))
    return results.assign(seed_distance=shape_distances(standard, standard, data, shift=1))


def shape_distances(sweep: Sweep, other: Sweep, data: Dataset, *, shift: int = 0) -> xr.DataArray:
    """How much the mapping of the last hidden layer differs in shape between two sweeps, after training.

    Args:
        sweep: networks.
        other: networks with the same axes.
        data: points to map.
        shift: compare each member with the one this many seeds on, the last with the first ones.

    Returns:
        `mappings.shape_distance` with the axes.

    Raises:
        ValueError: the axes differ.
    """
    if {k: list(v) for k, v in sweep.axes.items()} != {k: list(v) for k, v in other.axes.items()}:
        raise ValueError(f"other must have the axes {dict(sweep.axes)}, got {dict(other.axes)}.")
    first, second = (one.history.final.hidden(data.x, -1) for one in (sweep, other))
    n_seeds = len(sweep.axes["seed"])
    members = torch.arange(len(second)).view(-1, n_seeds).roll(-shift, dims=1).flatten()  # seed is the innermost axis
    return sweep.label(shape_distance(first, second[members]))
