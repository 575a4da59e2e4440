"""Linear functions that a network follows on small boxes of the plane, up to an error: cheap enough for many boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from helpers.models.ensemble import Ensemble
from helpers.robustness.bounds import ROUNDING, lines, rounding_error
from helpers.robustness.boxes import Bounds


@dataclass(frozen=True)
class Bands:
    """Linear functions with an error: ``value + slope·(x − centre) ± error`` for all x of a box.

    Attributes:
        value: ``[..., n_rows]``.
        slope: ``[..., n_rows, 2]``.
        error: ``[..., n_rows]``, at least 0.
        noise: the part of it that is rounding in float32 and stays however small the box is.
        hidden: bounds of the hidden layers' pre-activations on the boxes, for each layer ``(lower, upper)``.
    """

    value: Tensor
    slope: Tensor
    error: Tensor
    noise: Tensor
    hidden: list[Bounds] = field(default_factory=list)


@torch.no_grad()
def bands(
    ensemble: Ensemble, centre: Tensor, half: Tensor, rows: Tensor, offsets: Tensor, *, rounding: float = ROUNDING
) -> Bands:
    """Linear functions of the input that ``rows · f(x) + offsets`` follows on boxes, up to an error.

    Forward, each neuron's pre-activation is a linear function of the input and an interval of what the lines around
    the activations left out; that is cheap, with few inputs, and good enough to place the lines. The rows are then
    carried back through these lines, which keeps their errors from being added up without sign in every layer.

    Args:
        ensemble: the networks, float64.
        centre: of the boxes, ``[n_networks, n_boxes, n_in]``.
        half: half their widths, same shape.
        rows: ``[n_networks, n_boxes, n_rows, n_out]``.
        offsets: ``[n_networks, n_boxes, n_rows]``.
        rounding: unit roundoff of the arithmetic that the bands must also hold for.

    References:
        Xu et al. (2020), auto_LiRPA, appendix A, for forward bounds that place the lines of backward ones.
    """
    n_networks, n_boxes, n_in = centre.shape
    # Rows: the value at the centre and the change along half of each side; then what is left out.
    linear = torch.cat([centre[:, :, None], torch.diag_embed(half)], dim=2)
    rest, size = torch.zeros_like(centre), centre.abs() + half
    kept, hidden = [], []
    for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        noise = rounding_error(weight, bias, size, rounding)
        if layer == len(ensemble.slopes):
            break
        linear = torch.bmm(linear.flatten(1, 2), weight.mT).view(n_networks, n_boxes, n_in + 1, weight.shape[1])
        linear[:, :, 0] += bias[:, None]
        rest = torch.baddbmm(noise, rest, weight.abs().mT)
        spread = linear[:, :, 1:].abs().sum(2) + rest
        hidden.append((linear[:, :, 0] - spread, linear[:, :, 0] + spread))
        chord = lines(ensemble, layer, hidden[-1], "chord", rounding)
        slope = chord.lower_slope
        offset, error = (chord.upper_offset + chord.lower_offset) / 2, (chord.upper_offset - chord.lower_offset) / 2
        kept.append((noise, slope, offset, error))
        linear = linear * slope[:, :, None]
        linear[:, :, 0] += offset
        rest = torch.addcmul(error, slope.abs(), rest)
        size = linear.abs().sum(2) + rest
    value, error, blur = offsets, torch.zeros_like(offsets), torch.zeros_like(offsets)
    for layer in reversed(range(len(ensemble.weights))):
        if layer < len(kept):
            noise, slope, offset, left = kept[layer]
            value = value + (rows @ offset[..., None])[..., 0]
            error = error + (rows.abs() @ left[..., None])[..., 0]
            rows = rows * slope[:, :, None]
        value = value + torch.bmm(rows.flatten(1, 2), ensemble.biases[layer][..., None]).view(offsets.shape)
        blur = blur + (rows.abs() @ noise[..., None])[..., 0]
        rows = torch.bmm(rows.flatten(1, 2), ensemble.weights[layer]).view(
            *rows.shape[:3], ensemble.weights[layer].shape[2]
        )
    return Bands(value + (rows @ centre[..., None])[..., 0], rows, error + blur, blur, hidden)
