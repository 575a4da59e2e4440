"""What survives: accuracy under noise and attacks over a range of ε, beside what is proved, as labelled results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.attacks.attack import Attack, WorstOf
from helpers.attacks.gradient import bim, bim_as_coded, fgsm, pgd
from helpers.attacks.search import RandomNoise, RandomSearch
from helpers.models.ensemble import Ensemble
from helpers.norms import Limits, NormName

BEST = "best"


def study_attacks(norm: NormName = "linf") -> dict[str, Attack]:
    """The attacks that the chapters compare, by name; those of the thesis as written, and for L∞ as coded.

    ``pgd`` is the strong one: many short runs, for on a curved boundary a start on the right side counts for more than
    further steps.
    """
    attacks: dict[str, Attack] = {
        "fgsm": fgsm(norm=norm),
        "bim": bim(norm=norm),
        "pgd": pgd(20, 0.25, norm=norm, restarts=10),
    }
    return attacks | ({"bim as coded": bim_as_coded()} if norm == "linf" else {})


@dataclass(frozen=True)
class Curves:
    """What survives attacks over ε.

    Attributes:
        attacks: names of the attacks, and `BEST`: the worst case per point over those that stay in the ball, a random
            search, and all smaller ε.
        epsilons: ascending, data units.
        robust_accuracy: share of points that survive, ``[n_attacks, n_epsilons, n_networks]``.
        zero_gradients: share of gradients that were zero; NaN where none was looked at, same shape.
        search_wins: share of points that the random search broke and no attack along gradients,
            ``[n_epsilons, n_networks]``.
        survived: points that survive the best attack, ``[n_epsilons, n_networks, n_points]``.
    """

    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    robust_accuracy: Tensor
    zero_gradients: Tensor
    search_wins: Tensor
    survived: Tensor


def attack_curves(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilons: Sequence[float],
    *,
    attacks: Mapping[str, Attack] | None = None,
    search_steps: int = 200,
    certified: Tensor | None = None,
    limits: Limits | None = None,
) -> Curves:
    """Attack every network at every ε, with each attack by itself and with the best of all for each point.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        epsilons: radii, data units.
        attacks: by name, all of one norm; by default `study_attacks`.
        search_steps: candidates of the random search for each point.
        certified: radius within which each point is proved to keep its class, ``[n_networks, n_points]``; attacks leave
            such points alone, but for those that leave their ball.
        limits: lowest and highest value of an input, or of each coordinate, if there are such.

    Raises:
        ValueError: there is no attack or no ε, the attacks differ in norm, the shapes do not fit, an ε is negative, or
            x lies outside its limits.
    """
    attacks = study_attacks() if attacks is None else attacks
    norm = WorstOf(attacks=list(attacks.values())).norm
    if not epsilons:
        raise ValueError("epsilons must be at least one radius, got none.")
    ordered = sorted(epsilons)
    accuracies, zeros, wins, survived = [], [], [], []
    standing: Tensor | None = None
    for epsilon in ordered:
        safe = None if certified is None else certified >= epsilon
        broken = torch.zeros(len(ensemble), x.shape[-2], dtype=torch.bool, device=x.device)
        row, zero_row = [], []
        for attack in attacks.values():
            in_ball = attack.reach <= 1
            attacked = attack(ensemble, x, y, epsilon, limits=limits, safe=safe if in_ball else None)
            row.append(attacked.robust_accuracy)
            zero_row.append(attacked.zero_gradients)
            if in_ball:
                broken = broken | ~attacked.robust
        done = broken if safe is None else broken | safe
        searched = RandomSearch(steps=search_steps, norm=norm)(ensemble, x, y, epsilon, limits=limits, safe=done)
        won = ~broken & ~searched.robust
        now = ~broken & ~won
        standing = now if standing is None else standing & now
        row.append(standing.double().mean(dim=1))
        zero_row.append(torch.full_like(row[-1], torch.nan))
        accuracies.append(torch.stack(row))
        zeros.append(torch.stack(zero_row))
        wins.append(won.double().mean(dim=1))
        survived.append(standing)
    return Curves(
        (*attacks, BEST),
        tuple(ordered),
        torch.stack(accuracies, dim=1),
        torch.stack(zeros, dim=1),
        torch.stack(wins),
        torch.stack(survived),
    )


def noise_accuracy(ensemble: Ensemble, x: Tensor, y: Tensor, noises: Sequence[float], *, draws: int = 5) -> Tensor:
    """Accuracy at points moved by uniform noise U(−d, d) in each coordinate, ``[n_noises, n_networks]``.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        noises: half-widths d, data units.
        draws: noisy copies of each point to average over.
    """
    x, y = ensemble.own(x, y)
    points, classes = x.repeat(1, draws, 1), y.repeat(1, draws)
    attack = RandomNoise(last=True)
    return torch.stack([attack(ensemble, points, classes, noise).robust_accuracy for noise in noises])
