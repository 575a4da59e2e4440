"""Heads are named by their endings, and one logit says what two say."""

import pytest
import torch

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import OUTPUTS, Ensemble
from helpers.models.heads import HEADS, Head, head, with_one_logit


def test_the_studys_six_heads():
    assert [head(name) for name in HEADS] == [
        Head("relu", "linear"),
        Head("abs", "linear"),
        Head("relu", "activated"),
        Head("abs", "activated"),
        Head("relu", "negated"),
        Head("abs", "negated"),
    ]


def test_every_activation_has_three_heads():
    made = {head(name + ending) for name in ACTIVATIONS for ending in ("", "2", "2_neg")}
    assert made == {Head(name, output) for name in ACTIVATIONS for output in OUTPUTS}
    with pytest.raises(ValueError, match="head must be one of abs, abs2, abs2_neg"):
        head("relu3")


def test_one_logit_says_what_two_say():
    two = Ensemble([2, 4, 2], ["tanh", "prelu"], [1, 2])
    one = with_one_logit(two)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * 5
    assert (one.layer_sizes, one.activations, one.seeds) == ((2, 4, 1), two.activations, two.seeds)
    torch.testing.assert_close(one(x)[..., 0].sigmoid(), two(x).softmax(dim=2)[..., 1])
    assert one.flatten().shape == (2, 2 * 4 + 4 + 4 + 1 + 1)
    torch.testing.assert_close(one.with_parameters(one.flatten())(x), one(x))
    with pytest.raises(ValueError, match="ensemble must have two linear outputs to turn them into one, got 1 linear"):
        with_one_logit(one)
