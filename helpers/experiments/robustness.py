"""Labelled results on robustness: noise, attacks beside the truth, boundaries, definitions; and attacks on digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from helpers.attacks.curves import attack_curves, noise_accuracy, study_attacks
from helpers.attacks.gradient import GradientAttack, bim, fgsm, pgd
from helpers.checks import Integer, ListOf
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DIGITS, DIGITS_NAME, load_digits
from helpers.experiments.sweeps import Sweep, merged
from helpers.metrics.accuracy import accuracy
from helpers.metrics.boundaries import BOUNDARY_MEASURES, boundary_measures
from helpers.models.activations import ACTIVATION_NAME
from helpers.models.ensemble import Ensemble
from helpers.robustness.bounds import certified
from helpers.robustness.definitions import (
    ClassificationRobustness,
    Definition,
    LipschitzRobustness,
    StandardRobustness,
    StrongClassificationRobustness,
    decide,
)
from helpers.robustness.objectives import Adversarial, Augmented, Certified
from helpers.robustness.verification import verify
from helpers.seeding import SEED
from helpers.training.protocol import Training
from helpers.training.steps import Objective
from helpers.training.train import train

# Beside the names of the attacks: what the verifier leaves standing, and what linear bounds prove.
TRUTH, PROVED = "exact", "proved"
# What tries to break points that are proved.
CHECK = pgd(10, 0.3)
# Lowest and highest value of a pixel.
PIXEL = (0.0, 1.0)

DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        "classification: argmax p = y": ClassificationRobustness(),
        "strong: p of y at least 0.9": StrongClassificationRobustness(0.9),
        "standard: p changes by at most 0.1": StandardRobustness(0.1),
        "Lipschitz: by at most 0.5 a unit": LipschitzRobustness(0.5),
    }
)


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


def attack_results(sweep: Sweep, epsilons: Sequence[float], n_points: int) -> xr.Dataset:
    """Accuracy under every L∞ attack, at the worst point, and what separates them.

    Args:
        sweep: networks in the plane.
        epsilons: radii, data units.
        n_points: test points of each network to attack, the same for all attacks.

    Returns:
        With dimensions attack, epsilon and the axes: ``robust_accuracy`` of each attack, of the best of all for each
        point, and ``exact``, points that neither verifier nor attack refutes; ``robust_loss``, what it lacks of the
        clean accuracy of these points; ``overstated``, by how much it is above the exact; ``fgsm_less_bim``, the
        accuracy under FGSM less that under each attack; and ``zero_gradients``. With epsilon and the axes:
        ``undecided``, the share of points that were neither proved nor refuted by anything, ``search_wins``, see
        `robust_accuracy.Curves`, and ``contradictions``, points that the verifier proved and an attack broke. With the
        axes: ``true_radius``, the median over the points of the radius at which they fall, at most the largest ε.
    """
    x, y = sweep.data("test", n_points)
    ordered = sorted(float(epsilon) for epsilon in epsilons)
    radii = verify(sweep.history.final, x, y, ordered[-1])
    curves = attack_curves(sweep.history.final, x, y, ordered, certified=radii.certified)
    verdicts = radii.decide(ordered)
    names = [*curves.attacks, TRUTH]
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
            "overstated": robust - robust.sel(attack=TRUTH, drop=True),
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


def robustness_results(
    sweeps: Sequence[Sweep],
    small: Sequence[Sweep],
    *,
    epsilons: Sequence[float],
    noises: Sequence[float],
    n_points: int,
    boundaries_at: float,
) -> xr.Dataset:
    """What the chapter's claims are decided by, of spirals at several distances.

    Args:
        sweeps: networks in the plane, tanh and ReLU among them, with the distance of the spirals as an axis.
        small: narrower ones, which are shown noise alone.
        epsilons: see `attack_results`.
        noises: see `noise_results`.
        n_points: see `attack_results`.
        boundaries_at: distance of the spirals whose boundaries are measured, which takes longer than all attacks.

    Returns:
        With the axes of the sweeps, what `attack_results` and `boundary_results` have, and ``tanh_ahead`` of the robust
        accuracy; with these axes and width, ``noise_accuracy`` and ``noise_cost``. NaN where nothing was measured.
    """
    noisy = [noise_results(s.with_axes(width=s.history.final.layer_sizes[1]), noises) for s in (*sweeps, *small)]
    attacked = merged(attack_results(sweep, epsilons, n_points) for sweep in sweeps)
    attacked["tanh_ahead"] = tanh_ahead(attacked["robust_accuracy"])
    boundaries = [boundary_results(sweep) for sweep in sweeps if boundaries_at in sweep.axes["distance"]]
    return merged([attacked, *noisy, *boundaries]).drop_vars("clean_accuracy")


def evaluation_checks(sweep: Sweep, results: xr.Dataset, n_points: int) -> xr.DataArray:
    """A checklist of what would give a flattering evaluation away, each a number that should be near 0.

    Args:
        sweep: networks in the plane, which are attacked once more, with five times the steps, and in float64.
        results: from `attack_results`, of these networks among others.
        n_points: test points of each network to attack again.

    Returns:
        Numbers, dimension check, whose labels say what they are.

    References:
        Carlini et al. (2019).
    """
    final, (x, y), largest = sweep.history.final, sweep.data("test", n_points), float(results["epsilon"].max())
    strong = study_attacks()["pgd"]
    assert isinstance(strong, GradientAttack)
    base = strong(final, x, y, largest).robust
    longer = replace(strong, steps=5 * strong.steps, step=0.1)(final, x, y, largest).robust
    double = strong(final.select(slice(None)).double(), x.double(), y, largest).robust
    pgd_curve, zeros = results["robust_accuracy"].sel(attack="pgd"), results["zero_gradients"]
    numbers: dict[str, Any] = {
        "largest rise of PGD's robust accuracy from one ε to the next": pgd_curve.diff("epsilon").max(),
        "share of points that five times the steps add": (base & ~longer).double().mean(),
        "share of points that differ in float64": (base != double).double().mean(),
        "share of points that only a search without gradients broke": results["search_wins"].max(),
        "share of zero gradients, FGSM (cross-entropy), largest": zeros.sel(attack="fgsm").max(),
        "share of zero gradients, PGD (margin), largest": zeros.sel(attack="pgd").max(),
        "share of points that the verifier left undecided, largest": results["undecided"].max(),
        "points proved robust that an attack broke": results["contradictions"].sum(),
    }
    return xr.DataArray([float(n) for n in numbers.values()], dims="check", coords={"check": list(numbers)})


def definition_results(
    sweep: Sweep, epsilon: float, n_points: int, *, definitions: Mapping[str, Definition] = DEFINITIONS
) -> xr.DataArray:
    """Of how many points each definition of robustness is proved, refuted or left undecided within one ε.

    Args:
        sweep: networks in the plane with two outputs.
        epsilon: the radius, data units.
        n_points: test points of each network.
        definitions: by name.

    Returns:
        Numbers of points with dimensions definition, verdict and the axes.
    """
    x, y = sweep.data("test", n_points)
    verdicts = [decide(definition, sweep.history.final, x, y, epsilon).verdict for definition in definitions.values()]
    kinds = {"proved": 1, "refuted": 0, "undecided": -1}
    counts = torch.stack([torch.stack([(v == kind).sum(dim=1) for kind in kinds.values()]) for v in verdicts])
    return sweep.label(counts, "definition", "verdict", definition=list(definitions), verdict=list(kinds))


def objectives(epsilon: float) -> dict[str, Objective | None]:
    """What the chapter trains networks for, by name: nothing further, noisy points, attacked points, a proved bound.

    Args:
        epsilon: the radius to be robust within, data units.

    Returns:
        Values of the option ``objective`` of `sweeps.spiral_sweep`.
    """
    return {
        "none": None,
        "noise": Augmented(epsilon),
        "FGSM": Adversarial(epsilon, fgsm()),
        "PGD": Adversarial(epsilon),
        "certified": Certified(epsilon),
    }


def digit_sweep(
    name: str,
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    hidden_layers: int = 5,
    width: int = 50,
) -> Sweep:
    """Train the same networks on handwritten digits, pixels from 0 to 1, for every activation and seed.

    Args:
        name: a set of `helpers.datasets.digits`.
        activations: names from `helpers.models.activations`, none twice.
        seeds: of initial weights and batch order, none twice.
        training: the protocol.
        hidden_layers: how many, at least 1.
        width: neurons in each, at least 1.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.
    """
    axes = {
        "activation": ListOf(ACTIVATION_NAME)("activations", activations),
        "seed": ListOf(SEED)("seeds", seeds),
    }
    white = float(DIGITS[DIGITS_NAME("name", name)].white)
    train_set, test_set = (Dataset(data.x / white, data.y) for data in load_digits(name))
    names, own_seeds = zip(*product(*axes.values()), strict=True)
    sizes = [train_set.x.shape[1], *[width] * Integer(at_least=1)("hidden_layers", hidden_layers), 10]
    ensemble = Ensemble(sizes, names, own_seeds)
    history = train(ensemble, train_set.x, train_set.y, training, memory_gib=8)
    return Sweep(axes, history, {"train": [train_set] * len(ensemble), "test": [test_set] * len(ensemble)})


def digit_results(sweep: Sweep, epsilons: Sequence[float], n_points: int) -> xr.Dataset:
    """Accuracy on digits under L∞ attacks that stay within the limits of a pixel, and what is proved.

    Args:
        sweep: from `digit_sweep`.
        epsilons: radii, as shares of the range of a pixel.
        n_points: test images to attack, the first of the set.

    Returns:
        ``robust_accuracy`` and ``zero_gradients`` with attack, epsilon and the axes: of FGSM, BIM, PGD, the best of all
        per point, and ``proved``, the share of images that linear bounds prove, which is below the truth;
        ``search_wins`` with epsilon and the axes; ``test_accuracy`` of all test images with the axes.
    """
    final, (x, y) = sweep.history.final, sweep.data("test", n_points)
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
            "test_accuracy": sweep.label(accuracy(final, *sweep.data("test"))),
        }
    )
