"""What training left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor, nn

from helpers.models.ensemble import Ensemble

# What can be trained: one ensemble, several of different shapes, or ordinary modules.
Networks = TypeVar("Networks", Ensemble, Sequence[Ensemble], Sequence[nn.Module])


@dataclass(frozen=True)
class History(Generic[Networks]):
    """What training left behind.

    Attributes:
        epochs: the epochs of the snapshots, ascending; 0 is before training.
        snapshots: for each of them the networks, as `train` was given them, with the weights of that moment; modules
            are in evaluation mode.
        loss: mean training loss of each epoch as the steps saw it, ``[n_epochs, n_networks]``; NaN for the epochs
            that a diverged member did not finish.
        diverged: for each member whose loss stopped being finite, the number of epochs it had finished. Its
            weights stay as they were before the step with that loss.
        observed: what was observed after each epoch, by name, ``[n_epochs, n_networks]``, float64; NaN as for the loss.
    """

    epochs: tuple[int, ...]
    snapshots: tuple[Networks, ...]
    loss: Tensor
    diverged: Mapping[int, int] = field(default_factory=dict)
    observed: Mapping[str, Tensor] = field(default_factory=dict)

    def at(self, epoch: int) -> Networks:
        """Return the networks as they were at the end of this epoch.

        Raises:
            ValueError: there is no snapshot of this epoch.
        """
        if epoch not in self.epochs:
            raise ValueError(f"epoch must be one with a snapshot, {list(self.epochs)}, got {epoch!r}.")
        return self.snapshots[self.epochs.index(epoch)]

    @property
    def final(self) -> Networks:
        """The last snapshot."""
        return self.snapshots[-1]
