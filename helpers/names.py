"""The name that a reader sees for a name in code: one spelling wherever something is drawn, listed or told."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType

_ACTIVATIONS = {
    "tanh": "tanh",
    "relu": "ReLU",
    "leaky_relu": "Leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "softsign": "softsign",
    "sigmoid": "sigmoid",
    "abs": "Abs",
}
# A head is an activation, and what becomes of the last layer.
_ENDINGS = {"": "", "2": "2", "2_neg": "2-Neg"}

DISPLAY_NAMES: Mapping[str, str] = MappingProxyType(
    {name + ending: text + sign for ending, sign in _ENDINGS.items() for name, text in _ACTIVATIONS.items()}
    | {
        # attacks and training
        "fgsm": "FGSM",
        "bim": "BIM",
        "bim as coded": "BIM as coded",
        "pgd": "PGD",
        "adam": "Adam",
        "sgd": "SGD",
        # learning curves of wrong labels
        "learned": "right labels learned",
        "memorised": "wrong labels memorised",
        "recovered": "wrong labels corrected",
        # norms, data and what they are measured by
        "epsilon": "ε",
        "linf": "L∞",
        "l2": "L2",
        "mnist": "MNIST",
    }
)


def display(name: object) -> str:
    """Return the display name of a name in code, e.g. ReLU for ``relu``; of any other its text, ``_`` as a space."""
    return DISPLAY_NAMES.get(str(name), str(name).replace("_", " "))


def caption(dimension: object, value: object) -> str:
    """Return the name of one value of a dimension: a name's display name, L2 for a layer, ε = 0.5, entanglement 4.

    A side is that from which it is looked at: from below.
    """
    if dimension == "side":
        return f"from {value}"
    if not isinstance(value, Real):
        return display(value)
    if dimension == "layer":
        return f"L{value}"
    name = display(dimension)
    return f"{name} = {value:g}" if len(name) == 1 else f"{name} {value:g}"
