"""Accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.models.ensemble import Ensemble

# Members looked at together where the intermediate arrays have a number for each neuron and point.
BLOCK = 100


@torch.no_grad()
def accuracy(ensemble: Ensemble, x: Tensor, y: Tensor) -> Tensor:
    """Share of points whose largest logit is that of their class, ``[n_networks]``, 0 to 1.

    Args:
        ensemble: the networks; one with a single output says class 1 where it is positive.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.

    Raises:
        ValueError: the shapes do not fit, or y holds other than classes.
    """
    x, y = ensemble.own(x, y)
    shares = []
    for start in range(0, len(ensemble), BLOCK):  # a layer of all members at all points can be large
        block = slice(start, start + BLOCK)
        logits = ensemble.select(block)(x[block])
        said = logits.argmax(dim=2) if logits.shape[2] > 1 else (logits[..., 0] > 0).long()
        hits: Tensor = said == y[block]
        shares.append(hits.double().mean(dim=1))
    return torch.cat(shares)
