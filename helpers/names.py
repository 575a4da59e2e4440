"""The name that a reader sees for a name in code: one spelling wherever something is drawn, listed or told."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DISPLAY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        # activations
        "tanh": "tanh",
        "relu": "ReLU",
        "leaky_relu": "leaky ReLU",
        "prelu": "PReLU",
        "elu": "ELU",
        "gelu": "GELU",
        "silu": "SiLU",
        "softsign": "softsign",
        "sigmoid": "sigmoid",
        "abs": "Abs",
        # heads
        "relu2": "ReLU2",
        "abs2": "Abs2",
        "relu2_neg": "ReLU2-Neg",
        "abs2_neg": "Abs2-Neg",
        # attacks and training
        "fgsm": "FGSM",
        "bim": "BIM",
        "bim as coded": "BIM as coded",
        "pgd": "PGD",
        "adam": "Adam",
        "sgd": "SGD",
        # norms and data
        "linf": "L∞",
        "l2": "L2",
        "mnist": "MNIST",
    }
)


def display(name: object) -> str:
    """Return the display name of a name in code, e.g. ReLU for ``relu``; of any other its text, ``_`` as a space."""
    return DISPLAY_NAMES.get(str(name), str(name).replace("_", " "))
