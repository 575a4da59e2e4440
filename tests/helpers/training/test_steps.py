"""The written-out step is automatic differentiation and PyTorch's optimisers."""

import pytest
import torch
from references import loss_of_each_point

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import differentiate
from helpers.models.losses import LOSSES
from helpers.training.steps import optimiser

EVERY = [*ACTIVATIONS, "prelu", "tanh"]


def stream():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("sizes", [[3, 6, 5, 4, 2], [1, 4, 1]])
def test_gradients_are_autograds_for_every_activation_and_loss(loss, sizes):
    ensemble = Ensemble(sizes, EVERY, range(len(EVERY))).double()
    x = 2 * torch.randn(len(EVERY), 9, sizes[0], generator=stream(), dtype=torch.float64)
    y = torch.rand(len(EVERY), 9, sizes[-1], generator=stream(), dtype=torch.float64)
    if loss.classes:
        y = torch.randint(0, sizes[-1], (len(EVERY), 9), generator=stream())
    expected = loss_of_each_point(loss.name, ensemble(x), y).mean(dim=1)
    expected.sum().backward()
    slot = ensemble.with_parameters(torch.full_like(ensemble.flatten(), 7.0))
    found = differentiate(ensemble, slot, x, y, loss)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-14)
    for written, parameter in zip(slot.parameters(), ensemble.parameters(), strict=True):
        torch.testing.assert_close(written.detach(), parameter.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("output", ["activated", "negated"])
@pytest.mark.parametrize("output_bias", [True, False])
def test_gradients_are_autograds_for_every_output(loss, output, output_bias):
    ensemble = Ensemble([3, 6, 4], EVERY, range(len(EVERY)), output=output, output_bias=output_bias).double()
    x = 2 * torch.randn(len(EVERY), 9, 3, generator=stream(), dtype=torch.float64)
    y = torch.rand(len(EVERY), 9, 4, generator=stream(), dtype=torch.float64)
    if loss.classes:
        y = torch.randint(0, 4, (len(EVERY), 9), generator=stream())
    expected = loss_of_each_point(loss.name, ensemble(x), y).mean(dim=1)
    expected.sum().backward()
    slot = ensemble.with_parameters(torch.full_like(ensemble.flatten(), 7.0))
    found = differentiate(ensemble, slot, x, y, loss)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-14)
    if not output_bias:
        assert not slot.biases[-1].any()
        ensemble.biases[-1].grad.zero_()
    for written, parameter in zip(slot.parameters(), ensemble.parameters(), strict=True):
        torch.testing.assert_close(written.detach(), parameter.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_updates_are_those_of_each_member_alone_and_can_be_taken_up_again(name, decay):
    rates = [0.1, 0.003, 0.003]
    start = torch.randn(3, 6, generator=stream(), dtype=torch.float64)
    state = [start.clone(), torch.zeros_like(start), torch.zeros_like(start)]
    gradient = torch.zeros_like(start)
    rows = [row.clone().requires_grad_() for row in start]
    alone = [
        torch.optim.Adam([row], lr=rate, weight_decay=decay)
        if name == "adam"
        else torch.optim.SGD([row], lr=rate, momentum=0.8, weight_decay=decay)
        for row, rate in zip(rows, rates, strict=True)
    ]
    source = stream()
    for step in range(6):
        if step % 3 == 0:  # as at the beginning of each leg
            together = optimiser(name, state, gradient, rates, steps=step, momentum=0.8, decay=decay)
        gradient.copy_(torch.randn(3, 6, generator=source, dtype=torch.float64))
        together.step()
        for row, own, rate in zip(rows, alone, gradient, strict=True):
            row.grad = rate.clone()
            own.step()
        torch.testing.assert_close(state[0], torch.stack(rows).detach(), rtol=1e-12, atol=1e-14)
    assert not torch.equal(state[0], start)
