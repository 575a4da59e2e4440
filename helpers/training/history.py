"""What training left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from helpers.models.ensemble import Ensemble


@dataclass(frozen=True)
class History:
    """What training left behind.

    Attributes:
        epochs: the epochs of the snapshots, ascending; 0 is before training.
        ensembles: one ensemble for each of them, with the weights of that moment.
        loss: mean training loss of each epoch as the steps saw it, ``[n_epochs, n_networks]``; NaN for the epochs
            that a diverged member did not finish.
        diverged: for each member whose loss stopped being finite, the number of epochs it had finished. Its
            weights stay as they were before the step with that loss.
    """

    epochs: tuple[int, ...]
    ensembles: tuple[Ensemble, ...]
    loss: Tensor
    diverged: Mapping[int, int] = field(default_factory=dict)

    def at(self, epoch: int) -> Ensemble:
        """Return the ensemble as it was at the end of this epoch.

        Raises:
            ValueError: there is no snapshot of this epoch.
        """
        if epoch not in self.epochs:
            raise ValueError(f"epoch must be one with a snapshot, {list(self.epochs)}, got {epoch!r}.")
        return self.ensembles[self.epochs.index(epoch)]

    @property
    def final(self) -> Ensemble:
        """The last snapshot."""
        return self.ensembles[-1]


@dataclass(frozen=True)
class MixedHistory:
    """What training left behind of members of different shapes.

    Attributes:
        groups: for each shape the numbers of its members and their history.
    """

    groups: tuple[tuple[tuple[int, ...], History], ...]

    def member(self, index: int) -> tuple[History, int]:
        """Return the history that a member is in, and its place there.

        Raises:
            ValueError: there is no such member.
        """
        for members, history in self.groups:
            if index in members:
                return history, members.index(index)
        raise ValueError(f"index must be the number of a member, got {index!r}.")
