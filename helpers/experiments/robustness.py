"""The measures of chapter 3 as labelled results: noise, attacks and the truth for every network of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from helpers.attacks.curves import attack_curves, noise_accuracy
from helpers.attacks.gradient import bim, fgsm, pgd
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DIGITS, load_digits
from helpers.experiments.sweeps import Sweep
from helpers.metrics.accuracy import accuracy
from helpers.metrics.boundaries import BOUNDARY_MEASURES, boundary_measures
from helpers.models.ensemble import Ensemble
from helpers.norms import NormName
from helpers.robustness.bounds import certified
from helpers.robustness.verification import Radii, verify
from helpers.training.protocol import Training
from helpers.training.train import train

EXACT = "exact"
# What tries to break points that are proved.
CHECK = pgd(10, 0.3)


def noise_results(sweep: Sweep, noises: Sequence[float]) -> xr.Dataset:
    """Accuracy at noisy test points.

    Args:
        sweep: the networks.
        noises: half-widths of the noise, data units.

    Returns:
        ``clean_accuracy`` with the axes; ``noise_accuracy`` and ``noise_cost``, what noise takes from it, with noise
        and the axes.
    """
    final, (x, y) = sweep.history.final, sweep.data("test")
    clean = sweep.label(noise_accuracy(final, x, y, [0.0], draws=1)[0])
    noisy = sweep.label(noise_accuracy(final, x, y, noises), "noise", noise=[float(d) for d in noises])
    return xr.Dataset({"clean_accuracy": clean, "noise_accuracy": noisy, "noise_cost": clean - noisy})


def verified_radii(sweep: Sweep, epsilon: float, n_points: int, *, norm: NormName = "linf") -> Radii:
    """How far each of the first test points of each network keeps its class, up to ε, by the complete verifier.

    Args:
        sweep: networks in the plane.
        epsilon: the radius searched, data units.
        n_points: test points of each network.
        norm: of the distance.
    """
    return verify(sweep.history.final, *sweep.data("test", n_points), epsilon, norm=norm)


def robustness_results(sweep: Sweep, epsilons: Sequence[float], n_points: int) -> xr.Dataset:
    """Accuracy under every L∞ attack, at the worst point, and what separates them, for every network of a sweep.

    Args:
        sweep: networks in the plane.
        epsilons: radii, data units.
        n_points: test points of each network to attack, the same for all attacks.

    Returns:
        With dimensions attack, epsilon and the axes: ``robust_accuracy`` of each attack, of the best of all for each
        point, and exact (points that neither the verifier nor an attack refutes); ``robust_loss``, what it lacks of the
        clean accuracy of these points; ``overstated``, by how much it is above the exact; ``fgsm_less_bim``, the
        accuracy under FGSM less that under each attack; and ``zero_gradients``. With epsilon and the axes:
        ``undecided``, the share of points that were neither proved nor refuted by anything, ``search_wins``, see
        `robust_accuracy.Curves`, and ``contradictions``, points that the verifier proved and an attack broke. With the
        axes: ``true_radius``, the median over the points of the radius at which they fall, at most the largest ε.
    """
    x, y = sweep.data("test", n_points)
    ordered = sorted(float(epsilon) for epsilon in epsilons)
    radii = verified_radii(sweep, ordered[-1], n_points)
    curves = attack_curves(sweep.history.final, x, y, ordered, certified=radii.certified)
    verdicts = radii.decide(ordered)
    names = [*curves.attacks, EXACT]
    # A point whose radius is ε to within the verifier's tolerance is left open by it, and mostly broken by an attack.
    proved, open_ = verdicts == 1, (verdicts == -1) & curves.survived
    exact = (proved | open_).double().mean(dim=2)

    def label(values: Tensor) -> xr.DataArray:
        return sweep.label(values, "attack", "epsilon", attack=names, epsilon=ordered)

    def over_epsilon(values: Tensor) -> xr.DataArray:
        return sweep.label(values.double(), "epsilon", epsilon=ordered)

    robust = label(torch.cat([curves.robust_accuracy, exact[None]]))
    clean = sweep.label((radii.broken > 0).double().mean(dim=1))
    zeros = label(torch.cat([curves.zero_gradients, torch.full_like(exact, torch.nan)[None]]))
    # The curves leave proved points alone; here they are attacked all the same.
    final = sweep.history.final
    held = torch.stack([CHECK(final, x, y, epsilon).robust for epsilon in ordered])
    return xr.Dataset(
        {
            "robust_accuracy": robust,
            "robust_loss": clean - robust,
            "overstated": robust - robust.sel(attack=EXACT, drop=True),
            "fgsm_less_bim": robust.sel(attack="fgsm", drop=True) - robust,
            "zero_gradients": zeros,
            "undecided": over_epsilon(open_.double().mean(dim=2)),
            "search_wins": over_epsilon(curves.search_wins),
            "contradictions": over_epsilon((proved & ~held).double().sum(dim=2)),
            "true_radius": sweep.label(radii.broken.clamp(max=ordered[-1]).median(dim=1).values),
        }
    )


def boundary_results(sweep: Sweep, *, margin: float = 1.1) -> xr.Dataset:
    """How complex the decision boundary of each network is within the square that holds its spirals.

    Args:
        sweep: networks in the plane.
        margin: half the square's side over the largest coordinate of the training points.

    Returns:
        `boundaries.BOUNDARY_MEASURES` with the axes of the sweep, the connected regions of all classes together.
    """
    final = sweep.history.final
    rows: dict[str, list[Tensor]] = {name: [] for name in BOUNDARY_MEASURES}
    for k, data in enumerate(sweep.sets["train"]):
        reach = margin * float(data.x.abs().max())
        for name, value in boundary_measures(final.select([k]), (-reach, reach, -reach, reach)).items():
            rows[name].append(value[0].sum() if value.dim() == 2 else value[0])
    return xr.Dataset({name: sweep.label(torch.stack(values)) for name, values in rows.items()})


def tanh_ahead(robust_accuracy: xr.DataArray) -> xr.DataArray:
    """1 where tanh keeps more accuracy than ReLU at one ε at least, for each pair of networks of one seed; else 0.

    Args:
        robust_accuracy: with dimensions activation and epsilon.
    """
    tanh, relu = (robust_accuracy.sel(activation=name, drop=True) for name in ("tanh", "relu"))
    known = (tanh.notnull() & relu.notnull()).all("epsilon")
    return (tanh > relu).any("epsilon").astype(float).where(known)


def at(results: xr.Dataset, **where: float) -> xr.Dataset:
    """Give results further dimensions of one entry each, so that those of several sweeps can be merged."""
    return results.expand_dims({name: np.array([value]) for name, value in where.items()})


PROVED = "proved"
# Lowest and highest value of a pixel.
PIXEL = (0.0, 1.0)


def digit_results(
    name: str,
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    epsilons: Sequence[float],
    n_points: int,
    training: Training,
    hidden_layers: int = 5,
    width: int = 50,
) -> xr.Dataset:
    """The same networks on handwritten digits, pixels from 0 to 1, under L∞ attacks that stay within these bounds.

    Args:
        name: a set of `helpers.datasets.digits`.
        activations: one network of each for every seed.
        seeds: of initial weights and batch order.
        epsilons: radii, as shares of the range of a pixel.
        n_points: test images to attack, the first of the set.
        training: the protocol.
        hidden_layers: how many.
        width: neurons in each.

    Returns:
        ``robust_accuracy`` and ``zero_gradients`` with attack, epsilon, activation and seed: of FGSM, BIM, PGD, the
        best of all per point, and *proved*, the share of images that linear bounds prove, which is below the truth;
        ``search_wins`` with epsilon, activation and seed; ``test_accuracy`` of all test images.
    """
    white = float(DIGITS[name].white)
    train_set, test_set = (Dataset(data.x / white, data.y) for data in load_digits(name))
    axes: dict[str, list[Any]] = {"activation": list(activations), "seed": list(seeds)}
    members = list(product(*axes.values()))
    sizes = [train_set.x.shape[1], *[width] * hidden_layers, 10]
    ensemble = Ensemble(sizes, [member[0] for member in members], [member[1] for member in members])
    history = train(ensemble, train_set.x, train_set.y, training, memory_gib=8)
    shared = {"train": [train_set] * len(ensemble), "test": [test_set] * len(ensemble)}
    sweep, final = Sweep(axes, history, shared), history.final
    x, y = test_set.x[:n_points], test_set.y[:n_points]
    ordered = sorted(float(epsilon) for epsilon in epsilons)
    proved = torch.stack([certified(final, x, y, epsilon, limits=PIXEL) for epsilon in ordered])
    # What is proved for an ε is proved for every smaller one.
    radius = (proved * torch.tensor(ordered)[:, None, None]).amax(dim=0)
    attacks = {"fgsm": fgsm(), "bim": bim(), "pgd": pgd(20, 0.25, restarts=2)}
    curves = attack_curves(final, x, y, ordered, attacks=attacks, certified=radius, limits=PIXEL)
    sound = proved.flip(0).cummax(dim=0).values.flip(0).double().mean(dim=2)
    names = [*curves.attacks, PROVED]
    robust = torch.cat([curves.robust_accuracy, sound[None]])
    zeros = torch.cat([curves.zero_gradients, torch.full_like(sound, torch.nan)[None]])
    return xr.Dataset(
        {
            "robust_accuracy": sweep.label(robust, "attack", "epsilon", attack=names, epsilon=ordered),
            "zero_gradients": sweep.label(zeros, "attack", "epsilon", attack=names, epsilon=ordered),
            "search_wins": sweep.label(curves.search_wins, "epsilon", epsilon=ordered),
            "test_accuracy": sweep.label(accuracy(final, test_set.x, test_set.y)),
        }
    )
