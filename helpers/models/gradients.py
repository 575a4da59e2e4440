"""Margins of points and gradients of a loss by the points themselves, for all members of an ensemble at once.

Every member has points of its own, and as many as it likes: they come as one flat list, ordered by member, so that
points an attack is done with can leave it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from helpers.models import kernel
from helpers.models.ensemble import Ensemble
from helpers.models.losses import LOSSES, Loss, LossName
from helpers.threads import side_by_side

# Members that plain PyTorch takes together.
TOGETHER = 20
# Points that are worth a thread.
FEWEST_POINTS = 200


class InputGradients:
    """Differentiates the losses of points by the points, in compiled code where that can be.

    Args:
        ensemble: the networks.
        loss: a name from `helpers.models.losses`, one of classes.
        compiled: whether compiled code may be used; it computes in float32, as plain PyTorch does for networks
            in float32.

    Attributes:
        ensemble: the networks.

    Raises:
        ValueError: the loss is not one of classes, or there is only one output, beside which no class could lead.
    """

    def __init__(self, ensemble: Ensemble, loss: LossName = "margin", *, compiled: bool = True) -> None:
        if loss not in LOSSES or not LOSSES[loss].classes:
            names = ", ".join(name for name, entry in LOSSES.items() if entry.classes)
            raise ValueError(f"loss must be one of classes, {names}, got {loss!r}.")
        if ensemble.layer_sizes[-1] < 2:
            raise ValueError(f"ensemble must have at least two outputs, got {ensemble.layer_sizes[-1]}.")
        self.ensemble, self.loss = ensemble, loss
        weight = ensemble.weights[0]
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        self.compiled = compiled and on_cpu and kernel.library() is not None
        self.parameters = ensemble.flatten().contiguous() if self.compiled else None
        starts = range(0, 0 if self.compiled else len(ensemble), TOGETHER)
        self.blocks = [ensemble.select(slice(start, start + TOGETHER)) for start in starts]

    def margins(self, member: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the logit of each point's class less the largest other, ``[n]``; arguments as in `both`."""
        return self._compute(member, x, y, False)[0]

    def both(self, member: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return margins and gradients of flat points.

        Args:
            member: the member each point belongs to, ascending, ``[n]``, int64.
            x: points, ``[n, n_in]``.
            y: classes, ``[n]``, int64.

        Returns:
            Margins ``[n]``, positive where the class is right, and the gradient of each point's loss by the point,
            ``[n, n_in]``.
        """
        margins, gradients = self._compute(member, x, y, True)
        assert gradients is not None
        return margins, gradients

    @torch.no_grad()
    def _compute(self, member: Tensor, x: Tensor, y: Tensor, differentiate: bool) -> tuple[Tensor, Tensor | None]:
        margins = x.new_empty(len(x))
        gradients = torch.empty_like(x) if differentiate else None
        if not len(x):
            return margins, gradients
        counts = torch.bincount(member, minlength=len(self.ensemble))
        if self.parameters is not None:
            self._in_kernel(counts, x.contiguous(), y.float(), margins, gradients)
        else:
            self._in_pytorch(counts, x, y, margins, gradients)
        return margins, gradients

    def _in_kernel(self, counts: Tensor, x: Tensor, y: Tensor, margins: Tensor, gradients: Tensor | None) -> None:
        assert self.parameters is not None
        parameters, ensemble = self.parameters, self.ensemble
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

        def work(part: tuple[int, int]) -> None:
            low, high = part
            kernel.differentiate_inputs(
                self.loss,
                ensemble.output,
                ensemble.activations,
                ensemble.layer_sizes,
                parameters,
                starts.clamp(low, high) - low,
                x[low:high],
                y[low:high],
                margins[low:high],
                None if gradients is None else gradients[low:high],
            )

        n_threads = max(1, min(torch.get_num_threads(), len(x) // FEWEST_POINTS))
        if n_threads == 1:
            work((0, len(x)))
            return
        cuts = [len(x) * k // n_threads for k in range(n_threads + 1)]
        side_by_side(work, pairwise(cuts))

    def _in_pytorch(self, counts: Tensor, x: Tensor, y: Tensor, margins: Tensor, gradients: Tensor | None) -> None:
        starts = [0, *counts.cumsum(0).tolist()]
        for k, networks in enumerate(self.blocks):
            first, last = k * TOGETHER, k * TOGETHER + len(networks)
            points = slice(starts[first], starts[last])
            if points.start < points.stop:
                self._block(networks, counts[first:last], x, y, points, margins, gradients)

    def _block(
        self,
        networks: Ensemble,
        counts: Tensor,
        x: Tensor,
        y: Tensor,
        points: slice,
        margins: Tensor,
        gradients: Tensor | None,
    ) -> None:
        # Every member gets as many places as the one with most points needs; the rest hold zeros.
        filled = torch.arange(int(counts.max()), device=counts.device) < counts[:, None]
        own_x, own_y = x.new_zeros(*filled.shape, x.shape[1]), y.new_zeros(filled.shape)
        own_x[filled], own_y[filled] = x[points], y[points]
        passes = list(networks.pre_activations(own_x))
        logits = networks.logits(passes[-1][1])
        margins[points] = -LOSSES["margin"].function(logits, own_y)[0][filled]
        if gradients is None:
            return
        delta = LOSSES[self.loss].function(logits, own_y)[1]
        if networks.output != "linear":
            sign = -1.0 if networks.output == "negated" else 1.0
            delta = networks.backward(sign * delta, passes[-1][1], sign * logits, len(passes) - 1)
        for layer in reversed(range(len(passes))):
            delta = torch.bmm(delta, networks.weights[layer])
            if layer:
                delta = networks.backward(delta, passes[layer - 1][1], passes[layer][0], layer - 1)
        gradients[points] = delta[filled]


@torch.no_grad()
def differentiate(ensemble: Ensemble, gradient: Ensemble, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Write the derivative of each member's mean loss by its parameters into ``gradient``.

    Args:
        ensemble: the networks.
        gradient: an ensemble of the same shape, whose parameters are overwritten.
        x: a batch for each member, ``[n_networks, n_points, n_in]``.
        y: its targets.
        loss: averaged over the points.

    Returns:
        The mean loss of each member, ``[n_networks]``.
    """
    passes = list(ensemble.pre_activations(x))
    last, z = len(passes) - 1, passes[-1][1]
    logits = ensemble.logits(z)
    losses, delta = loss.function(logits, y)
    delta /= x.shape[1]
    if ensemble.output != "linear":
        if ensemble.output == "negated":
            logits, delta = logits.neg_(), delta.neg_()  # back to ψ(z), and the derivative by it
        ensemble.slope_gradient(delta, z, last, out=gradient.slopes[last])
        delta = ensemble.backward(delta, z, logits, last)
    for layer in reversed(range(len(passes))):
        value = passes[layer][0]
        torch.bmm(delta.transpose(1, 2), value, out=gradient.weights[layer])
        if layer < last or ensemble.output_bias:
            torch.sum(delta, dim=1, out=gradient.biases[layer])
        else:
            gradient.biases[layer].zero_()
        if layer:
            delta = torch.bmm(delta, ensemble.weights[layer])
            z = passes[layer - 1][1]
            ensemble.slope_gradient(delta, z, layer - 1, out=gradient.slopes[layer - 1])
            delta = ensemble.backward(delta, z, value, layer - 1)
    return losses.mean(dim=1)
