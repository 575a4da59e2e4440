"""Every registered activation is the function, module, derivative and diffeomorphism it says it is."""

import numpy as np
import pytest
import torch

from helpers.models.activations import ACTIVATIONS, activation

EVERY = pytest.mark.parametrize("psi", ACTIVATIONS.values(), ids=ACTIVATIONS)
# Where float64 still tells ψ' of tanh from 0; 0 itself is on the grid.
GRID = torch.linspace(-15, 15, 30001, dtype=torch.float64)


def slope(psi):
    return () if psi.slope is None else (torch.tensor(psi.slope, dtype=torch.float64),)


KNOWN = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "prelu": lambda z: np.where(z > 0, z, 0.25 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "gelu": lambda z: z * (1 + torch.erf(torch.from_numpy(z) / 2**0.5).numpy()) / 2,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "abs": np.abs,
}


def test_formulas_are_known_for_all():
    assert list(KNOWN) == list(ACTIVATIONS)


@EVERY
def test_function_is_its_formula(psi):
    found = psi.function(GRID, *slope(psi)).numpy()
    np.testing.assert_allclose(found, KNOWN[psi.name](GRID.numpy()), rtol=1e-12, atol=1e-14)


@EVERY
def test_function_is_its_module(psi):
    with torch.no_grad():
        expected = psi.module().double()(GRID)
    torch.testing.assert_close(psi.function(GRID, *slope(psi)), expected, rtol=1e-14, atol=1e-14)


@EVERY
def test_initial_slope_is_the_modules_only_parameter(psi):
    parameters = [p.item() for p in psi.module().parameters()]
    assert parameters == ([] if psi.slope is None else [psi.slope])


@EVERY
def test_derivative_is_the_difference_quotient(psi):
    z, h = GRID[GRID.abs() > 1e-3 / 2], 1e-6
    quotient = (psi.function(z + h, *slope(psi)) - psi.function(z - h, *slope(psi))) / (2 * h)
    derivative = psi.derivative(z, *slope(psi))
    assert not derivative.requires_grad
    torch.testing.assert_close(derivative, quotient, rtol=0, atol=2e-8)


@EVERY
def test_derivative_is_that_of_autograd(psi):
    z = torch.cat([GRID, torch.tensor([0.0, -0.0, 40.0, -40.0], dtype=torch.float64)]).requires_grad_()
    (expected,) = torch.autograd.grad(psi.function(z, *slope(psi)).sum(), z)
    torch.testing.assert_close(psi.derivative(z, *slope(psi)), expected, rtol=1e-9, atol=1e-15)
    back = torch.linspace(-3, 3, len(z), dtype=torch.float64)
    found = psi.backward(back, z.detach(), psi.function(z.detach(), *slope(psi)), *slope(psi))
    torch.testing.assert_close(found, back * expected, rtol=1e-9, atol=1e-15)
    assert psi.derivative(z.float(), *(s.float() for s in slope(psi))).dtype == torch.float32


@EVERY
def test_derivative_works_without_grad_mode_and_leaves_its_argument(psi):
    z = GRID[::1000].clone()
    with torch.no_grad():
        derivative = psi.derivative(z, *slope(psi))
    assert not z.requires_grad
    assert torch.equal(derivative, psi.derivative(z, *slope(psi)))


@EVERY
def test_diffeomorphism_is_what_the_derivative_shows(psi):
    derivative = psi.derivative(GRID, *slope(psi))
    far = psi.derivative(torch.tensor([-600.0, 600.0], dtype=torch.float64), *slope(psi))
    # tanh and sigmoid underflow out there, which is no evidence against them
    rising = bool((derivative > 0).all() and (far >= 0).all())
    smooth = float(derivative.diff().abs().max()) < 0.01  # ten times the step; |ψ''| is below 3 for all
    assert psi.diffeomorphism == (rising and smooth)


def test_each_reason_against_a_diffeomorphism_occurs():
    derivatives = {name: psi.derivative(GRID, *slope(psi)) for name, psi in ACTIVATIONS.items()}
    assert {name for name, d in derivatives.items() if (d < 0).any()} == {"gelu", "silu", "abs"}
    jumping = {name for name, d in derivatives.items() if d.diff().abs().max() > 0.5}
    assert jumping == {"relu", "leaky_relu", "prelu", "abs"}


def test_slope_of_prelu_broadcasts():
    z = torch.tensor([[-2.0, 3.0], [-2.0, 3.0]])
    slopes = torch.tensor([[0.5], [-1.0]])
    psi = activation("prelu")
    assert psi.function(z, slopes).tolist() == [[-1.0, 3.0], [2.0, 3.0]]
    assert psi.derivative(z, slopes).tolist() == [[0.5, 1.0], [-1.0, 1.0]]


@EVERY
def test_registry_finds_by_name(psi):
    assert activation(psi.name) is psi
    assert ACTIVATIONS[psi.name] is psi


def test_registry_is_read_only():
    with pytest.raises(TypeError):
        ACTIVATIONS["new"] = activation("relu")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="activation must be one of") as caught:
        activation("swish")
    assert "'swish'" in str(caught.value)
    for name in ACTIVATIONS:
        assert name in str(caught.value)
    with pytest.raises(TypeError, match="activation must be one of"):
        activation(None)
