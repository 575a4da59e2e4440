"""How fast a probability changes: bounds on its gradient hold, and a known constant is found on either side."""

import pytest
import torch

from helpers.models.ensemble import Ensemble
from helpers.robustness.bounds import Relaxed
from helpers.robustness.boxes import region
from helpers.robustness.lipschitz import decide_lipschitz, gradient_bounds

NAMES = ("tanh", "relu", "gelu", "elu", "abs")  # S-shaped, kinked, not monotone, convex, folding


def test_lipschitz_constant_of_a_linear_network_is_known():
    # A PReLU of slope 1: the lead is w · x + b, steepest where p = ½, there by ‖w‖₁ / 4.
    ensemble = Ensemble([2, 4, 2], ["prelu"], [3])
    flat = ensemble.flatten()
    flat[:, -1] = 1.0
    ensemble = ensemble.with_parameters(flat)
    with torch.no_grad():
        w = ensemble.weights[1][0].double() @ ensemble.weights[0][0].double()
        b = ensemble.weights[1][0].double() @ ensemble.biases[0][0].double() + ensemble.biases[1][0].double()
    row, level = w[1] - w[0], b[1] - b[0]
    x = (-level * row / row.square().sum())[None].float()  # where p = ½
    constant = float(row.abs().sum() / 4)
    assert decide_lipschitz(ensemble, x.double()[None], 1.01 * constant, 0.5, "linf").tolist() == [[1]]
    assert decide_lipschitz(ensemble, x.double()[None], 0.95 * constant, 0.5, "linf").tolist() == [[0]]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_gradient_bounds_hold(norm):
    ensemble = Ensemble([2, 8, 8, 2], NAMES, range(len(NAMES)))
    ensemble = ensemble.with_parameters(2.5 * ensemble.flatten()).double()
    x = 2 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    ratios = []
    for epsilon in (0.3, 0.01):
        where = region(ensemble, x, epsilon)
        found = gradient_bounds(ensemble, Relaxed(ensemble, where, 0.0).bounds, norm)
        stream = torch.Generator().manual_seed(3)
        steps = epsilon * (2 * torch.rand(200, 2, generator=stream, dtype=torch.float64) - 1)
        points = (x.double()[:, None] + steps).flatten(0, 1).expand(len(NAMES), -1, -1).clone().requires_grad_()
        z = ensemble(points)
        (slope,) = torch.autograd.grad((z[..., 1] - z[..., 0]).sum(), points)
        largest = (slope.abs().sum(2) if norm == "linf" else slope.norm(dim=2)).unflatten(1, (6, 200)).amax(2)
        assert (found >= largest).all()
        ratios.append(float((found / largest).median()))
    assert ratios[1] < ratios[0]
    assert ratios[1] < 1.2


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_network_that_answers_nan_is_never_proved(norm):
    ensemble = Ensemble([2, 8, 2], NAMES, range(len(NAMES)))
    x = torch.randn(len(NAMES), 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        ensemble.weights[1][:, 1, 2] = torch.nan
    assert (decide_lipschitz(ensemble, x, 1e3, 0.1, norm) == 0).all()
    x[:, 1] = torch.nan
    assert (decide_lipschitz(Ensemble([2, 8, 2], NAMES, range(5)), x, 1e3, 0.1, norm)[:, 1] == 0).all()
