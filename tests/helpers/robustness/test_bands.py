"""Linear functions with an error enclose what the network does, and close in with the square of the box."""

import torch

from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.robustness.bands import bands


def test_bands_enclose_the_rows():
    names, sizes = tuple(ACTIVATIONS), (2, 12, 12, 12, 2)
    ensemble = Ensemble(sizes, names, range(len(names)))
    ensemble = ensemble.with_parameters(3 * ensemble.flatten()).double()
    stream = torch.Generator().manual_seed(2)
    centre = 3 * torch.randn(5, 2, generator=stream, dtype=torch.float64).expand(10, -1, -1)
    rows = torch.randn(10, 5, 3, 2, generator=stream, dtype=torch.float64)
    offsets = torch.randn(10, 5, 3, generator=stream, dtype=torch.float64)
    errors = []
    for size in (1.0, 0.1, 0.01):
        half = torch.tensor([size, size / 2]).double().expand_as(centre)
        found = bands(ensemble, centre, half, rows, offsets)
        steps = (2 * torch.rand(300, 2, generator=stream, dtype=torch.float64) - 1).mul(1.3).clamp(-1, 1)
        steps = steps * half[0, 0]
        logits = ensemble((centre[:, :, None] + steps).flatten(1, 2)).unflatten(1, (5, 300))
        exact = logits @ rows.mT + offsets[:, :, None]
        line = found.value[:, :, None] + steps @ found.slope.mT
        assert ((exact - line).abs() <= found.error[:, :, None]).all()
        assert (found.noise <= found.error).all()
        errors.append(float((found.error - found.noise).mean()))
    assert errors[2] < errors[1] / 20
