"""Sound bounds on what an ensemble's networks can say anywhere in a box or a ball around a point.

Every bound comes in float64, and by default (`ROUNDING`) it holds for the network as it is run in float32 or better, in
any order of summation: each layer's rounding enters as an unknown of bounded size beside the activations' own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.checks import Choice
from helpers.models.ensemble import Ensemble
from helpers.norms import NORM
from helpers.robustness.relaxations import Lines, image, relax

METHOD = Choice(("interval", "linear"))
# Unit roundoff of float32. Products in a lower precision (TF32 of some GPUs, off by PyTorch's default) are not covered.
ROUNDING = 2.0**-24
# Rounding of an activation, in units of the last place: PyTorch's are good to fewer.
ACTIVATION_ULPS = 8
BOUNDED = ("tanh", "sigmoid", "softsign")
# Numbers of an intermediate array of `linear_bounds`: 256 MiB.
BLOCK = 2**25

Bounds = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Region:
    """What a point may become: a box, or a ball of the L2 norm.

    Attributes:
        centre: ``[n_networks, n_points, n_in]``, float64.
        reach: of a box half its width, ``[n_networks, n_points, n_in]``; of a ball its radius,
            ``[n_networks, n_points, 1]``.
        norm: ``"linf"`` for a box, ``"l2"`` for a ball.
    """

    centre: Tensor
    reach: Tensor
    norm: str = "linf"

    def least(self, rows: Tensor) -> Tensor:
        """Smallest value of linear functions on the region.

        Args:
            rows: their coefficients, ``[n_networks, n_points, n_rows, n_in]``.

        Returns:
            ``[n_networks, n_points, n_rows]``.
        """
        middle = (rows @ self.centre[..., None])[..., 0]
        spread = rows.norm(dim=-1) * self.reach if self.norm == "l2" else (rows.abs() @ self.reach[..., None])[..., 0]
        return middle - spread

    def affine(self, weight: Tensor, bias: Tensor) -> Bounds:
        """Smallest and largest value of ``Wx + b``: exact, but for rounding.

        Args:
            weight: ``[n_networks, n_out, n_in]``.
            bias: ``[n_networks, n_out]``.

        Returns:
            Two tensors ``[n_networks, n_points, n_out]``.
        """
        middle = torch.baddbmm(bias[:, None], self.centre, weight.transpose(1, 2))
        if self.norm == "l2":
            spread = self.reach * weight.norm(dim=2)[:, None]
        else:
            spread = self.reach @ weight.abs().transpose(1, 2)
        return middle - spread, middle + spread

    @property
    def size(self) -> Tensor:
        """Largest |x_i| in the region, ``[n_networks, n_points, n_in]``."""
        return self.centre.abs() + self.reach

    def points(self, part: slice) -> Region:
        """The region of some of the points."""
        return Region(self.centre[:, part], self.reach[:, part], self.norm)


def region(
    ensemble: Ensemble,
    x: Tensor,
    epsilon: float | Tensor,
    *,
    norm: str = "linf",
    lowest: float | None = None,
    highest: float | None = None,
) -> Region:
    """All that points may become within ε.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]``, or ``[n_points, n_in]`` shared by all.
        epsilon: ε ≥ 0, data units; one number, or a tensor that broadcasts against ``[n_networks, n_points]``.
        norm: ``"linf"`` or ``"l2"``.
        lowest: smallest value that a coordinate can take, if there is one.
        highest: largest value. Both cut boxes; a ball is left whole, which is sound.

    Returns:
        The region, in float64.

    Raises:
        ValueError: the shapes do not fit, or ε is negative or not finite.
    """
    NORM("norm", norm)
    check_outputs(ensemble)
    x = ensemble.own(x.double())
    reach = torch.as_tensor(epsilon, dtype=torch.float64, device=x.device)
    if not bool((reach.isfinite() & (reach >= 0)).all()):
        raise ValueError(f"epsilon must be finite numbers at least 0, got {epsilon!r}.")
    reach = reach.expand(x.shape[:2])[..., None]
    if norm == "l2":
        return Region(x, reach, norm)
    low, high = x - reach, x + reach
    if lowest is not None or highest is not None:
        low, high = low.clamp(lowest, highest), high.clamp(lowest, highest)
    return box(low, high)


def check_outputs(ensemble: Ensemble) -> None:
    """Raise ValueError unless the outputs are at least two, and linear: no bound here knows of others."""
    if ensemble.output != "linear":
        raise ValueError(f"ensemble must have linear outputs to be bounded, got {ensemble.output!r} ones.")
    if ensemble.layer_sizes[-1] < 2:
        raise ValueError(f"ensemble must have at least two outputs to be bounded, got {ensemble.layer_sizes[-1]}.")


def box(lower: Tensor, upper: Tensor) -> Region:
    """The box between two corners, each ``[n_networks, n_points, n_in]``."""
    return Region((lower + upper) / 2, (upper - lower) / 2)


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
    found: list[Bounds] = []
    values = where
    for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        lower, upper = values.affine(weight, bias)
        if rounding:
            noise = rounding_error(weight, bias, values.size, rounding)
            lower, upper = lower - noise, upper + noise
        found.append((lower, upper))
        if layer < len(ensemble.slopes):
            values = box(*_images(ensemble, layer, found[-1], rounding))
    return found


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
    n_rows = 2 * max(ensemble.layer_sizes[1:])
    n_points = max(1, BLOCK // (len(ensemble) * n_rows * max(ensemble.layer_sizes)))
    ensemble = ensemble.select(slice(None)).double()
    parts = []
    for start in range(0, where.centre.shape[1], n_points):
        part = where.points(slice(start, start + n_points))
        parts.append(Relaxed(ensemble, part, rounding, last=True).bounds)
    return [
        (torch.cat([p[i][0] for p in parts], 1), torch.cat([p[i][1] for p in parts], 1)) for i in range(len(parts[0]))
    ]


class Relaxed:
    """An ensemble on a region, its activations replaced by lines: bounds on linear functions of its outputs.

    Args:
        ensemble: the networks, in float64.
        where: the region.
        rounding: see `linear_bounds`.
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
                values = box(*_images(ensemble, layer, (lower, upper), rounding))

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
            rows = torch.bmm(rows.flatten(1, 2), weight).view(*rows.shape[:3], -1)
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
    method: str = "linear",
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
        found = lower.gather(2, y[..., None]) - upper
    else:
        n_rows = 2 * max(ensemble.layer_sizes[1:])
        n_points = max(1, BLOCK // (len(ensemble) * n_rows * max(ensemble.layer_sizes)))
        parts = []
        for start in range(0, y.shape[1], n_points):
            part = slice(start, start + n_points)
            relaxed = Relaxed(ensemble, where.points(part), rounding)
            parts.append(relaxed.least(differences(y[:, part], ensemble.layer_sizes[-1])))
        found = torch.cat(parts, dim=1)
    return found.scatter(2, y[..., None], torch.inf)


def certified(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    epsilon: float | Tensor,
    *,
    norm: str = "linf",
    method: str = "linear",
    lowest: float | None = None,
    highest: float | None = None,
) -> Tensor:
    """Whether the bounds prove that nothing within ε of a point changes its class; False is no proof of the opposite.

    Args:
        ensemble: the networks.
        x: points, ``[n_networks, n_points, n_in]`` or ``[n_points, n_in]``.
        y: classes, ``[n_networks, n_points]`` or ``[n_points]``.
        epsilon: see `region`.
        norm: ``"linf"`` or ``"l2"``.
        method: ``"linear"`` or ``"interval"``.
        lowest: see `region`.
        highest: see `region`.

    Returns:
        ``[n_networks, n_points]``, bool.
    """
    where = region(ensemble, x, epsilon, norm=norm, lowest=lowest, highest=highest)
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


def lines(ensemble: Ensemble, layer: int, bounds: Bounds, choice: str, rounding: float = ROUNDING) -> Lines:
    """Lines around a hidden layer's activations, wide enough for the rounding of their values too.

    Args:
        ensemble: the networks.
        layer: the hidden layer.
        bounds: of its pre-activations, each ``[n_networks, n_points, width]``.
        choice: see `helpers.robustness.relaxations.relax`.
        rounding: unit roundoff of the arithmetic that the bounds must also hold for.
    """
    found = Lines(*by_run(ensemble, layer, bounds, lambda *a: relax(*a, lines=choice)))
    spare = _activation_noise(ensemble, layer, bounds, rounding)
    return found._replace(lower_offset=found.lower_offset - spare, upper_offset=found.upper_offset + spare)


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
    """Largest rounding error of ``Wa + b`` for |a| ≤ size in any order of summation (Higham 2002, equation 3.5)."""
    share = (weight.shape[2] + 2) * rounding
    gamma = share / (1 - share)
    error: Tensor = gamma * torch.baddbmm(bias.abs()[:, None], size, weight.abs().transpose(1, 2))
    return error
