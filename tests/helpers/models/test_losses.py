"""Every loss is PyTorch's, and its gradient autograd's."""

import pytest
import torch
from references import loss_of_each_point

from helpers.models.losses import LOSSES

EVERY = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def sample(loss, n_out=3):
    stream = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(4, 7, n_out, generator=stream, dtype=torch.float64)
    if loss.classes:
        return logits, torch.randint(0, n_out, (4, 7), generator=stream)
    return logits, torch.rand(4, 7, n_out, generator=stream, dtype=torch.float64)


@EVERY
@pytest.mark.parametrize("n_out", [1, 3])
def test_value_and_gradient(loss, n_out):
    logits, y = sample(loss, n_out)
    logits.requires_grad_()
    expected = loss_of_each_point(loss.name, logits, y)
    value, derivative = loss.function(logits, y)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(derivative, gradient, rtol=1e-12, atol=1e-14)


@EVERY
def test_extreme_logits_stay_finite(loss):
    _, y = sample(loss)
    logits = torch.tensor([500.0, -500.0, 0.0]).expand(4, 7, 3).double()
    assert all(part.isfinite().all() for part in loss.function(logits, y))


@pytest.mark.parametrize("y", [torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.tensor([0.0, 1.0])])
def test_classes_must_be_classes(y):
    with pytest.raises(ValueError, match="y must hold classes from 0 to 2"):
        LOSSES["cross_entropy"].check(y, 3)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "squared_error"])
@pytest.mark.parametrize("y", [torch.zeros(4, 2), torch.zeros(4, 3, dtype=torch.int64)])
def test_numbers_must_be_numbers(name, y):
    with pytest.raises(ValueError, match="y must hold 3 floating point targets"):
        LOSSES[name].check(y, 3)
