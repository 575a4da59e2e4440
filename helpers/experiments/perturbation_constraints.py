"""Networks on digits under constraints: trained by each protocol with each head, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
import xarray as xr
from scipy import stats
from torch import Tensor

from helpers.checks import Choice, Integer, ListOf, Real
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import standardise
from helpers.experiments.sweeps import Sweep
from helpers.metrics.accuracy import accuracy
from helpers.metrics.boundaries import boundary_points, line_distances
from helpers.metrics.sensitivity import (
    EQUAL_MASS,
    UNIT_FATES,
    at_fraction,
    constrained_accuracy,
    drop_off,
    loss_at_mass,
    sensitivity,
    unit_accuracy,
)
from helpers.metrics.vanishing import dead_units
from helpers.models.constraints import SIDES, Constraint
from helpers.models.ensemble import Ensemble
from helpers.models.heads import HEAD_NAME, head
from helpers.seeding import SEED
from helpers.training.protocol import OptimiserName, Training
from helpers.training.train import train, training_seconds

# How far the affine constraints go: 0 is none of it.
AMOUNTS = tuple(round(0.1 * k, 1) for k in range(11))
AFFINE: Mapping[str, Callable[[float], Constraint]] = MappingProxyType(
    {
        "scale": lambda amount: Constraint(scale=1 - amount),
        "offset": lambda amount: Constraint(offset=amount),
        "cutoff": lambda amount: Constraint(cutoff=1 - amount),
    }
)


@dataclass(frozen=True)
class Protocol:
    """How networks are trained and their values measured.

    Attributes:
        pixels: ``"raw"``, or ``"standardised"`` by `digits.standardise`.
        optimiser: ``"sgd"`` without momentum, or ``"adam"``.
        scope: of the range that constraints are measured by, see `perturbation.value_span`.
    """

    pixels: str
    optimiser: OptimiserName
    scope: str


# What the study's code does; the same with ranges of the layer alone; what its text says; and what one would do today.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "as coded": Protocol("raw", "sgd", "both"),
        "own range": Protocol("raw", "sgd", "layer"),
        "as written": Protocol("standardised", "sgd", "layer"),
        "adam": Protocol("standardised", "adam", "layer"),
    }
)
PROTOCOL_NAME = Choice(tuple(PROTOCOLS))


class TooLong(RuntimeError):
    """A run is refused because it would take hours."""


@dataclass(frozen=True)
class HeadSweep:
    """Trained networks with their data and what constraints do to them.

    Attributes:
        results: see `head_results`, with the dimension training in front.
        networks: for each protocol and head the ensemble, one member for each seed.
        sets: for each protocol the training and the test set that its networks saw.
    """

    results: xr.Dataset
    networks: Mapping[tuple[str, str], Ensemble]
    sets: Mapping[str, tuple[Dataset, Dataset]]


def head_sweep(
    data: tuple[Dataset, Dataset],
    *,
    protocols: Sequence[str],
    heads: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    width: int = 128,
    n_steps: int = 100,
    most_hours: float | None = None,
    device: str = "auto",
) -> HeadSweep:
    """Train networks with one hidden layer and constrain it.

    Args:
        data: training and test set, raw pixels.
        protocols: names from `PROTOCOLS`, none twice.
        heads: see `perturbation.head`, none twice.
        seeds: at least one, none twice; a seed's networks start from the same weights under every head.
        training: epochs, batch size and learning rate; the optimiser is the protocol's.
        width: neurons in the hidden layer.
        n_steps: steps from one end of a range to the other, at least 1.
        most_hours: refuse what would take longer than this to train without a GPU; None for no limit.
        device: see `train`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.
        TooLong: it would take too long; the sentence says how many hours.
    """
    ListOf(PROTOCOL_NAME)("protocols", protocols)
    ListOf(HEAD_NAME)("heads", heads)
    ListOf(SEED)("seeds", seeds)
    sizes = [data[0].x.shape[1], Integer(at_least=1)("width", width), int(data[0].y.max()) + 1]
    fractions = torch.linspace(0, 1, Integer(at_least=1)("n_steps", n_steps) + 1)
    ways = dict.fromkeys((PROTOCOLS[name].pixels, PROTOCOLS[name].optimiser) for name in protocols)
    standardised = standardise(*data)
    sets = {"raw": data, "standardised": (standardised[0], standardised[1])}
    rules = {way: replace(training, optimiser=way[1], momentum=0.0) for way in ways}
    if most_hours is not None and not (device != "cpu" and torch.cuda.is_available()):
        hours = _hours(sizes, sets, rules, len(heads) * len(seeds))
        if hours > Real(above=0)("most_hours", most_hours):
            raise TooLong(
                f"Training {len(ways) * len(heads) * len(seeds)} networks would take about {hours:.1f} hours without "
                f"a GPU, more than most_hours = {most_hours:g}: use a machine that has one, or allow more."
            )
    trained = {
        (way, name): _train_head(name, sizes, seeds, sets[way[0]][0], rules[way], device)
        for way in ways
        for name in heads
    }
    parts: list[xr.Dataset] = []
    networks: dict[tuple[str, str], Ensemble] = {}
    for protocol in protocols:
        rule = PROTOCOLS[protocol]
        own = {name: trained[(rule.pixels, rule.optimiser), name] for name in heads}
        networks |= {(protocol, name): ensemble for name, ensemble in own.items()}
        parts.append(head_results(own, sets[rule.pixels], fractions, scope=rule.scope))
    results = xr.concat(parts, xr.Variable("training", list(protocols)))
    return HeadSweep(results, networks, {name: sets[PROTOCOLS[name].pixels] for name in protocols})


def _train_head(
    name: str, sizes: Sequence[int], seeds: Sequence[int], data: Dataset, training: Training, device: str
) -> Ensemble:
    psi = head(name)
    start = Ensemble(sizes, [psi.activation] * len(seeds), seeds, output=psi.output, output_bias=False)
    return train(start, data.x, data.y, training, device=device).final


def _hours(
    sizes: Sequence[int],
    sets: Mapping[str, tuple[Dataset, Dataset]],
    rules: Mapping[tuple[str, OptimiserName], Training],
    n_networks: int,
) -> float:
    """Hours for so many networks by each way of training, one after the other, from a few epochs of one network."""
    one = Ensemble(sizes, ["relu"], [0], output_bias=False)
    seconds = (
        training_seconds(one, sets[pixels][0].x, sets[pixels][0].y, rule, device="cpu")
        for (pixels, _), rule in rules.items()
    )
    return sum(seconds) * n_networks / 3600


def head_results(
    ensembles: Mapping[str, Ensemble], data: tuple[Dataset, Dataset], fractions: Tensor, *, scope: str
) -> xr.Dataset:
    """What constraints do to trained networks.

    Args:
        ensembles: for each head its networks, all with the same seeds.
        data: the training set, on which the hidden layer is clamped, as in the study; and the test set, on which
            the rest is measured.
        fractions: of the range, ascending from 0 to 1.
        scope: of the range, see `perturbation.value_span`.

    Returns:
        With dimensions head and seed and those in brackets; all shares and fractions in percent.

        * ``accuracy``, ``touched``, ``mass`` (side, percent): see `perturbation.Sensitivity`;
        * ``train_accuracy``, ``test_accuracy``: without a constraint;
        * ``drop_off`` (side): see `perturbation.drop_off`;
        * ``range_at_drop_off``, ``touched_at_drop_off``, ``mass_at_drop_off`` (side): how much of the range has been
          cut away there, of the values changed, of the mass moved;
        * ``loss_at_equal_mass`` (side): accuracy lost where `EQUAL_MASS` of the mass has been moved;
        * ``dead``: see `perturbation.dead_units`;
        * ``unit_loss_mean``, ``unit_loss_most`` (fate): accuracy lost when a unit is held at its lowest or highest
          value, mean and largest over the units;
        * ``affine_accuracy`` (kind, amount): under a scale of 1 − amount, an offset of amount, a cutoff at
          1 − amount of each unit's own range.
    """
    train_set, test_set = data
    parts = []
    for ensemble in ensembles.values():
        found = sensitivity(ensemble, train_set.x, train_set.y, fractions, scope=scope)
        test_accuracy = accuracy(ensemble, test_set.x, test_set.y)
        units = [
            test_accuracy[:, None] - unit_accuracy(ensemble, test_set.x, test_set.y, fate)
            for fate in UNIT_FATES.values()
        ]
        affine = [
            constrained_accuracy(ensemble, test_set.x, test_set.y, [make(amount) for amount in AMOUNTS])
            for make in AFFINE.values()
        ]
        half = drop_off(found.accuracy, fractions)
        values = {
            "accuracy": (("side", "percent", "seed"), found.accuracy),
            "touched": (("side", "percent", "seed"), found.touched),
            "mass": (("side", "percent", "seed"), found.mass),
            "train_accuracy": (("seed",), accuracy(ensemble, train_set.x, train_set.y)),
            "test_accuracy": (("seed",), test_accuracy),
            "drop_off": (("side", "seed"), half),
            "range_at_drop_off": (("side", "seed"), torch.stack([half[0], 1 - half[1]])),
            "touched_at_drop_off": (("side", "seed"), at_fraction(found.touched, fractions, half)),
            "mass_at_drop_off": (("side", "seed"), at_fraction(found.mass, fractions, half)),
            "loss_at_equal_mass": (("side", "seed"), loss_at_mass(found, EQUAL_MASS)),
            "dead": (("seed",), dead_units(ensemble, train_set.x)),
            "unit_loss_mean": (("fate", "seed"), torch.stack([loss.mean(dim=1) for loss in units])),
            "unit_loss_most": (("fate", "seed"), torch.stack([loss.amax(dim=1) for loss in units])),
            "affine_accuracy": (("kind", "amount", "seed"), torch.stack(affine)),
        }
        parts.append(xr.Dataset({name: (dims, 100 * array.double().numpy()) for name, (dims, array) in values.items()}))
    coords = {
        "side": list(SIDES),
        "percent": (100 * fractions.double()).round(decimals=3).numpy(),
        "seed": list(next(iter(ensembles.values())).seeds),
        "fate": list(UNIT_FATES),
        "kind": list(AFFINE),
        "amount": [100 * amount for amount in AMOUNTS],
    }
    return xr.concat(parts, xr.Variable("head", list(ensembles))).assign_coords(coords)


def feature_results(sweep: Sweep, *, n_steps: int = 100) -> xr.Dataset:
    """What constraints on the first hidden layer do to networks trained on spirals.

    Args:
        sweep: networks of spirals in the plane.
        n_steps: steps from one end of a range to the other, at least 1.

    Returns:
        With the axes of the sweep and the dimensions in brackets, in percent but for the correlation:

        * ``accuracy``, ``drop_off``, ``touched_at_drop_off``, ``mass_at_drop_off``, ``loss_at_equal_mass`` (side): see
          `digit_sweeps.head_results`, on the test points, with drop-offs half way to one half;
        * ``nearness``: Spearman's correlation over the units between how close a unit's line is to the decision
          boundary (minus the median distance of the boundary's points from it) and the accuracy lost without the
          unit, held at its lowest value.
    """
    networks, (x, y) = sweep.history.final, sweep.data("test")
    fractions = torch.linspace(0, 1, n_steps + 1)
    found = sensitivity(networks, x, y, fractions)
    # Guessing gets half of two classes right: the accuracy itself may never be halved.
    half = drop_off(found.accuracy, fractions, chance=0.5)
    harm = unit_harm(sweep)
    reach = float(x.norm(dim=2).max())
    correlations = []
    for k, points in enumerate(boundary_points(networks, reach)):
        distance = line_distances(networks, k, points).median(dim=0).values
        alike = len(points) == 0 or bool((harm[k] == harm[k, 0]).all())
        correlations.append(0.0 if alike else float(stats.spearmanr(-distance.numpy(), harm[k].numpy()).statistic))
    sides, grid = ["below", "above"], (100 * fractions.double()).round(decimals=3).tolist()
    return xr.Dataset(
        {
            "accuracy": sweep.label(100 * found.accuracy, "side", "percent", side=sides, percent=grid),
            "drop_off": sweep.label(100 * half, "side", side=sides),
            "touched_at_drop_off": sweep.label(100 * at_fraction(found.touched, fractions, half), "side", side=sides),
            "mass_at_drop_off": sweep.label(100 * at_fraction(found.mass, fractions, half), "side", side=sides),
            "loss_at_equal_mass": sweep.label(100 * loss_at_mass(found, EQUAL_MASS), "side", side=sides),
            "nearness": sweep.label(torch.tensor(correlations)),
        }
    )


def unit_harm(sweep: Sweep) -> Tensor:
    """Test accuracy lost when a unit of the first hidden layer is held at its lowest value, ``[n_networks, width]``."""
    networks, (x, y) = sweep.history.final, sweep.data("test")
    return accuracy(networks, x, y)[:, None] - unit_accuracy(networks, x, y, UNIT_FATES["lowest"])
