"""The registry of activation functions, by PyTorch's names."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class Activation:
    """An activation function ψ, applied elementwise.

    Attributes:
        name: PyTorch's name for it.
        function: ψ; takes z and, where `slope` is given, a slope that broadcasts against z.
        gradient: ψ'; takes z, ψ(z) and, where `slope` is given, the slope.
        module: makes the ``torch.nn.Module`` that computes the same.
        diffeomorphism: ψ is strictly monotone and continuously differentiable with ψ' > 0 everywhere, so
            that ψ is a diffeomorphism of ℝ onto its range.
        slope: initial value of the one learned parameter a layer has, or None.
    """

    name: str
    function: Callable[..., Tensor]
    gradient: Callable[..., Tensor]
    module: Callable[[], nn.Module]
    diffeomorphism: bool
    slope: float | None = None

    @torch.no_grad()
    def derivative(self, z: Tensor, *slope: Tensor) -> Tensor:
        """Return ψ'(z), elementwise; at a kink PyTorch's choice."""
        derivative: Tensor = self.gradient(z, self.function(z, *slope), *slope)
        return derivative


def _prelu(z: Tensor, slope: Tensor) -> Tensor:
    return torch.where(z > 0, z, slope * z)


def _gelu_gradient(z: Tensor, _: Tensor) -> Tensor:
    # Φ(z) + z φ(z), with the normal distribution function Φ and its density φ
    below: Tensor = torch.special.ndtr(z)
    return below + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _silu_gradient(z: Tensor, value: Tensor) -> Tensor:
    s = z.sigmoid()
    return s + value * (1 - s)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        activation.name: activation
        for activation in (
            Activation("tanh", torch.tanh, lambda z, a: 1 - a * a, nn.Tanh, diffeomorphism=True),
            Activation("relu", torch.relu, lambda z, a: (z > 0).to(z.dtype), nn.ReLU, diffeomorphism=False),
            Activation(
                "leaky_relu",
                F.leaky_relu,
                lambda z, a: torch.where(z > 0, 1.0, z.new_tensor(0.01)),
                nn.LeakyReLU,
                diffeomorphism=False,
            ),
            Activation(
                "prelu",
                _prelu,
                lambda z, a, slope: torch.where(z > 0, 1.0, slope),
                nn.PReLU,
                diffeomorphism=False,
                slope=0.25,
            ),
            Activation("elu", F.elu, lambda z, a: z.clamp(max=0).exp(), nn.ELU, diffeomorphism=True),
            Activation("gelu", F.gelu, _gelu_gradient, nn.GELU, diffeomorphism=False),
            Activation("silu", F.silu, _silu_gradient, nn.SiLU, diffeomorphism=False),
            Activation(
                "softsign",
                F.softsign,
                lambda z, a: (1 + z.abs()).square().reciprocal(),
                nn.Softsign,
                diffeomorphism=True,
            ),
            Activation("sigmoid", torch.sigmoid, lambda z, a: a * (1 - a), nn.Sigmoid, diffeomorphism=True),
            Activation("abs", torch.abs, lambda z, a: z.sign(), Abs, diffeomorphism=False),
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
