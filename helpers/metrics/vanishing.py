"""Gradients that vanish: exactly zero derivatives, units that are off everywhere, and how often chance makes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from helpers.checks import Integer
from helpers.models.ensemble import Ensemble
from helpers.models.gradients import differentiate
from helpers.models.losses import LOSS_NAME, LOSSES, LossName
from helpers.threads import side_by_side


@torch.no_grad()
def zero_gradient_share(
    ensemble: Ensemble, x: Tensor, y: Tensor, *, batch_size: int, loss: LossName = "cross_entropy"
) -> Tensor:
    """Share of the entries of ∂L/∂W that are exactly 0, averaged over batches.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``, taken in their order.
        y: their targets, as in `training.train`.
        batch_size: points behind one gradient, at least 1; the points left over at the end are not looked at.
        loss: a name from `helpers.models.losses`.

    Returns:
        ``[n_layers, n_networks]``, 0 to 1, the output layer last.

    Raises:
        ValueError: the shapes do not fit, y does not suit the loss, or there are fewer points than a batch has.
    """
    LOSS_NAME("loss", loss)
    x, y = ensemble.own(x, y, classes=LOSSES[loss].classes)
    batch_size = Integer(at_least=1, at_most=x.shape[1])("batch_size", batch_size)
    flat = ensemble.flatten()
    gradient = ensemble.with_parameters(torch.zeros_like(flat))
    zeros = torch.zeros(len(ensemble.weights), len(ensemble), dtype=torch.float64)
    n_batches = x.shape[1] // batch_size
    for number in range(n_batches):
        batch = slice(number * batch_size, (number + 1) * batch_size)
        differentiate(ensemble, gradient, x[:, batch], y[:, batch], LOSSES[loss])
        zeros += torch.stack([(weight == 0).double().mean((1, 2)) for weight in gradient.weights])
    return zeros / n_batches


def dead_unit_share(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Share of the units of each hidden layer whose derivative ψ'(z) is exactly 0 at every point.

    No gradient passes through such a unit, and no step on these points changes what leads to it. A ReLU is then off at
    every point, a tanh saturated to the last bit.

    Args:
        ensemble: the networks; they are looked at side by side, one in each core.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.

    Returns:
        ``[n_hidden, n_networks]``, 0 to 1.
    """
    x = ensemble.own(x)

    def shares(k: int) -> Tensor:
        with torch.no_grad():  # holds for one thread only
            network = ensemble.select([k])
            passes = zip(range(len(network.layer_sizes) - 2), network.pre_activations(x[k]), strict=False)
            dead = [(network.derivative(z, layer) == 0).all(dim=1) for layer, (_, z) in passes]
            return torch.stack([units.double().mean() for units in dead])

    return torch.stack(side_by_side(shares, range(len(ensemble))), dim=1)


def chance_of_zero_gradient(layer_sizes: Sequence[int]) -> list[float]:
    """Probability that an entry of ∂L/∂W is exactly 0 for one point, in an untrained ReLU network.

    Weights and biases are symmetric about 0, so for any one point each unit is off with probability ½, independently of
    all others. An entry of a layer's gradient is other than 0 only if its unit is on, the unit that feeds it
    is on, and every later layer has a unit that is on, through which the derivative arrives. With hidden widths
    n_1 … n_H it is 0 with probability 1 − ½ · ½ · Π_{k>l} (1 − 2^{−n_k}) in layer l; inputs, and the logits of the
    output layer, are never off and lose their factor ½.

    Args:
        layer_sizes: neurons in each layer, input and output included.

    Returns:
        One probability for each layer.

    References:
        The symmetry argument is that of Lu et al. (2020), §3, for networks that are off as a whole.
    """
    hidden = [Integer(at_least=1)(f"layer_sizes[{i}]", n) for i, n in enumerate(layer_sizes)][1:-1]
    chances = []
    for layer in range(len(hidden) + 1):
        arrives = np.prod([1 - 0.5**n for n in hidden[layer + 1 :]])
        fed = 0.5 if layer > 0 else 1.0
        on = 0.5 if layer < len(hidden) else 1.0
        chances.append(float(1 - fed * on * arrives))
    return chances


def chance_of_dead_unit(x: Tensor, *, n_angles: int = 20_000) -> float:
    """Probability that a unit of the first layer, before training, is off at all points of the plane that are given.

    The unit is off everywhere if b ≤ −h(w), with h(w) = max over the points of w·x the support function of
    their convex hull. For w in [−c, c]² and b in [−c, c], c = 1/√2, both uniform, the probability is
    E_w[max(0, min(2c, c − h(w)))] / 2c. Along a direction θ h grows in proportion to ‖w‖, so that the integral over the
    length is one of a polynomial, and only the one over θ is left to a sum.

    Args:
        x: points, ``[n_points, 2]``, not all on a line, with the origin inside their hull.
        n_angles: terms of the sum, at least 1.

    Raises:
        ValueError: the points are not in the plane, or the origin is not inside their hull.
    """
    if x.dim() != 2 or x.shape[1] != 2:
        raise ValueError(f"x must be points in the plane, [n_points, 2], got {list(x.shape)}.")
    points = x.double().numpy()
    hull = points[ConvexHull(points).vertices]
    angle = 2 * np.pi * (np.arange(Integer(at_least=1)("n_angles", n_angles)) + 0.5) / n_angles
    direction = np.stack([np.cos(angle), np.sin(angle)])
    support = (hull @ direction).max(axis=0)
    if support.min() <= 0:
        raise ValueError("x must have the origin inside its convex hull, got points all to one side of it.")
    c = 0.5**0.5
    # Lengths up to the edge of the square, and only those short enough for a bias to outweigh the farthest point.
    length = np.minimum(c / np.abs(direction).max(axis=0), c / support)
    integral = (c * length**2 / 2 - support * length**3 / 3).mean() * 2 * np.pi
    return float(integral / (2 * c) / (2 * c) ** 2)
