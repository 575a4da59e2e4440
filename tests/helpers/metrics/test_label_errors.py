"""Wrong labels come out on top."""

import math

import pytest
import torch
from references import blobs

from helpers.datasets.corruption import LabelNoise
from helpers.metrics.label_errors import share_found, suspicion
from helpers.models.sequential import perceptron
from helpers.seeding import torch_stream
from helpers.training.out_of_sample import out_of_sample
from helpers.training.protocol import Training


def networks(n):
    return [perceptron([3, 16, 3], "relu", seed, batch_norm=False) for seed in range(n)]


TRAINING = Training(epochs=30, batch_size=10, learning_rate=0.01)


def test_wrong_labels_are_found():
    data = blobs(300)
    dirty = LabelNoise(0.1)(data)
    (probabilities,) = out_of_sample(networks(1), [0], [dirty.data], TRAINING)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(300))
    scores = suspicion(probabilities, dirty.data.y)
    assert share_found(scores, dirty.rows) > 0.8
    # Labels drawn at random find their share of the set.
    noise = torch.rand(300, generator=torch_stream(0, "chance"))
    assert share_found(noise, dirty.rows) < 0.4


def test_suspicion_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    torch.testing.assert_close(suspicion(probabilities, torch.tensor([0, 1, 2])), torch.tensor([-0.5, 0.5, -0.7]))


def test_suspicion_needs_a_label_for_each_point():
    for y in (torch.zeros(1).long(), torch.zeros(3, 1).long()):  # one alone would be everyone's
        with pytest.raises(ValueError, match=r"y must have shape \[3\], got"):
            suspicion(torch.full((3, 2), 0.5), y)


def test_share_found_by_hand():
    scores = torch.tensor([0.9, 0.8, 0.1, 0.7])
    assert share_found(scores, torch.tensor([True, False, True, False])) == 0.5
    assert share_found(scores, torch.tensor([True, True, False, False])) == 1
    assert math.isnan(share_found(scores, torch.zeros(4, dtype=torch.bool)))


def test_suspicion_ranks_as_a_label_issue_library_does():
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab, a peer, is not installed")
    stream = torch_stream(0, "probabilities")
    probabilities = torch.randn(200, 5, generator=stream).softmax(1).double()
    y = torch.randint(0, 5, (200,), generator=stream)
    quality = rank.get_normalized_margin_for_each_label(y.numpy(), probabilities.numpy())
    torch.testing.assert_close((1 - suspicion(probabilities, y)) / 2, torch.from_numpy(quality))
