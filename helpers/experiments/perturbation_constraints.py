"""Networks on digits under constraints: trained by each protocol with each head, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any, Literal

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
    CLAMPED_FROM,
    EQUAL_MASS,
    UNIT_FATES,
    at_fraction,
    constrained_accuracy,
    drop_off,
    loss_at_mass,
    sensitivity,
    unit_accuracy,
)
from helpers.metrics.vanishing import dead_unit_share
from helpers.models.constraints import Constraint, ScopeName
from helpers.models.ensemble import Ensemble
from helpers.models.heads import HEAD_NAME, head
from helpers.seeding import SEED
from helpers.training.history import History
from helpers.training.protocol import OptimiserName, Training
from helpers.training.train import DeviceName, train, training_seconds

PixelsName = Literal["raw", "standardised"]
ProtocolName = Literal["as coded", "own range", "as written", "adam"]

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
class HeadProtocol:
    """How networks are trained and their values measured.

    Attributes:
        pixels: ``"raw"``, or ``"standardised"`` by `digits.standardise`.
        optimiser: ``"sgd"`` without momentum, or ``"adam"``.
        scope: of the range that constraints are measured by, see `models.constraints.value_span`.
    """

    pixels: PixelsName
    optimiser: OptimiserName
    scope: ScopeName


# What the study's code does; the same with ranges of the layer alone; what its text says; and what one would do today.
PROTOCOLS: Mapping[ProtocolName, HeadProtocol] = MappingProxyType(
    {
        "as coded": HeadProtocol("raw", "sgd", "both"),
        "own range": HeadProtocol("raw", "sgd", "layer"),
        "as written": HeadProtocol("standardised", "sgd", "layer"),
        "adam": HeadProtocol("standardised", "adam", "layer"),
    }
)
PROTOCOL_NAME = Choice(tuple(PROTOCOLS))


class TooLong(RuntimeError):
    """A run is refused because it would take hours."""


def head_sweeps(
    data: tuple[Dataset, Dataset],
    *,
    protocols: Sequence[ProtocolName],
    heads: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    width: int = 128,
    most_hours: float | None = None,
    device: DeviceName = "auto",
) -> list[Sweep]:
    """Train networks with one hidden layer, by every protocol with every head.

    Args:
        data: training and test set, raw pixels.
        protocols: names from `PROTOCOLS`, none twice.
        heads: names, see `models.heads.head`, none twice.
        seeds: at least one, none twice; a seed's networks start from the same weights under every head.
        training: epochs, batch size and learning rate; the optimiser is the protocol's.
        width: neurons in the hidden layer.
        most_hours: refuse what would take longer than this to train without a GPU; None for no limit.
        device: see `train`.

    Returns:
        For each protocol and head a sweep, with training (the protocol) and head as axes of one entry before seed.
        Protocols that differ in what is measured alone share their networks.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.
        TooLong: it would take too long; the sentence says how many hours.
    """
    ListOf(PROTOCOL_NAME)("protocols", protocols)
    ListOf(HEAD_NAME)("heads", heads)
    ListOf(SEED)("seeds", seeds)
    sizes = [data[0].x.shape[1], Integer(at_least=1)("width", width), int(data[0].y.max()) + 1]
    standardised = standardise(*data)
    sets = {"raw": data, "standardised": (standardised[0], standardised[1])}
    ways = {
        (rule.pixels, rule.optimiser): (sets[rule.pixels][0], replace(training, optimiser=rule.optimiser, momentum=0.0))
        for rule in (PROTOCOLS[name] for name in protocols)
    }
    if most_hours is not None and not (device != "cpu" and torch.cuda.is_available()):
        hours = _hours(sizes, ways.values(), len(heads) * len(seeds))
        if hours > Real(above=0)("most_hours", most_hours):
            raise TooLong(
                f"Training {len(ways) * len(heads) * len(seeds)} networks would take about {hours:.1f} hours without "
                f"a GPU, more than most_hours = {most_hours:g}: use a machine that has one, or allow more."
            )
    histories = {
        (way, name): _train_head(name, sizes, seeds, *how, device) for way, how in ways.items() for name in heads
    }
    sweeps = []
    for protocol, name in product(protocols, heads):
        rule = PROTOCOLS[protocol]
        shared = {key: [part] * len(seeds) for key, part in zip(("train", "test"), sets[rule.pixels], strict=True)}
        sweep = Sweep({"seed": list(seeds)}, histories[(rule.pixels, rule.optimiser), name], shared)
        sweeps.append(sweep.with_axes(training=protocol, head=name))
    return sweeps


def _train_head(
    name: str, sizes: Sequence[int], seeds: Sequence[int], data: Dataset, training: Training, device: DeviceName
) -> History[Ensemble]:
    psi = head(name)
    start = Ensemble(sizes, [psi.activation] * len(seeds), seeds, output=psi.output, output_bias=False)
    return train(start, data.x, data.y, training, device=device)


def _hours(sizes: Sequence[int], ways: Iterable[tuple[Dataset, Training]], n_networks: int) -> float:
    """Hours for so many networks by each way of training, one after the other, from a few epochs of one network."""
    network = Ensemble(sizes, ["relu"], [0], output_bias=False)
    seconds = (training_seconds(network, data.x, data.y, training, device="cpu") for data, training in ways)
    return sum(seconds) * n_networks / 3600


def clamp_results(
    sweep: Sweep, name: str, *, n_steps: int = 100, scope: ScopeName = "layer", chance: float = 0.0
) -> xr.Dataset:
    """What is left of networks whose first hidden layer is clamped, from below and from above.

    Args:
        sweep: the networks.
        name: of the set whose points are classified.
        n_steps: steps from one end of the range to the other, at least 1.
        scope: of the range, see `models.constraints.value_span`.
        chance: see `metrics.sensitivity.drop_off`.

    Returns:
        With side, the axes and the dimension in brackets; all in percent.

        * ``accuracy``, ``touched``, ``mass`` (percent): see `metrics.sensitivity.Sensitivity`;
        * ``drop_off``: see `metrics.sensitivity.drop_off`;
        * ``range_at_drop_off``, ``touched_at_drop_off``, ``mass_at_drop_off``: how much of the range has been cut away
          there, of the values changed, of the mass moved;
        * ``loss_at_equal_mass``: accuracy lost where `metrics.sensitivity.EQUAL_MASS` of the mass has been moved.
    """
    fractions = torch.linspace(0, 1, Integer(at_least=1)("n_steps", n_steps) + 1)
    curves = sensitivity(sweep.history.final, *sweep.data(name), fractions, scope=scope)
    half = drop_off(curves.accuracy, fractions, chance=chance)
    percent = (100 * fractions.double()).round(decimals=3).tolist()
    by_fraction = {"accuracy": curves.accuracy, "touched": curves.touched, "mass": curves.mass}
    at_drop_off = {
        "drop_off": half,
        "range_at_drop_off": torch.stack([half[0], 1 - half[1]]),
        "touched_at_drop_off": at_fraction(curves.touched, fractions, half),
        "mass_at_drop_off": at_fraction(curves.mass, fractions, half),
        "loss_at_equal_mass": loss_at_mass(curves, EQUAL_MASS),
    }
    sides = list(CLAMPED_FROM)
    return xr.Dataset(
        {
            **{
                measure: sweep.label(100 * values.double(), "side", "percent", side=sides, percent=percent)
                for measure, values in by_fraction.items()
            },
            **{
                measure: sweep.label(100 * values.double(), "side", side=sides)
                for measure, values in at_drop_off.items()
            },
        }
    )


def head_results(sweep: Sweep, *, n_steps: int = 100) -> xr.Dataset:
    """What constraints do to networks on digits.

    Args:
        sweep: one of `head_sweeps`; the hidden layer is clamped on the training set, as in the study, and the rest is
            measured on the test set.
        n_steps: see `clamp_results`.

    Returns:
        What `clamp_results` has, by the scope of the sweep's protocol; with the axes and the dimensions in brackets,
        all in percent:

        * ``train_accuracy``, ``test_accuracy``: without a constraint;
        * ``dead``: see `metrics.vanishing.dead_unit_share`;
        * ``unit_loss_mean``, ``unit_loss_most`` (fate): accuracy lost when a unit is held at its lowest or highest
          value, mean and largest over the units;
        * ``affine_accuracy`` (kind, amount): under a scale of 1 − amount, an offset of amount, a cutoff at
          1 − amount of each unit's own range.
    """
    (protocol,) = sweep.axes["training"]
    networks, train_set, test_set = sweep.history.final, sweep.data("train"), sweep.data("test")
    test_accuracy = accuracy(networks, *test_set)
    lost = [test_accuracy[:, None] - unit_accuracy(networks, *test_set, fate) for fate in UNIT_FATES.values()]
    affine = [
        constrained_accuracy(networks, *test_set, [constraint(amount) for amount in AMOUNTS])
        for constraint in AFFINE.values()
    ]
    fate = {"fate": list(UNIT_FATES)}
    measures: dict[str, tuple[dict[str, list[Any]], Tensor]] = {
        "train_accuracy": ({}, accuracy(networks, *train_set)),
        "test_accuracy": ({}, test_accuracy),
        "dead": ({}, dead_unit_share(networks, train_set[0])[0]),
        "unit_loss_mean": (fate, torch.stack([loss.mean(dim=1) for loss in lost])),
        "unit_loss_most": (fate, torch.stack([loss.amax(dim=1) for loss in lost])),
        "affine_accuracy": (
            {"kind": list(AFFINE), "amount": [100 * amount for amount in AMOUNTS]},
            torch.stack(affine),
        ),
    }
    clamped = clamp_results(sweep, "train", n_steps=n_steps, scope=PROTOCOLS[protocol].scope)
    labelled = {name: sweep.label(100 * v.double(), *coords, **coords) for name, (coords, v) in measures.items()}
    return clamped.assign(labelled)


def feature_results(sweep: Sweep, *, n_steps: int = 100) -> xr.Dataset:
    """What constraints on the first hidden layer do to networks trained on spirals.

    Args:
        sweep: networks of spirals in the plane.
        n_steps: see `clamp_results`.

    Returns:
        What `clamp_results` has, on the test points, with drop-offs half way to one half; and with the axes
        ``nearness``: Spearman's correlation over the units between how close a unit's line is to the decision boundary
        (minus the median distance of the boundary's points from it) and the accuracy lost without the unit, held at
        its lowest value.
    """
    networks, (x, _) = sweep.history.final, sweep.data("test")
    harm = unit_harm(sweep)
    reach = float(x.norm(dim=2).max())
    correlations = []
    for k, points in enumerate(boundary_points(networks, reach)):
        distance = line_distances(networks, k, points).median(dim=0).values
        alike = len(points) == 0 or bool((harm[k] == harm[k, 0]).all())
        correlations.append(0.0 if alike else float(stats.spearmanr(-distance.numpy(), harm[k].numpy()).statistic))
    # Guessing gets half of two classes right: the accuracy itself may never be halved.
    clamped = clamp_results(sweep, "test", n_steps=n_steps, chance=0.5)
    return clamped.assign(nearness=sweep.label(torch.tensor(correlations)))


def unit_harm(sweep: Sweep) -> Tensor:
    """Test accuracy lost when a unit of the first hidden layer is held at its lowest value, ``[n_networks, width]``."""
    networks, test_set = sweep.history.final, sweep.data("test")
    return accuracy(networks, *test_set)[:, None] - unit_accuracy(networks, *test_set, UNIT_FATES["lowest"])
