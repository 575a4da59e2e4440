"""A data set: points, classes, and what made them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import Real
from helpers.seeding import numpy_stream


@dataclass(frozen=True)
class Dataset:
    """Points and their targets.

    Attributes:
        x: points, ``[n_points, n_features]``, float32, in the data's own units.
        y: classes, ``[n_points]``, int64, 0 or 1 for the spirals; or numbers, ``[n_points, n_out]``, float32.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def split(self, *, train_share: float = 0.67, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Split at random, without stratification, into a training and a test set.

        Args:
            train_share: share of the points in the training set, above 0 and below 1.
            seed: seed of the shuffle.

        Returns:
            The training set, ``round(train_share · n_points)`` points, and the rest.

        Raises:
            ValueError: one of the two sets would be empty.
        """
        n_train = round(Real(above=0, at_most=1)("train_share", train_share) * len(self))
        if not 0 < n_train < len(self):
            raise ValueError(
                f"train_share must leave at least one of the {len(self)} points on each side, got {train_share!r}."
            )
        order = torch.from_numpy(numpy_stream(seed, "split").permutation(len(self)))
        train, test = order[:n_train], order[n_train:]
        return Dataset(self.x[train], self.y[train]), Dataset(self.x[test], self.y[test])
