"""Margins and gradients by the inputs, against automatic differentiation of the members as modules, in float64."""

import pytest
import torch
from torch.nn import functional as F

from helpers.models import gradients, kernel
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import InputGradients

EVERY = [*ACTIVATIONS, "prelu", "tanh"]
needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C++ compiler was found")
WAYS = pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])


def task(n_in, n_out, n_points=900, hidden=(6, 5), output="linear"):
    """An ensemble of every activation, bent enough, with a different number of points for each member."""
    stream = torch.Generator().manual_seed(1)
    ensemble = Ensemble([n_in, *hidden, n_out], EVERY, range(len(EVERY)), output=output)
    with torch.no_grad():
        for weight in ensemble.weights:
            weight *= 1.5
        for slope in ensemble.slopes:
            slope += 0.1 * torch.arange(len(slope))
    # Member 4 has no point at all.
    members = torch.tensor([k for k in range(len(EVERY)) if k != 4])
    member = members[torch.randint(0, len(members), (n_points,), generator=stream)].sort().values
    x = 2 * torch.randn(n_points, n_in, generator=stream)
    return ensemble, member, x, torch.randint(0, n_out, (n_points,), generator=stream)


def by_autograd(ensemble, member, x, y, loss):
    x, margins = x.double().requires_grad_(), []
    total = torch.zeros(())
    for k in range(len(ensemble)):
        own = member == k
        logits = ensemble.member(k).double()(x[own])
        others = logits.scatter(1, y[own][:, None], -torch.inf).amax(1)
        margins.append(logits.gather(1, y[own][:, None])[:, 0] - others)
        total = total + (
            F.cross_entropy(logits, y[own], reduction="sum") if loss == "cross_entropy" else -margins[-1].sum()
        )
    return torch.cat(margins).detach(), torch.autograd.grad(total, x)[0]


@WAYS
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize(
    ("n_in", "n_out", "output"),
    [(2, 2, "linear"), (2, 3, "linear"), (1, 2, "linear"), (20, 5, "linear"), (2, 3, "activated"), (2, 3, "negated")],
)
def test_are_those_of_automatic_differentiation(compiled, loss, n_in, n_out, output):
    ensemble, member, x, y = task(n_in, n_out, output=output)
    found = InputGradients(ensemble, loss, compiled=compiled)
    assert found.compiled == compiled
    margins, gradient = found.both(member, x, y)
    expected_margins, expected = by_autograd(ensemble, member, x, y, loss)
    torch.testing.assert_close(margins.double(), expected_margins, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=2e-5)
    torch.testing.assert_close(found.margins(member, x, y), margins, rtol=0, atol=0)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_double_precision_is_kept(loss):
    ensemble, member, x, y = task(2, 3)
    found = InputGradients(ensemble.double(), loss)
    assert not found.compiled
    margins, gradient = found.both(member, x.double(), y)
    expected_margins, expected = by_autograd(ensemble, member, x, y, loss)
    torch.testing.assert_close(margins, expected_margins, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@WAYS
def test_members_and_points_do_not_notice_each_other(compiled, monkeypatch):
    monkeypatch.setattr(gradients, "FEWEST_POINTS", 10)
    ensemble, member, x, y = task(2, 3)
    together = InputGradients(ensemble, compiled=compiled).both(member, x, y)
    for k in (0, 3, len(EVERY) - 1):
        own = (member == k).nonzero()[:7, 0]
        alone = InputGradients(ensemble.select([k]), compiled=compiled).both(torch.zeros(7).long(), x[own], y[own])
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[own], theirs, rtol=1e-4, atol=1e-5)


@WAYS
def test_no_points(compiled):
    ensemble = task(2, 3)[0]
    margins, gradient = InputGradients(ensemble, compiled=compiled).both(
        torch.zeros(0).long(), torch.zeros(0, 2), torch.zeros(0).long()
    )
    assert margins.shape == (0,)
    assert gradient.shape == (0, 2)


@WAYS
def test_more_members_than_a_block(compiled):
    n = gradients.TOGETHER + 3
    ensemble = Ensemble([2, 4, 2], ["tanh"] * n, range(n))
    member, x = torch.arange(n), torch.ones(n, 2)
    margins = InputGradients(ensemble, compiled=compiled).margins(member, x, torch.zeros(n).long())
    logits = ensemble(x[:, None])[:, 0].detach()
    torch.testing.assert_close(margins, logits[:, 0] - logits[:, 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "nonsense"])
def test_loss_must_be_one_of_classes(loss):
    with pytest.raises(ValueError, match="loss must be one of classes, cross_entropy, margin, got"):
        InputGradients(task(2, 2)[0], loss)
