"""How to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from helpers.checks import Choice, Integer, Real
from helpers.models.losses import LOSS_NAME, LossName

OptimiserName = Literal["adam", "sgd"]


@dataclass(frozen=True)
class Training:
    """How to train: the study's protocol by default (Ślusarz 2021, chapter 4).

    Attributes:
        epochs: passes over the training set, at least 0.
        batch_size: points a step, at least 1; the last batch of an epoch may be smaller.
        learning_rate: step size of the optimiser, above 0; or one for each member.
        rate_factor: what the learning rate is multiplied by every ``rate_every`` epochs, above 0 and at most 1.
        rate_every: at least 1.
        optimiser: ``"adam"``, or ``"sgd"`` with momentum.
        momentum: momentum of SGD, at least 0 and at most 1.
        weight_decay: what is added to the gradient for each unit of a weight, at least 0.
        loss: a name from `helpers.models.losses`.

    Raises:
        TypeError: an attribute has the wrong type.
        ValueError: an attribute is outside its range.
    """

    epochs: int = 100
    batch_size: int = 50
    learning_rate: float | Sequence[float] = 1e-3
    optimiser: OptimiserName = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    loss: LossName = "cross_entropy"
    rate_factor: float = 1.0
    rate_every: int = 1

    def __post_init__(self) -> None:
        Integer(at_least=0)("epochs", self.epochs)
        Integer(at_least=1)("batch_size", self.batch_size)
        rate = Real(above=0)
        given = self.learning_rate.tolist() if hasattr(self.learning_rate, "tolist") else self.learning_rate
        if isinstance(given, Sequence) and not isinstance(given, str):
            rates = tuple(rate(f"learning_rate[{k}]", value) for k, value in enumerate(given))
            object.__setattr__(self, "learning_rate", rates)
        else:
            rate("learning_rate", given)
        Choice(get_args(OptimiserName))("optimiser", self.optimiser)
        Real(at_least=0, at_most=1)("momentum", self.momentum)
        Real(at_least=0)("weight_decay", self.weight_decay)
        LOSS_NAME("loss", self.loss)
        Real(above=0, at_most=1)("rate_factor", self.rate_factor)
        Integer(at_least=1)("rate_every", self.rate_every)

    def rates(self, n_networks: int, epoch: int = 0) -> list[float]:
        """Return the learning rate of each of so many members in an epoch, from 0.

        Raises:
            ValueError: there are rates for another number of members.
        """
        fallen = self.rate_factor ** (epoch // self.rate_every)
        if not isinstance(self.learning_rate, tuple):
            return [fallen * float(self.learning_rate)] * n_networks  # type: ignore[arg-type]
        if len(self.learning_rate) != n_networks:
            raise ValueError(
                f"learning_rate must be one number, or one for each of {n_networks} members, "
                f"got {len(self.learning_rate)}."
            )
        return [fallen * rate for rate in self.learning_rate]
