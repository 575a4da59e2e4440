"""A protocol refuses what it cannot mean."""

import numpy as np
import pytest
import torch

from helpers.training.protocol import Training


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"epochs": -1}, ValueError),
        ({"epochs": 2.0}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": "50"}, TypeError),
        ({"learning_rate": 0}, ValueError),
        ({"learning_rate": "1e-3"}, TypeError),
        ({"learning_rate": None}, TypeError),
        ({"optimiser": "lbfgs"}, ValueError),
        ({"momentum": -0.1}, ValueError),
        ({"momentum": 1.1}, ValueError),
        ({"weight_decay": -1.0}, ValueError),
        ({"loss": "hinge"}, ValueError),
        ({"rate_factor": 0.0}, ValueError),
        ({"rate_factor": 1.5}, ValueError),
        ({"rate_every": 0}, ValueError),
        ({"rate_every": 1.5}, TypeError),
    ],
)
def test_wrong_protocols(change, error):
    (name,) = change
    with pytest.raises(error, match=f"^{name} must be"):
        Training(**change)


def test_learning_rates_as_an_array():
    assert Training(learning_rate=np.asarray([0.5, 0.25])).rates(2) == [0.5, 0.25]
    assert Training(learning_rate=torch.tensor([0.5, 0.25])).rates(2) == [0.5, 0.25]
    assert Training(learning_rate=np.float64(0.5)).rates(2) == [0.5, 0.5]


def test_rates_fall_by_the_factor():
    training = Training(learning_rate=[0.8, 0.4], rate_factor=0.5, rate_every=2)
    assert [training.rates(2, epoch) for epoch in range(5)] == [[0.8, 0.4]] * 2 + [[0.4, 0.2]] * 2 + [[0.2, 0.1]]
    assert Training(learning_rate=0.8).rates(2, 99) == [0.8, 0.8]
