"""Ensembles: N multilayer perceptrons of one shape as one object with stacked parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from helpers.activations import activation
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
        return self._by_run(z, layer, derivative=False)

    def derivative(self, z: Tensor, layer: int) -> Tensor:
        """Return ψ'(z) of a hidden layer, each member with its own activation; shapes as z."""
        return self._by_run(z, layer, derivative=True)

    def _by_run(self, z: Tensor, layer: int, *, derivative: bool) -> Tensor:
        parts = []
        for members, name in self.runs:
            psi = activation(name)
            slope = () if psi.slope is None else (self.slopes[layer][members, None, None],)
            parts.append((psi.derivative if derivative else psi.function)(z[members], *slope))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``[n_networks, n_points, n_out]``; x as in `pre_activations`."""
        *_, (_, logits) = self.pre_activations(x)
        return logits

    def select(self, members: Sequence[int] | slice) -> Ensemble:
        """Return a copy with these members only, in this order."""
        indices = list(range(len(self))[members]) if isinstance(members, slice) else list(members)
        ListOf(Integer(at_least=0, at_most=len(self) - 1))("members", indices)
        chosen = Ensemble.__new__(Ensemble)
        nn.Module.__init__(chosen)
        chosen.layer_sizes = self.layer_sizes
        chosen.activations = tuple(self.activations[i] for i in indices)
        chosen.seeds = tuple(self.seeds[i] for i in indices)
        for name in ("weights", "biases", "slopes"):
            setattr(chosen, name, nn.ParameterList(p.detach()[indices] for p in getattr(self, name)))
        return chosen

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


def concatenate(ensembles: Sequence[Ensemble]) -> Ensemble:
    """Return one ensemble with the members of several of the same shape, in order.

    Raises:
        ValueError: the list is empty, or the shapes differ.
    """
    if len({ensemble.layer_sizes for ensemble in ensembles}) != 1:
        raise ValueError(
            "ensembles must be at least one, all of the same layer_sizes, got "
            f"{[ensemble.layer_sizes for ensemble in ensembles]}."
        )
    whole = ensembles[0].select(slice(None))
    whole.activations = tuple(name for part in ensembles for name in part.activations)
    whole.seeds = tuple(seed for part in ensembles for seed in part.seeds)
    for name in ("weights", "biases", "slopes"):
        layers = zip(*(getattr(part, name) for part in ensembles), strict=True)
        setattr(whole, name, nn.ParameterList(torch.cat([p.detach() for p in layer]) for layer in layers))
    return whole
