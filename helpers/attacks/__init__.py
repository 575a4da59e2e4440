"""Attacks: for each point of each network, the worst point that can be found in a ball around it.

`fgsm`, `bim`, `pgd` follow gradients; `RandomNoise`, `RandomSearch` and `ExhaustiveSearch` ask only for logits.
"""

from helpers.attacks.attack import Attack, Attacked, Front, WorstOf, exact_margins
from helpers.attacks.curves import Curves, attack_curves, noise_accuracy, study_attacks
from helpers.attacks.gradient import GradientAttack, bim, bim_as_coded, fgsm, pgd
from helpers.attacks.search import ExhaustiveSearch, RandomNoise, RandomSearch

__all__ = [
    "Attack",
    "Attacked",
    "Curves",
    "ExhaustiveSearch",
    "Front",
    "GradientAttack",
    "RandomNoise",
    "RandomSearch",
    "WorstOf",
    "attack_curves",
    "bim",
    "bim_as_coded",
    "exact_margins",
    "fgsm",
    "noise_accuracy",
    "pgd",
    "study_attacks",
]
