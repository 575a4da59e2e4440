"""Networks with batch norm, dropout and convolutions, as ordinary modules whose random numbers are their own.

`helpers.models.ensemble` stacks plain perceptrons, for which one network is too small for a core. A convolution is not,
so here an ensemble is a list of ``nn.Sequential`` (`helpers.training.members` gives each its own core).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from helpers.checks import Flag, Integer, Real
from helpers.models.activations import activation
from helpers.seeding import torch_stream

DROPOUT = Real(at_least=0, below=1)

# The study's: channels of the three convolutions, neurons of the two hidden layers behind them.
CHANNELS, WIDTHS = (10, 16, 24), (512, 128)
# Both poolings halve, and the first convolution does so too: smaller pictures would vanish on the way.
SMALLEST_PICTURE = 11


class Dropout(nn.Module):
    """Set each number to 0 with probability ``share`` in training, and divide the others by 1 − share.

    Unlike PyTorch's it draws from a stream of its own, so that a network trains alike whatever its neighbours do.

    Args:
        share: at least 0 and below 1.
        stream: where the draws come from.
    """

    def __init__(self, share: float, stream: torch.Generator) -> None:
        super().__init__()
        self.share, self.stream = DROPOUT("share", share), stream

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a part dropped in training, x itself in evaluation."""
        if not self.training or not self.share:
            return x
        return x * (torch.empty_like(x).bernoulli_(1 - self.share, generator=self.stream) / (1 - self.share))


def perceptron(
    layer_sizes: Sequence[int], activation_name: str, seed: int, *, batch_norm: bool = True, dropout: float = 0.0
) -> nn.Sequential:
    """A multilayer perceptron: linear, batch norm, ψ for each hidden layer, and a linear output.

    Without batch norm and dropout it is the member of `models.Ensemble` with this seed, initial weights included.

    Args:
        layer_sizes: neurons in each layer, input and output included.
        activation_name: a name from `helpers.models.activations`.
        seed: of the initial weights and of the dropout.
        batch_norm: whether a batch norm stands before each ψ.
        dropout: share dropped before each layer but the first, at least 0 and below 1.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range, or there is no hidden layer.

    References:
        Harrison (2023): 10, 128, 64, 1; Ioffe & Szegedy (2015) for batch norm.
    """
    sizes = [Integer(at_least=1)(f"layer_sizes[{i}]", size) for i, size in enumerate(layer_sizes)]
    if len(sizes) < 3:
        raise ValueError(f"layer_sizes must have an input, at least one hidden layer and an output, got {sizes}.")
    build = _Builder(activation_name, seed, batch_norm=batch_norm, dropout=dropout)
    for n_in, n_out in pairwise(sizes[:-1]):
        build.hidden(n_in, n_out, drop=bool(build.layers))
    return build.finished(sizes[-2], sizes[-1], drop=True)


def digit_network(
    activation_name: str,
    seed: int,
    *,
    size: int = 64,
    n_classes: int = 10,
    batch_norm: bool = True,
    dropout: float = 0.0,
    last_layer: bool = True,
) -> nn.Sequential:
    """The study's network for pictures of digits, ``[n_points, 1, size, size]``.

    Convolutions 1 → 10 (5 × 5, stride 2), 10 → 16 (5 × 5, padding 2) and 16 → 24 (3 × 3, padding 1), the first two
    followed by a max pooling of 2 × 2; then linear layers of 512, 128 and n_classes. ψ, after a batch norm, follows
    every layer but the last.

    Args:
        activation_name: a name from `helpers.models.activations`.
        seed: of the initial weights and of the dropout.
        size: side of the pictures, pixels, at least 11; 64 gives the study's 1176 inputs to the first linear layer.
        n_classes: at least 2.
        batch_norm: whether a batch norm stands before each ψ.
        dropout: share dropped before each of the first two linear layers, at least 0 and below 1.
        last_layer: as the study writes it; False as it is coded: the linear layer 128 → n_classes is never reached, and
            the 128 *activated* values of the layer before it serve as logits of 128 classes.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is outside its range.

    References:
        Harrison (2023), slides "Model architecture" and "Hyperparameters", and the code published with them.
    """
    size = Integer(at_least=SMALLEST_PICTURE)("size", size)
    n_classes = Integer(at_least=2)("n_classes", n_classes)
    Flag()("last_layer", last_layer)
    build = _Builder(activation_name, seed, batch_norm=batch_norm, dropout=dropout)
    first, second, third = CHANNELS
    build.convolution(1, first, kernel=5, stride=2)
    build.layers.append(nn.MaxPool2d(2))
    build.convolution(first, second, kernel=5, padding=2)
    build.layers.append(nn.MaxPool2d(2))
    build.convolution(second, third, kernel=3, padding=1)
    build.layers.append(nn.Flatten())
    side = ((size - 5) // 2 + 1) // 4
    build.hidden(third * side**2, WIDTHS[0], drop=True)
    build.hidden(*WIDTHS, drop=True)
    return build.finished(WIDTHS[-1], n_classes) if last_layer else nn.Sequential(*build.layers)


class _Builder:
    """Appends layers, whose weights and biases are drawn one layer after the other from U(−1/√fan_in, 1/√fan_in)."""

    def __init__(self, activation_name: str, seed: int, *, batch_norm: bool, dropout: float) -> None:
        self.psi = activation(activation_name)
        self.batch_norm, self.dropout = Flag()("batch_norm", batch_norm), DROPOUT("dropout", dropout)
        self.initial, self.dropped = (torch_stream(seed, purpose) for purpose in ("initialisation", "dropout"))
        self.layers: list[nn.Module] = []

    def _drawn(self, layer: nn.Module) -> None:
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        bound = weight[0].numel() ** -0.5
        drawn = torch.empty(weight.numel() + bias.numel()).uniform_(-bound, bound, generator=self.initial)
        with torch.no_grad():
            weight.copy_(drawn[: weight.numel()].view_as(weight))
            bias.copy_(drawn[weight.numel() :])
        self.layers.append(layer)

    def convolution(self, n_in: int, n_out: int, *, kernel: int, **options: int) -> None:
        # Skipping PyTorch's own initialisation leaves the global random state alone.
        layer = nn.utils.skip_init(nn.Conv2d, n_in, n_out, kernel, **options)  # type: ignore[no-untyped-call]
        self._drawn(layer)
        if self.batch_norm:
            self.layers.append(nn.BatchNorm2d(n_out))
        self.layers.append(self.psi.module())

    def linear(self, n_in: int, n_out: int, *, drop: bool) -> None:
        if drop and self.dropout:
            self.layers.append(Dropout(self.dropout, self.dropped))
        self._drawn(nn.utils.skip_init(nn.Linear, n_in, n_out))  # type: ignore[no-untyped-call]

    def hidden(self, n_in: int, n_out: int, *, drop: bool) -> None:
        self.linear(n_in, n_out, drop=drop)
        if self.batch_norm:
            self.layers.append(nn.BatchNorm1d(n_out))
        self.layers.append(self.psi.module())

    def finished(self, n_in: int, n_out: int, *, drop: bool = False) -> nn.Sequential:
        self.linear(n_in, n_out, drop=drop)
        return nn.Sequential(*self.layers)
