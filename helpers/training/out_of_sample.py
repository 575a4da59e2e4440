"""Predictions for each point by networks that have not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.checks import Integer
from helpers.datasets.dataset import Dataset
from helpers.seeding import numpy_stream
from helpers.training.members import evaluate
from helpers.training.protocol import Training
from helpers.training.train import train


def folds(data: Dataset, seed: int, n_folds: int) -> list[Tensor]:
    """Deal the points of a set into folds with equal shares of each label.

    Args:
        data: points and classes.
        seed: of the deal.
        n_folds: at least 2.

    Returns:
        The numbers of the points in each fold, ascending.

    Raises:
        ValueError: a label has fewer points than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold  # not above: seconds that whoever only trains can do without

    Integer(at_least=2)("n_folds", n_folds)
    if (fewest := int(torch.unique(data.y, return_counts=True)[1].min())) < n_folds:
        raise ValueError(f"n_folds must be at most the number of points of each label, {fewest}, got {n_folds}.")
    state = int(numpy_stream(seed, "folds").integers(2**31))
    dealt = StratifiedKFold(n_folds, shuffle=True, random_state=state).split(np.zeros(len(data)), data.y)
    return [torch.from_numpy(rows) for _, rows in dealt]


def out_of_sample(
    networks: Sequence[nn.Module],
    seeds: Sequence[int],
    data: Sequence[Dataset],
    training: Training,
    *,
    n_folds: int = 3,
    **options: Any,
) -> list[Tensor]:
    """Predict every point by a network that was trained without it.

    The points of each data set are dealt into folds with equal shares of each label; a copy of the network is trained
    on all folds but one and predicts that one.

    Args:
        networks: to start from.
        seeds: of the folds and the batch orders, one for each network.
        data: for each network.
        training: the protocol.
        n_folds: at least 2.
        **options: of `train`, e.g. ``progress``.

    Returns:
        Class probabilities for each network, ``[n_points, n_classes]``.

    Raises:
        ValueError: the lists differ in length or are empty, or a label has fewer points than there are folds.
    """
    if not networks or len({len(networks), len(seeds), len(data)}) > 1:
        raise ValueError(
            "networks, seeds and data must have one entry for each of at least one member, "
            f"got {len(networks)}, {len(seeds)} and {len(data)}."
        )
    kept_out = [folds(points, seed, n_folds) for seed, points in zip(seeds, data, strict=True)]
    copies, copied_seeds, x, y = [], [], [], []
    for network, seed, points, dealt in zip(networks, seeds, data, kept_out, strict=True):
        for rows in dealt:
            seen = torch.ones(len(points), dtype=torch.bool).index_fill_(0, rows, False)
            copies.append(network)
            copied_seeds.append(seed)
            x.append(points.x[seen])
            y.append(points.y[seen])
    trained = iter(train(copies, x, y, training, seeds=copied_seeds, **options).final)
    predictions = []
    for points, dealt in zip(data, kept_out, strict=True):
        logits = [(rows, evaluate(next(trained), points.x[rows])) for rows in dealt]
        whole = logits[0][1].new_empty(len(points), logits[0][1].shape[1])
        for rows, values in logits:
            whole[rows] = values
        predictions.append(whole.softmax(dim=1))
    return predictions
