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


@dataclass(frozen=True)
class Activation:
    """An activation function ψ, applied elementwise.

    Attributes:
        name: PyTorch's name for it.
        function: ψ; takes z and, where `slope` is given, a slope that broadcasts against z.
        module: makes the ``torch.nn.Module`` that computes the same.
        diffeomorphism: ψ is strictly monotone and continuously differentiable with ψ' > 0 everywhere, so
            that ψ is a diffeomorphism of ℝ onto its range.
        slope: initial value of the one learned parameter a layer has, or None.
    """

    name: str
    function: Callable[..., Tensor]
    module: Callable[[], nn.Module]
    diffeomorphism: bool
    slope: float | None = None

    def derivative(self, z: Tensor, *slope: Tensor) -> Tensor:
        """Return ψ'(z), elementwise and exact up to rounding, by automatic differentiation."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (derivative,) = torch.autograd.grad(self.function(z, *slope).sum(), z)
            return derivative


def _prelu(z: Tensor, slope: Tensor) -> Tensor:
    return torch.where(z > 0, z, slope * z)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        activation.name: activation
        for activation in (
            Activation("tanh", torch.tanh, nn.Tanh, diffeomorphism=True),
            Activation("relu", torch.relu, nn.ReLU, diffeomorphism=False),
            Activation("leaky_relu", F.leaky_relu, nn.LeakyReLU, diffeomorphism=False),
            Activation("prelu", _prelu, nn.PReLU, diffeomorphism=False, slope=0.25),
            Activation("elu", F.elu, nn.ELU, diffeomorphism=True),
            Activation("gelu", F.gelu, nn.GELU, diffeomorphism=False),
            Activation("silu", F.silu, nn.SiLU, diffeomorphism=False),
            Activation("softsign", F.softsign, nn.Softsign, diffeomorphism=True),
            Activation("sigmoid", torch.sigmoid, nn.Sigmoid, diffeomorphism=True),
            Activation("abs", torch.abs, Abs, diffeomorphism=False),
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
