"""Networks: what they compute, and the derivatives of it.

An `Ensemble` is N perceptrons of one shape as one object with stacked parameters; `perceptron` and `digit_network` make
ordinary modules with batch norm, dropout and convolutions. `ACTIVATIONS` and `LOSSES` are the registries.
"""

from helpers.models.activations import ACTIVATION_NAME, ACTIVATIONS, Activation, activation
from helpers.models.constraints import Constraint, Perturbed, Span, value_span
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import InputGradients, differentiate
from helpers.models.heads import HEAD_NAME, HEADS, Head, head, with_one_logit
from helpers.models.losses import LOSSES, Loss
from helpers.models.sequential import digit_network, perceptron

__all__ = [
    "ACTIVATIONS",
    "ACTIVATION_NAME",
    "HEADS",
    "HEAD_NAME",
    "LOSSES",
    "Activation",
    "Constraint",
    "Ensemble",
    "Head",
    "InputGradients",
    "Loss",
    "Perturbed",
    "Span",
    "activation",
    "differentiate",
    "digit_network",
    "head",
    "perceptron",
    "value_span",
    "with_one_logit",
]
