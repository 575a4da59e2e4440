"""What stands at the end of a network: the six heads of the note on clipping, and two logits as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from helpers.checks import Choice
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble, OutputName

# A name's ending says what becomes of the last layer: z, ψ(z) or −ψ(z).
ENDINGS: Mapping[str, OutputName] = MappingProxyType({"": "linear", "2": "activated", "2_neg": "negated"})
HEADS = ("relu", "abs", "relu2", "abs2", "relu2_neg", "abs2_neg")
HEAD_NAME = Choice(tuple(name + ending for name in ACTIVATIONS for ending in ENDINGS))


@dataclass(frozen=True)
class Head:
    """What a network applies behind its hidden layer and behind its last one.

    Attributes:
        activation: ψ.
        output: what the logits are, as an `Ensemble` takes it.
    """

    activation: str
    output: OutputName


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


@torch.no_grad()
def with_one_logit(ensemble: Ensemble) -> Ensemble:
    """Return networks with the same hidden layers and one output, the second logit less the first.

    Its sigmoid is the softmax probability of class 1, so both say the same of every point.

    Args:
        ensemble: networks with two linear outputs.

    Raises:
        ValueError: the networks have other outputs.
    """
    if ensemble.layer_sizes[-1] != 2 or ensemble.output != "linear":
        raise ValueError(
            "ensemble must have two linear outputs to turn them into one, "
            f"got {ensemble.layer_sizes[-1]} {ensemble.output}."
        )
    networks = ensemble.select(slice(None))
    networks.layer_sizes = (*ensemble.layer_sizes[:-1], 1)
    for parameters in (networks.weights, networks.biases):
        parameters[-1] = nn.Parameter(parameters[-1][:, 1:] - parameters[-1][:, :1])
    return networks
