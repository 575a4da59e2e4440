"""The registry of activation functions, by PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.checks import Choice


class Abs(nn.Module):
    """|z| as a module, which PyTorch does not have."""

    def forward(self, z: Tensor) -> Tensor:
        """Return |z|, elementwise."""
        return z.abs()


class Negate(nn.Module):
    """−z as a module, which PyTorch does not have."""

    def forward(self, z: Tensor) -> Tensor:
        """Return −z, elementwise."""
        return -z


@dataclass(frozen=True)
class Activation:
    """An activation function ψ, applied elementwise.

    Attributes:
        name: PyTorch's name for it.
        function: ψ; takes z and, where `slope` is given, a slope that broadcasts against z.
        backward: multiplies a derivative by ψ(z) with ψ'(z), which makes it one by z; takes that derivative, z, ψ(z)
            and, where `slope` is given, the slope.
        module: makes the ``torch.nn.Module`` that computes the same.
        diffeomorphism: ψ is strictly monotone and continuously differentiable with ψ' > 0 everywhere, so
            that ψ is a diffeomorphism of ℝ onto its range.
        slope: initial value of the one learned parameter a layer has, or None.
    """

    name: str
    function: Callable[..., Tensor]
    backward: Callable[..., Tensor]
    module: Callable[[], nn.Module]
    diffeomorphism: bool
    slope: float | None = None

    @torch.no_grad()
    def derivative(self, z: Tensor, *slope: Tensor) -> Tensor:
        """Return ψ'(z), elementwise; at a kink PyTorch's choice."""
        derivative: Tensor = self.backward(torch.ones_like(z), z, self.function(z, *slope), *slope)
        return derivative


def _prelu(z: Tensor, slope: Tensor) -> Tensor:
    return torch.where(z > 0, z, slope * z)


# PyTorch's own backward functions read and write their arguments once.
aten = torch.ops.aten

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        activation.name: activation
        for activation in (
            Activation(
                "tanh", torch.tanh, lambda back, z, a: aten.tanh_backward(back, a), nn.Tanh, diffeomorphism=True
            ),
            Activation(
                "relu",
                torch.relu,
                lambda back, z, a: aten.threshold_backward(back, a, 0),
                nn.ReLU,
                diffeomorphism=False,
            ),
            Activation(
                "leaky_relu",
                F.leaky_relu,
                lambda back, z, a: aten.leaky_relu_backward(back, z, 0.01, False),
                nn.LeakyReLU,
                diffeomorphism=False,
            ),
            Activation(
                "prelu",
                _prelu,
                lambda back, z, a, slope: torch.where(z > 0, back, slope * back),
                nn.PReLU,
                diffeomorphism=False,
                slope=0.25,
            ),
            Activation(
                "elu",
                F.elu,
                lambda back, z, a: aten.elu_backward(back, 1, 1, 1, False, z),
                nn.ELU,
                diffeomorphism=True,
            ),
            Activation("gelu", F.gelu, lambda back, z, a: aten.gelu_backward(back, z), nn.GELU, diffeomorphism=False),
            Activation("silu", F.silu, lambda back, z, a: aten.silu_backward(back, z), nn.SiLU, diffeomorphism=False),
            Activation(
                "softsign",
                F.softsign,
                lambda back, z, a: back / (1 + z.abs()).square_(),
                nn.Softsign,
                diffeomorphism=True,
            ),
            Activation(
                "sigmoid",
                torch.sigmoid,
                lambda back, z, a: aten.sigmoid_backward(back, a),
                nn.Sigmoid,
                diffeomorphism=True,
            ),
            Activation("abs", torch.abs, lambda back, z, a: back * z.sign(), Abs, diffeomorphism=False),
        )
    }
)

ACTIVATION_NAME = Choice(tuple(ACTIVATIONS))


def activation(name: str) -> Activation:
    """Return the activation of this name.

    Raises:
        ValueError: no activation has this name; the sentence lists those that exist.
    """
    return ACTIVATIONS[ACTIVATION_NAME("activation", name)]


# Piecewise linear with a kink at 0 and slope 1 to its right: the slope to the left (PReLU's is learned).
LEFT_SLOPES: Mapping[str, float | None] = MappingProxyType(
    {"relu": 0.0, "leaky_relu": 0.01, "abs": -1.0, "prelu": None}
)
