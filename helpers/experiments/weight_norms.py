"""Labelled results of a sweep on the weights: their measures, how layers scale volume, and what that costs."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
import xarray as xr

from helpers.checks import Integer
from helpers.experiments.sweeps import Sweep, training_results
from helpers.metrics.accuracy import BLOCK
from helpers.metrics.volumes import log_area_change, log_volume_change
from helpers.metrics.weights import weight_measures
from helpers.training.protocol import Training
from helpers.training.train import train


def weight_results(sweep: Sweep) -> xr.Dataset:
    """All weight measures of every layer and snapshot, and what `training_results` has.

    Args:
        sweep: the networks.

    Returns:
        Variables of `metrics.WEIGHT_MEASURES` with dimensions epoch, layer and the axes.
    """
    epochs = list(sweep.history.epochs)
    layers = list(range(len(sweep.history.final.weights)))
    snapshots = [[weight_measures(w) for w in ensemble.weights] for ensemble in sweep.history.snapshots]
    results = xr.Dataset()
    for name in snapshots[0][0]:
        stacked = torch.stack([torch.stack([layer[name] for layer in by_layer]) for by_layer in snapshots])
        results[name] = sweep.label(stacked, "epoch", "layer", epoch=epochs, layer=layers)
    return results.merge(training_results(sweep))


def volume_results(sweep: Sweep, n_points: int = 100) -> xr.Dataset:
    """How each layer of the trained networks scales volume at test points.

    Args:
        sweep: the networks.
        n_points: test points of each member to look at, at least 1.

    Returns:
        With dimensions layer and the axes, ``log_volume``: median over the points of
        `metrics.log_volume_change` (−∞ where more than half the points are flattened), ``flattened``:
        share of the points at which the layer flattens space, and ``log_area``: median of
        `metrics.log_area_change` of all layers up to this one.
    """
    Integer(at_least=1)("n_points", n_points)
    final, (x, _) = sweep.history.final, sweep.data("test", n_points)
    blocks = [slice(i, i + BLOCK) for i in range(0, len(final), BLOCK)]
    logs, areas = (
        torch.cat([change(final.select(b), x[b]) for b in blocks], dim=1)
        for change in (log_volume_change, log_area_change)
    )
    layers = list(range(len(logs)))
    return xr.Dataset(
        {
            "log_volume": sweep.label(logs.median(dim=2).values, "layer", layer=layers),
            "log_area": sweep.label(areas.median(dim=2).values, "layer", layer=layers),
            "flattened": sweep.label(torch.isneginf(logs).double().mean(dim=2), "layer", layer=layers),
        }
    )


def density_cost(sweep: Sweep, training: Training) -> xr.DataArray:
    """Time of |det Dg| for all layers and training points, as a share of the training time.

    For each seed, the members with this seed are trained for one epoch, whose time stands for all epochs,
    and then `metrics.log_volume_change` is timed on the same members and all their training points.

    Args:
        sweep: the networks.
        training: the protocol they were trained with, at least one epoch.

    Returns:
        Ratios, named ``density_cost``, dimension seed.

    Raises:
        ValueError: the protocol has no epoch.
    """
    Integer(at_least=1)("epochs", training.epochs)
    one_epoch = replace(training, epochs=1)
    shares = []
    for seed in sweep.axes["seed"]:
        of_seed = sweep.select(seed=seed)
        ensemble, (x, y) = of_seed.history.final, of_seed.data("train")
        start = time.perf_counter()
        train(ensemble, x, y, one_epoch)
        trained = time.perf_counter()
        log_volume_change(ensemble, x)
        shares.append((time.perf_counter() - trained) / ((trained - start) * training.epochs))
    seeds = list(sweep.axes["seed"])
    return xr.DataArray(shares, dims="seed", coords={"seed": seeds}, name="density_cost")
