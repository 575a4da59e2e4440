"""Ensembles: N multilayer perceptrons of one shape as one object with stacked parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from helpers.activations import Activation, activation
from helpers.checks import Integer, ListOf
from helpers.seeding import SEED, torch_stream


class Ensemble(nn.Module):
    """N multilayer perceptrons of one shape, initialised as PyTorch initialises ``nn.Linear``.

    Layer l computes ``ψ(W_l a_{l-1} + b_l)``, the last one no ψ. Weights and biases are drawn from
    U(−1/√fan_in, 1/√fan_in), each member's from the stream of its own seed. Layers are counted from 0: with
    hidden layers of equal width, layers 1, 2, … are the square, hidden-to-hidden ones.

    Args:
        layer_sizes: neurons in each layer, input and output included, e.g. ``[2, 50, 50, 2]``.
        activations: one name for each member, from `helpers.activations`.
        seeds: one seed for each member, at least 0; members may share a seed.

    Attributes:
        layer_sizes, activations, seeds: the arguments, as tuples.
        weights: W, one ``[n_networks, n_out, n_in]`` for each layer.
        biases: b, one ``[n_networks, n_out]`` for each layer.
        slopes: learned slopes of PReLU members, one ``[n_networks]`` for each hidden layer; other members
            carry the value along unused.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: no hidden layer, a layer without neurons, an unknown activation, a negative seed, no
            member, or not as many seeds as activations.
    """

    def __init__(self, layer_sizes: Sequence[int], activations: Sequence[str], seeds: Sequence[int]) -> None:
        super().__init__()
        width = Integer(at_least=1)
        self.layer_sizes = tuple(width(f"layer_sizes[{i}]", size) for i, size in enumerate(layer_sizes))
        if len(self.layer_sizes) < 3:
            raise ValueError(
                f"layer_sizes must have an input, at least one hidden layer and an output, got {layer_sizes!r}."
            )
        self.activations = tuple(activation(name).name for name in activations)
        self.seeds = tuple(SEED("seed", seed) for seed in seeds)
        if not self.seeds or len(self.seeds) != len(self.activations):
            raise ValueError(
                "activations and seeds must have one entry for each of at least one member, "
                f"got {len(self.activations)} and {len(self.seeds)}."
            )
        streams = [torch_stream(seed, "initialisation") for seed in self.seeds]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in zip(self.layer_sizes, self.layer_sizes[1:], strict=False):
            bound = n_in**-0.5
            drawn = [torch.empty(n_out * (n_in + 1)).uniform_(-bound, bound, generator=stream) for stream in streams]
            layer = torch.stack(drawn)
            self.weights.append(layer[:, : n_out * n_in].reshape(-1, n_out, n_in))
            self.biases.append(layer[:, n_out * n_in :].clone())
        initial = torch.tensor([activation(name).slope or 0.0 for name in self.activations])
        self.slopes = nn.ParameterList(initial.clone() for _ in self.layer_sizes[1:-1])

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def runs(self) -> list[tuple[slice, str]]:
        """Neighbouring members that share an activation, as (slice of members, name)."""
        runs, start = [], 0
        for name, members in groupby(self.activations):
            stop = start + len(list(members))
            runs.append((slice(start, stop), name))
            start = stop
        return runs

    def pre_activations(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's input a_{l-1} and pre-activation z_l = W_l a_{l-1} + b_l, first layer first.

        Args:
            x: ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` to show all members the same points.

        Raises:
            ValueError: the shape of x fits neither.
        """
        if x.dim() == 2:
            x = x.expand(len(self), *x.shape)
        if x.dim() != 3 or x.shape[0] != len(self) or x.shape[2] != self.layer_sizes[0]:
            raise ValueError(
                f"x must have shape [{len(self)}, n_points, {self.layer_sizes[0]}] or "
                f"[n_points, {self.layer_sizes[0]}], got {list(x.shape)}."
            )
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = torch.baddbmm(bias[:, None, :], x, weight.transpose(1, 2))
            yield x, z
            if layer < len(self.slopes):
                x = self.activate(z, layer)

    def activate(self, z: Tensor, layer: int) -> Tensor:
        """Return ψ(z) of a hidden layer, each member with its own activation; shapes as z."""
        parts = [psi.function(z[members], *slope) for members, psi, slope in self._by_run(layer)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def derivative(self, z: Tensor, layer: int) -> Tensor:
        """Return ψ'(z) of a hidden layer, each member with its own activation; shapes as z."""
        return self.backward(torch.ones_like(z), z, self.activate(z, layer), layer)

    def backward(self, back: Tensor, z: Tensor, value: Tensor, layer: int) -> Tensor:
        """Return the derivative by z, given that by ψ(z).

        Args:
            back: derivative of something by ψ(z), ``[n_networks, n_points, width]``.
            z: pre-activations, of the same shape.
            value: ψ(z).
            layer: the hidden layer.
        """
        parts = [
            psi.backward(back[members], z[members], value[members], *slope)
            for members, psi, slope in self._by_run(layer)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def slope_gradient(self, back: Tensor, z: Tensor, layer: int, *, out: Tensor) -> None:
        """Write the derivative by each member's learned slope into ``out``, ``[n_networks]``.

        Args:
            back: derivative of the loss by ψ(z), ``[n_networks, n_points, width]``.
            z: pre-activations, of the same shape.
            layer: the hidden layer.
            out: 0 for members without a learned slope.
        """
        for members, _, slope in self._by_run(layer):
            out[members] = (back[members] * z[members].clamp(max=0)).sum((1, 2)) if slope else 0.0

    def _by_run(self, layer: int) -> Iterator[tuple[slice, Activation, tuple[Tensor, ...]]]:
        for members, name in self.runs:
            psi = activation(name)
            yield members, psi, () if psi.slope is None else (self.slopes[layer][members, None, None],)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``[n_networks, n_points, n_out]``; x as in `pre_activations`."""
        for _, z in self.pre_activations(x):  # noqa: B007 (only the last is wanted, and the others can go)
            pass
        return z

    def flatten(self) -> Tensor:
        """Return a copy of all numbers, ``[n_networks, n_parameters]``: W and b of each layer, then the slopes."""
        layers = [p.detach().flatten(1) for pair in zip(self.weights, self.biases, strict=True) for p in pair]
        return torch.cat([*layers, *(slope.detach()[:, None] for slope in self.slopes)], dim=1)

    def with_parameters(self, flat: Tensor) -> Ensemble:
        """Return an ensemble of the same members whose numbers are views of ``flat``, as `flatten` returns it."""
        return self._build(flat, self.activations, self.seeds)

    def select(self, members: Sequence[int] | slice) -> Ensemble:
        """Return a copy with these members only, in this order."""
        indices = list(range(len(self))[members]) if isinstance(members, slice) else list(members)
        ListOf(Integer(at_least=0, at_most=len(self) - 1))("members", indices)
        return self._build(
            self.flatten()[indices], tuple(self.activations[i] for i in indices), tuple(self.seeds[i] for i in indices)
        )

    def _build(self, flat: Tensor, activations: tuple[str, ...], seeds: tuple[int, ...]) -> Ensemble:
        made = Ensemble.__new__(Ensemble)
        nn.Module.__init__(made)
        made.layer_sizes, made.activations, made.seeds = self.layer_sizes, activations, seeds
        shapes = list(zip(self.layer_sizes, self.layer_sizes[1:], strict=False))
        sizes = [size for n_in, n_out in shapes for size in (n_in * n_out, n_out)] + [1] * len(self.slopes)
        parts = torch.split_with_sizes(flat, sizes, dim=1)
        made.weights = nn.ParameterList(
            part.view(-1, n_out, n_in) for part, (n_in, n_out) in zip(parts[::2], shapes, strict=False)
        )
        made.biases = nn.ParameterList(parts[1 : 2 * len(shapes) : 2])
        made.slopes = nn.ParameterList(part[:, 0] for part in parts[2 * len(shapes) :])
        return made

    def with_one_logit(self) -> Ensemble:
        """Return networks with the same hidden layers and one output, the second logit less the first.

        Its sigmoid is the softmax probability of class 1, so both say the same of every point.

        Raises:
            ValueError: the networks have other than two outputs.
        """
        if self.layer_sizes[-1] != 2:
            raise ValueError(f"layer_sizes must end in 2 to turn two logits into one, got {self.layer_sizes!r}.")
        made = self.select(slice(None))
        made.layer_sizes = (*self.layer_sizes[:-1], 1)
        with torch.no_grad():
            for parameters in (made.weights, made.biases):
                parameters[-1] = nn.Parameter(parameters[-1][:, 1:] - parameters[-1][:, :1])
        return made

    def member(self, index: int) -> nn.Sequential:
        """Return a copy of one member as an ordinary ``nn.Sequential`` of linear and activation modules.

        Args:
            index: which member, from 0.

        Raises:
            ValueError: there is no such member.
        """
        index = Integer(at_least=0, at_most=len(self) - 1)("index", index)
        psi = activation(self.activations[index])
        modules: list[nn.Module] = []
        with torch.no_grad():
            for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                # Skipping the initialisation also leaves the global random state alone.
                linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
                    nn.Linear, weight.shape[2], weight.shape[1], dtype=weight.dtype
                )
                linear.weight.copy_(weight[index])
                linear.bias.copy_(bias[index])
                modules.append(linear)
                if layer < len(self.slopes):
                    modules.append(psi.module().to(weight.dtype))
                    if isinstance(modules[-1], nn.PReLU):
                        modules[-1].weight.copy_(self.slopes[layer][index])
        return nn.Sequential(*modules)
