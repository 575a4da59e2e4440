"""Accuracy against known answers."""

import torch

from helpers.metrics.accuracy import accuracy
from helpers.models.ensemble import Ensemble
from helpers.models.heads import with_one_logit


def test_accuracy_known_answer():
    # hidden units x and −x; the first member's logits are (x, −x)-like, the second's the other way round
    ensemble = Ensemble([1, 2, 2], ["relu", "relu"], [0, 1])
    with torch.no_grad():
        ensemble.weights[0].copy_(torch.tensor([[[1.0], [-1.0]]] * 2))
        ensemble.weights[1].copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]))
        for bias in ensemble.biases:
            bias.zero_()
    x = torch.tensor([[1.0], [2.0], [3.0], [-1.0]])
    found = accuracy(ensemble, x, torch.tensor([0, 0, 1, 1]))
    assert found.tolist() == [0.75, 0.25]
    assert found.dtype == torch.float64
    own = accuracy(ensemble, torch.stack([x, -x]), torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1]]))
    assert own.tolist() == [1.0, 0.75]


def test_accuracy_of_one_logit_is_that_of_two():
    two = Ensemble([2, 4, 2], ["tanh", "relu"], [1, 2])
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * 5
    y = (x[:, 0] > 0).long()
    found = accuracy(with_one_logit(two), x, y)
    torch.testing.assert_close(found, accuracy(two, x, y))
    assert 0 < found.min() < 1
