"""Which labels are wrong: ranked by what networks that have not seen them predict."""

from __future__ import annotations

import torch
from torch import Tensor


def suspicion(probabilities: Tensor, y: Tensor) -> Tensor:
    """Return how much likelier than its label another class looks, ``max over k ≠ y of p_k − p_y``, from −1 to 1.

    Args:
        probabilities: out of sample, ``[n_points, n_classes]``.
        y: the labels, ``[n_points]``, int64.

    Raises:
        ValueError: there is not one label for each point.

    References:
        Northcutt et al. (2021), the margin of confident learning.
    """
    if y.shape != probabilities.shape[:1]:
        raise ValueError(f"y must have shape {list(probabilities.shape[:1])}, got {list(y.shape)}.")
    given = probabilities.gather(1, y[:, None])[:, 0]
    others = probabilities.scatter(1, y[:, None], -torch.inf)
    return others.amax(dim=1) - given


def share_found(suspicious: Tensor, wrong: Tensor) -> float:
    """Share of wrong labels among as many of the most suspicious points as there are wrong labels; NaN for none.

    Of labels drawn at random it would be the share of wrong labels in the whole set.

    Args:
        suspicious: of each point, from `suspicion`.
        wrong: whether its label is wrong, bool.
    """
    n_wrong = int(wrong.sum())
    most = suspicious.argsort(descending=True, stable=True)[:n_wrong]
    return float(wrong[most].double().mean()) if n_wrong else float("nan")
