"""The study of robustness on handwritten digits, where the truth lies between what is proved and what is broken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
import xarray as xr

from helpers.bounds import certified
from helpers.datasets import Dataset
from helpers.digits import DIGITS, load_digits
from helpers.gradient_attacks import bim, fgsm, pgd
from helpers.metrics import accuracy
from helpers.models import Ensemble
from helpers.robust_accuracy import attack_curves
from helpers.sweeps import Sweep
from helpers.training import Training, train

PROVED = "proved"


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
        name: a set of `helpers.digits`.
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
    n = len(ensemble)
    shared = [part.expand(n, *part.shape) for part in (train_set.x, train_set.y, test_set.x, test_set.y)]
    sweep, final = Sweep(axes, history, *shared), history.final
    x, y = test_set.x[:n_points], test_set.y[:n_points]
    ordered = sorted(float(epsilon) for epsilon in epsilons)
    proved = torch.stack([certified(final, x, y, epsilon, lowest=0.0, highest=1.0) for epsilon in ordered])
    # What is proved for an ε is proved for every smaller one.
    radius = (proved * torch.tensor(ordered)[:, None, None]).amax(dim=0)
    attacks = {"fgsm": fgsm(), "bim": bim(), "pgd": pgd(20, 0.25, restarts=2)}
    curves = attack_curves(final, x, y, ordered, attacks=attacks, certified=radius, bounds=(0.0, 1.0))
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
