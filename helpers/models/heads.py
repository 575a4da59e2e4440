"""The six heads of the note on clipping: an activation, and what becomes of the last layer."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.checks import Choice
from helpers.models.activations import ACTIVATIONS

# A name's ending says what becomes of the last layer: z, ψ(z) or −ψ(z).
ENDINGS = {"": "linear", "2": "activated", "2_neg": "negated"}
HEADS = ("relu", "abs", "relu2", "abs2", "relu2_neg", "abs2_neg")
HEAD_NAME = Choice(tuple(name + ending for name in ACTIVATIONS for ending in ENDINGS))


@dataclass(frozen=True)
class Head:
    """What a network applies behind its hidden layer and behind its last one.

    Attributes:
        activation: ψ.
        output: see `Ensemble`.
    """

    activation: str
    output: str


def head(name: str) -> Head:
    """Return the head of this name: an activation's, ``"relu"``, with ``"2"`` if it is applied to the output again,
    ``"relu2"``, and with ``"2_neg"`` if that is then negated, ``"relu2_neg"``.

    Raises:
        ValueError: there is no such activation or ending.

    References:
        Oursland (2024), whose six are `HEADS`; the rule carries over to every registered activation.
    """
    HEAD_NAME("head", name)
    ending = max((ending for ending in ENDINGS if name.endswith(ending)), key=len)
    return Head(name.removesuffix(ending), ENDINGS[ending])
