"""Training: from networks to a history of snapshots.

`Training` is the protocol, `train` the door, for ensembles and for ordinary modules alike. It knows neither metrics
nor attacks, but takes callables to observe or to replace what a step makes smaller (`Objective`).
"""

from helpers.training.history import History
from helpers.training.members import evaluate
from helpers.training.out_of_sample import folds, out_of_sample
from helpers.training.protocol import Training
from helpers.training.steps import Moment, Objective
from helpers.training.train import train, training_seconds

__all__ = [
    "History",
    "Moment",
    "Objective",
    "Training",
    "evaluate",
    "folds",
    "out_of_sample",
    "train",
    "training_seconds",
]
