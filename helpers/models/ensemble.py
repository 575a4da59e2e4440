"""Ensembles: N multilayer perceptrons of one shape as one object with stacked parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Literal, get_args, overload

import torch
from torch import Tensor, nn

from helpers.checks import Choice, Flag, Integer, ListOf
from helpers.models.activations import Activation, Negate, activation
from helpers.seeding import SEED, torch_stream

# What becomes of the last layer's z: the logits are z, ψ(z) or −ψ(z).
OutputName = Literal["linear", "activated", "negated"]
OUTPUTS: tuple[OutputName, ...] = get_args(OutputName)


class Ensemble(nn.Module):
    """N multilayer perceptrons of one shape, initialised as PyTorch initialises ``nn.Linear``.

    Layer l computes ``ψ(W_l a_{l-1} + b_l)``, the last one no ψ unless ``output`` asks for it. Weights and biases
    are drawn from U(−1/√fan_in, 1/√fan_in), each member's from the stream of its own seed. Layers are counted from
    0: with hidden layers of equal width, layers 1, 2, … are the square, hidden-to-hidden ones.

    Args:
        layer_sizes: neurons in each layer, input and output included, e.g. ``[2, 50, 50, 2]``.
        activations: one name for each member, from `helpers.models.activations`.
        seeds: one seed for each member, at least 0; members may share a seed.
        output: what the logits are: the last layer's z (``"linear"``), ψ(z) (``"activated"``) or −ψ(z)
            (``"negated"``).
        output_bias: whether the last layer has a bias; without one, its b is 0 and stays there.

    Attributes:
        layer_sizes, activations, seeds, output, output_bias: the arguments, the first three as tuples.
        weights: W, one ``[n_networks, n_out, n_in]`` for each layer.
        biases: b, one ``[n_networks, n_out]`` for each layer.
        slopes: learned slopes of PReLU members, one ``[n_networks]`` for each layer with an activation; other
            members carry the value along unused.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: no hidden layer, a layer without neurons, an unknown activation or output, a negative seed, no
            member, or not as many seeds as activations.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activations: Sequence[str],
        seeds: Sequence[int],
        *,
        output: OutputName = "linear",
        output_bias: bool = True,
    ) -> None:
        super().__init__()
        Choice(OUTPUTS)("output", output)
        self.output = output
        self.output_bias = Flag()("output_bias", output_bias)
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
        if not output_bias:  # drawn all the same, so that the option moves no other number
            self.biases[-1].data.zero_()
        initial = torch.tensor([activation(name).slope or 0.0 for name in self.activations])
        n_activated = len(self.weights) - (output == "linear")
        self.slopes = nn.ParameterList(initial.clone() for _ in range(n_activated))

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

    @overload
    def own(self, x: Tensor) -> Tensor: ...

    @overload
    def own(self, x: Tensor, y: Tensor, *, classes: bool = True) -> tuple[Tensor, Tensor]: ...

    def own(self, x: Tensor, y: Tensor | None = None, *, classes: bool = True) -> Tensor | tuple[Tensor, Tensor]:
        """Return points, and with them targets, with a first dimension for the members, to each its own.

        What all share is shown to each without a copy.

        Args:
            x: points, ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` shared by all.
            y: targets: classes, ``[n_networks, n_points]`` or ``[n_points]``, int64, from 0 to n_out − 1 (0 and 1 for
                networks with one output, whose sign says which); or numbers, ``[n_networks, n_points, n_out]`` or
                ``[n_points, n_out]``.
            classes: whether targets are classes, not numbers.

        Returns:
            x, or x and y.

        Raises:
            ValueError: a shape fits neither, or targets are none.
        """
        x = self._each(x, self.layer_sizes[0])
        if y is None:
            return x
        n_networks, n_points, n_out = len(self), x.shape[1], self.layer_sizes[-1]
        shape = (n_points,) if classes else (n_points, n_out)
        if tuple(y.shape) not in (shape, (n_networks, *shape)) or (
            y.dtype != torch.int64 if classes else not y.is_floating_point()
        ):
            kind = "classes, int64" if classes else "floating point numbers"
            raise ValueError(
                f"y must hold {kind}, of shape {[n_networks, *shape]} or {list(shape)}, "
                f"got {list(y.shape)} of {y.dtype}."
            )
        if classes and y.numel() and not 0 <= int(y.min()) <= int(y.max()) < max(2, n_out):
            raise ValueError(
                f"y must hold classes from 0 to {max(2, n_out) - 1}, got {int(y.min())} to {int(y.max())}."
            )
        return x, y.expand(n_networks, *shape)

    def _each(self, x: Tensor, width: int) -> Tensor:
        if x.dim() not in (2, 3) or x.shape[-1] != width or (x.dim() == 3 and len(x) != len(self)):
            raise ValueError(
                f"x must have shape [{len(self)}, n_points, {width}] or [n_points, {width}], got {list(x.shape)}."
            )
        return x.expand(len(self), *x.shape[-2:])

    def hidden_layer(self, layer: int) -> int:
        """Return the number of a hidden layer, from 0; negative ones count from the last hidden layer.

        Raises:
            ValueError: there is no such hidden layer.
        """
        n_hidden = len(self.layer_sizes) - 2
        return Integer(at_least=-n_hidden, at_most=n_hidden - 1)("layer", layer) % n_hidden

    @torch.no_grad()
    def hidden(self, x: Tensor, layer: int) -> Tensor:
        """Return what a hidden layer maps every point to, a_l = ψ(W_l a_{l−1} + b_l), without gradients.

        Args:
            x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
            layer: the hidden layer, from 0; −1 is the last one.

        Returns:
            ``[n_networks, n_points, width]``, in the order of x.

        Raises:
            ValueError: there is no such hidden layer, or the shape of x does not fit.
        """
        layer = self.hidden_layer(layer)
        _, z = next(islice(self.pre_activations(x), layer, None))
        return self.activate(z, layer)

    def pre_activations(self, x: Tensor, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's input a_{l-1} and pre-activation z_l = W_l a_{l-1} + b_l, first layer first.

        Args:
            x: ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` to show all members the same points.
            first: the layer that x is the input of; those before it are left out.

        Raises:
            ValueError: the shape of x fits neither, or there is no such layer.
        """
        x = self._each(x, self.layer_sizes[Integer(at_least=0, at_most=len(self.weights) - 1)("first", first)])
        last = len(self.weights) - 1
        for layer in range(first, last + 1):
            z = torch.baddbmm(self.biases[layer][:, None, :], x, self.weights[layer].transpose(1, 2))
            yield x, z
            if layer < last:
                x = self.activate(z, layer)

    def activate(self, z: Tensor, layer: int) -> Tensor:
        """Return ψ(z) of a layer with an activation, each member with its own; shapes as z."""
        parts = [psi.function(z[members], *slope) for members, psi, slope in self._by_run(layer)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def derivative(self, z: Tensor, layer: int) -> Tensor:
        """Return ψ'(z) of a layer with an activation, each member with its own; shapes as z."""
        return self.backward(torch.ones_like(z), z, self.activate(z, layer), layer)

    def backward(self, back: Tensor, z: Tensor, value: Tensor, layer: int) -> Tensor:
        """Return the derivative by z, given that by ψ(z).

        Args:
            back: derivative of something by ψ(z), ``[n_networks, n_points, width]``.
            z: pre-activations, of the same shape.
            value: ψ(z).
            layer: a layer with an activation.
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
            layer: a layer with an activation.
            out: 0 for members without a learned slope.
        """
        for members, _, slope in self._by_run(layer):
            out[members] = (back[members] * z[members].clamp(max=0)).sum((1, 2)) if slope else 0.0

    def _by_run(self, layer: int) -> Iterator[tuple[slice, Activation, tuple[Tensor, ...]]]:
        for members, name in self.runs:
            psi = activation(name)
            yield members, psi, () if psi.slope is None else (self.slopes[layer][members, None, None],)

    def logits(self, z: Tensor) -> Tensor:
        """Return what the last layer's z becomes, by ``output``: z, ψ(z) or −ψ(z); shapes as z."""
        if self.output == "linear":
            return z
        value = self.activate(z, len(self.weights) - 1)
        return -value if self.output == "negated" else value

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Return the logits, ``[n_networks, n_points, n_out]``; x and first as in `pre_activations`."""
        for _, z in self.pre_activations(x, first):  # noqa: B007 (only the last is wanted, and the others can go)
            pass
        return self.logits(z)

    def flatten(self) -> Tensor:
        """Return a copy of all numbers, ``[n_networks, n_parameters]``: W and b of each layer, then the slopes."""
        return self._numbers(slice(None))

    def _numbers(self, members: list[int] | slice) -> Tensor:
        layers = [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]
        return torch.cat([p.detach()[members].flatten(1) for p in (*layers, *(s[:, None] for s in self.slopes))], dim=1)

    def with_parameters(self, flat: Tensor) -> Ensemble:
        """Return an ensemble of the same members whose numbers are views of ``flat``, as `flatten` returns it."""
        return self._build(flat, self.activations, self.seeds)

    def select(self, members: Sequence[int] | slice) -> Ensemble:
        """Return a copy with these members only, in this order."""
        indices = list(range(len(self))[members]) if isinstance(members, slice) else list(members)
        ListOf(Integer(at_least=0, at_most=len(self) - 1))("members", indices)
        activations = tuple(self.activations[i] for i in indices)
        return self._build(self._numbers(indices), activations, tuple(self.seeds[i] for i in indices))

    def _build(self, flat: Tensor, activations: tuple[str, ...], seeds: tuple[int, ...]) -> Ensemble:
        networks = Ensemble.__new__(Ensemble)
        nn.Module.__init__(networks)
        networks.layer_sizes, networks.activations, networks.seeds = self.layer_sizes, activations, seeds
        networks.output, networks.output_bias = self.output, self.output_bias
        shapes = list(zip(self.layer_sizes, self.layer_sizes[1:], strict=False))
        sizes = [size for n_in, n_out in shapes for size in (n_in * n_out, n_out)] + [1] * len(self.slopes)
        parts = torch.split_with_sizes(flat, sizes, dim=1)
        networks.weights = nn.ParameterList(
            part.view(-1, n_out, n_in) for part, (n_in, n_out) in zip(parts[::2], shapes, strict=False)
        )
        networks.biases = nn.ParameterList(parts[1 : 2 * len(shapes) : 2])
        networks.slopes = nn.ParameterList(part[:, 0] for part in parts[2 * len(shapes) :])
        return networks

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
                    nn.Linear,
                    weight.shape[2],
                    weight.shape[1],
                    bias=self.output_bias or layer < len(self.weights) - 1,
                    dtype=weight.dtype,
                )
                linear.weight.copy_(weight[index])
                if linear.bias is not None:
                    linear.bias.copy_(bias[index])
                modules.append(linear)
                if layer < len(self.slopes):
                    modules.append(psi.module().to(weight.dtype))
                    if isinstance(modules[-1], nn.PReLU):
                        modules[-1].weight.copy_(self.slopes[layer][index])
        if self.output == "negated":
            modules.append(Negate())
        return nn.Sequential(*modules)
