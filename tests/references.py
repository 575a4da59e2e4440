"""What tests hold our code against, and whether there is a compiler."""

import warnings

import torch
from torch.nn import functional as F

from helpers.datasets import Dataset
from helpers.models import kernel
from helpers.seeding import torch_stream


def look_for_a_compiler():
    """Build the kernel, or remember that there is no compiler: the one warning of it must not fail some test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kernel.library() is not None


HAS_KERNEL = look_for_a_compiler()

# PyTorch's own losses, by our names.
CRITERIA = {
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "squared_error": F.mse_loss,
}


def loss_of_each_point(name, logits, y):
    """PyTorch's loss of stacked networks at each of their points, [n_networks, n_points]."""
    if name == "cross_entropy":
        return CRITERIA[name](logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    if name == "margin":
        others = logits.scatter(-1, y[..., None], -torch.inf).amax(-1)
        return others - logits.gather(-1, y[..., None])[..., 0]
    return CRITERIA[name](logits, y, reduction="none").mean(-1)


def blobs(n=120, seed=0):
    """Three clouds of points, each around a corner of its own."""
    y = torch.arange(n) % 3
    x = 4 * torch.eye(3)[y] + torch.randn(n, 3, generator=torch_stream(seed, "blobs"))
    return Dataset(x, y)
