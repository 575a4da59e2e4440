"""Sound bounds on what an ensemble's networks can say anywhere in a box or a ball around a point.

Every bound comes in float64, and by default (`ROUNDING`) it holds for the network as it is run in float32 or better, in
any order of summation: each layer's rounding enters as an unknown of bounded size beside the activations' own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from helpers.checks import Choice
from helpers.models.ensemble import Ensemble
from helpers.norms import Limits, NormName
from helpers.robustness.boxes import Bounds, Box, Region, check_outputs, region
from helpers.robustness.relaxations import Lines, Slope, image, relax

Method = Literal["interval", "linear"]
METHOD = Choice(get_args(Method))
# Unit roundoff of float32. Products in a lower precision (TF32 of some GPUs, off by PyTorch's default) are not covered.
ROUNDING = 2.0**-24
LARGEST = torch.finfo(torch.float32).max
# Rounding of an activation, in units of the last place: PyTorch's are good to fewer.
ACTIVATION_ULPS = 8
BOUNDED = ("tanh", "sigmoid", "softsign")
# Numbers of an intermediate array of `linear_bounds`: 256 MiB.
LARGEST_ARRAY = 2**25


def interval_bounds(ensemble: Ensemble, where: Region, *, rounding: float = ROUNDING) -> list[Bounds]:
    """Bounds on every layer's pre-activations, each neuron on its own (interval arithmetic).

    The values of a layer in [c − r, c + r] give ``Wc + b ± |W|r``. Differentiable, in the dtype of the arguments: with
    ``rounding=0`` this is what certified training differentiates.

    Args:
        ensemble: the networks.
        where: the region.
        rounding: unit roundoff of the arithmetic that the bounds must also hold for.

    Returns:
        For each layer, logits last, the lower and upper bounds, each ``[n_networks, n_points, width]``.

    References:
        Gowal et al. (2018), IBP, equations 6–8.
    """
    bounds: list[Bounds] = []
    values = where
    for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        lower, upper = values.affine(weight, bias)
        if rounding:
            noise = rounding_error(weight, bias, values.size, rounding)
            lower, upper = lower - noise, upper + noise
        bounds.append((lower, upper))
        if layer < len(ensemble.slopes):
            values = Box.between(*_images(ensemble, layer, bounds[-1], rounding))
    return bounds


def linear_bounds(ensemble: Ensemble, where: Region, *, rounding: float = ROUNDING) -> list[Bounds]:
    """Bounds on every layer's pre-activations by lines around the activations, substituted back to the input.

    Each neuron is bounded by linear functions of the input: its row of W is carried back through the layers, and each
    activation is replaced by the line that is on the right side for the sign of its coefficient. The better of two
    choices of lines (`helpers.robustness.relaxations.relax`) and of `interval_bounds` is taken for each neuron.

    Args:
        ensemble: the networks.
        where: the region.
        rounding: unit roundoff of the arithmetic that the bounds must also hold for.

    Returns:
        As `interval_bounds`, without a gradient.

    References:
        Zhang et al. (2018), CROWN, theorem 3.2.
    """
    ensemble = ensemble.select(slice(None)).double()
    blocks = [
        Relaxed(ensemble, where.points(block), rounding, last=True).bounds
        for block in _blocks(ensemble, where.centre.shape[1])
    ]
    return [
        (torch.cat([lower for lower, _ in layer], dim=1), torch.cat([upper for _, upper in layer], dim=1))
        for layer in zip(*blocks, strict=True)
    ]


def _blocks(ensemble: Ensemble, n_points: int) -> list[slice]:
    """Points that are bounded together, so that intermediate arrays stay within `LARGEST_ARRAY`."""
    n_rows = 2 * max(ensemble.layer_sizes[1:])
    size = max(1, LARGEST_ARRAY // (len(ensemble) * n_rows * max(ensemble.layer_sizes)))
    return [slice(start, start + size) for start in range(0, max(1, n_points), size)]


class Relaxed:
    """An ensemble on a region, its activations replaced by lines: bounds on linear functions of its outputs.

    Args:
        ensemble: the networks, in float64.
        where: the region.
        rounding: unit roundoff of the arithmetic that the bounds must also hold for.
        last: whether to bound each logit too.

    Attributes:
        bounds: of every layer's pre-activations, ``(lower, upper)``; without ``last`` those of the hidden layers.
    """

    @torch.no_grad()
    def __init__(self, ensemble: Ensemble, where: Region, rounding: float, *, last: bool = False) -> None:
        self.ensemble, self.where, self.rounding = ensemble, where, rounding
        self.bounds: list[Bounds] = []
        self.lines: list[tuple[Lines, ...]] = []
        self.noise: list[Tensor] = []
        values = where
        for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            self.noise.append(rounding_error(weight, bias, values.size, rounding))
            if layer == len(ensemble.slopes) and not last:
                break
            lower, upper = values.affine(weight, bias)
            lower, upper = lower - self.noise[layer], upper + self.noise[layer]
            if layer:
                width = weight.shape[1]
                eye = torch.eye(width, dtype=weight.dtype, device=weight.device)
                least = self.least(torch.cat([eye, -eye]).expand(*lower.shape[:2], -1, -1), layer)
                lower = torch.maximum(lower, least[..., :width])
                upper = torch.minimum(upper, -least[..., width:])
                # Both are sound, so what separates them where they cross is rounding.
                lower, upper = torch.minimum(lower, upper), torch.maximum(lower, upper)
            self.bounds.append((lower, upper))
            if layer < len(ensemble.slopes):
                self.lines.append(
                    tuple(lines(ensemble, layer, (lower, upper), choice, rounding) for choice in ("chord", "adaptive"))
                )
                values = Box.between(*_images(ensemble, layer, (lower, upper), rounding))

    @torch.no_grad()
    def least(self, rows: Tensor, layer: int = -1) -> Tensor:
        """Lower bounds of ``rows · z`` for the pre-activations of a layer.

        Args:
            rows: ``[n_networks, n_points, n_rows, width]``.
            layer: which layer; by default the logits.

        Returns:
            ``[n_networks, n_points, n_rows]``.
        """
        layer %= len(self.ensemble.weights)
        return torch.maximum(*(self._least(rows, layer, choice) for choice in (0, 1)))

    def _least(self, rows: Tensor, layer: int, choice: int) -> Tensor:
        constant = rows.new_zeros(rows.shape[:3])
        for at in range(layer, -1, -1):
            weight, bias = self.ensemble.weights[at], self.ensemble.biases[at]
            constant = constant + (rows @ bias[:, None, :, None] - rows.abs() @ self.noise[at][..., None])[..., 0]
            rows = torch.bmm(rows.flatten(1, 2), weight).view(*rows.shape[:3], weight.shape[2])
            if at:
                band = self.lines[at - 1][choice]
                positive, negative = rows.clamp(min=0), rows.clamp(max=0)
                constant = (
                    constant
                    + (positive @ band.lower_offset[..., None] + negative @ band.upper_offset[..., None])[..., 0]
                )
                rows = positive * band.lower_slope[:, :, None] + negative * band.upper_slope[:, :, None]
        return constant + self.where.least(rows)


@torch.no_grad()
def margins(
    ensemble: Ensemble,
    where: Region,
    y: Tensor,
    *,
    method: Method = "linear",
    rounding: float = ROUNDING,
) -> Tensor:
    """Lower bounds of the logit of the class less every other logit, anywhere in the region.

    Args:
        ensemble: the networks.
        where: the region around the points.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        method: ``"linear"`` (`linear_bounds`, and the differences themselves substituted back) or ``"interval"``.
        rounding: unit roundoff of the arithmetic that the bounds must also hold for.

    Returns:
        ``[n_networks, n_points, n_out]``, ∞ at the class itself.

    Raises:
        ValueError: the shapes do not fit, or there is no such class or method.
    """
    METHOD("method", method)
    check_outputs(ensemble)
    _, y = ensemble.own(where.centre, y)
    ensemble = ensemble.select(slice(None)).double()
    if method == "interval":
        lower, upper = interval_bounds(ensemble, where, rounding=rounding)[-1]
        least = lower.gather(2, y[..., None]) - upper
    else:
        blocks = [
            Relaxed(ensemble, where.points(block), rounding).least(differences(y[:, block], ensemble.layer_sizes[-1]))
            for block in _blocks(ensemble, y.shape[1])
        ]
        least = torch.cat(blocks, dim=1)
    return least.scatter(2, y[..., None], torch.inf)


def certified(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilon: float | Tensor,
    *,
    norm: NormName = "linf",
    method: Method = "linear",
    limits: Limits | None = None,
) -> Tensor:
    """Whether the bounds prove that nothing within ε of a point changes its class; False is no proof of the opposite.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        epsilon: ε ≥ 0, data units; one number, or a tensor that broadcasts against ``[n_networks, n_points]``.
        norm: ``"linf"`` or ``"l2"``.
        method: ``"linear"`` or ``"interval"``.
        limits: lowest and highest value of an input, or of each coordinate; they cut boxes, not balls.

    Returns:
        ``[n_networks, n_points]``, bool.
    """
    where = region(ensemble, x, epsilon, norm=norm, limits=limits)
    return (margins(ensemble, where, y, method=method) > 0).all(dim=2)


def differences(y: Tensor, n_out: int) -> Tensor:
    """Rows that take from logits z the differences z_y − z_k, one for each k, 0 for y itself.

    Args:
        y: classes, ``[...]``.
        n_out: number of logits.

    Returns:
        ``[..., n_out, n_out]``, float64.
    """
    eye = torch.eye(n_out, dtype=torch.float64, device=y.device)
    return eye[y][..., None, :] - eye


def lines(ensemble: Ensemble, layer: int, bounds: Bounds, choice: Slope, rounding: float = ROUNDING) -> Lines:
    """Lines around a hidden layer's activations, wide enough for the rounding of their values too.

    Args:
        ensemble: the networks.
        layer: the hidden layer.
        bounds: of its pre-activations, each ``[n_networks, n_points, width]``.
        choice: of their slopes, as `helpers.robustness.relaxations.relax` has it.
        rounding: unit roundoff of the arithmetic that the bounds must also hold for.
    """
    exact = Lines(*by_run(ensemble, layer, bounds, lambda *a: relax(*a, lines=choice)))
    spare = _activation_noise(ensemble, layer, bounds, rounding)
    return exact._replace(lower_offset=exact.lower_offset - spare, upper_offset=exact.upper_offset + spare)


def _images(ensemble: Ensemble, layer: int, bounds: Bounds, rounding: float) -> Bounds:
    lower, upper = by_run(ensemble, layer, bounds, image)
    spare = _activation_noise(ensemble, layer, bounds, rounding) if rounding else 0.0
    return lower - spare, upper + spare


def by_run(
    ensemble: Ensemble, layer: int, bounds: Bounds, function: Callable[..., tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Apply a function of an activation and an interval to each member's own activation."""
    lower, upper = bounds
    parts = []
    for members, name in ensemble.runs:
        slope = (ensemble.slopes[layer][members, None, None],) if name == "prelu" else ()
        parts.append(function(name, lower[members], upper[members], *slope))
    return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _activation_noise(ensemble: Ensemble, layer: int, bounds: Bounds, rounding: float) -> Tensor:
    """Largest rounding error of ψ: some units of 1 where |ψ| ≤ 1, else of 1 + |z| or more."""
    growth = torch.tensor([0.0 if name in BOUNDED else 1.2 for name in ensemble.activations])
    growth = (growth.to(bounds[0]) + ensemble.slopes[layer].detach().abs())[:, None, None]
    spare: Tensor = ACTIVATION_ULPS * rounding * (1 + growth * torch.maximum(bounds[0].abs(), bounds[1].abs()))
    return spare


def rounding_error(weight: Tensor, bias: Tensor, size: Tensor, rounding: float) -> Tensor:
    """Largest rounding error of ``Wa + b`` for |a| ≤ size in any order of summation (Higham 2002, equation 3.5).

    ∞ where a sum could exceed the largest number of float32.
    """
    share = (weight.shape[2] + 2) * rounding
    gamma = share / (1 - share)
    largest = torch.baddbmm(bias.abs()[:, None], size, weight.abs().mT)
    if rounding < ROUNDING:
        return gamma * largest
    return torch.where(largest * (1 + gamma) < LARGEST, gamma * largest, torch.inf)
