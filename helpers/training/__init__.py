"""Training: from networks to a history of snapshots.

`Training` is the protocol, `train` the door. It knows neither metrics nor attacks, but takes callables to observe or to
replace what a step makes smaller.
"""

from helpers.training.history import History, MixedHistory
from helpers.training.members import Trace, evaluate, train_members
from helpers.training.out_of_sample import out_of_sample
from helpers.training.protocol import Training
from helpers.training.runs import Run
from helpers.training.steps import Moment, Objective, optimiser
from helpers.training.train import progress_bar, train, train_mixed, training_seconds

__all__ = [
    "History",
    "MixedHistory",
    "Moment",
    "Objective",
    "Run",
    "Trace",
    "Training",
    "evaluate",
    "optimiser",
    "out_of_sample",
    "progress_bar",
    "train",
    "train_members",
    "train_mixed",
    "training_seconds",
]
