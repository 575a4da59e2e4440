"""Random streams that belong to one network and one purpose.

A member of an ensemble draws its initial weights, its data and its batch order from streams that are
functions of its own seed alone, so that it does not notice how many neighbours it has. Nothing here, or
anywhere in the package, touches a global random state.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch

from helpers.checks import Integer

SEED = Integer(at_least=0)


def _sequence(seed: int, purpose: str) -> np.random.SeedSequence:
    # The purpose enters by its name, so that a new purpose never shifts the streams of the old ones.
    return np.random.SeedSequence([SEED("seed", seed), zlib.crc32(purpose.encode())])


def numpy_stream(seed: int, purpose: str) -> np.random.Generator:
    """Return numpy's generator for this seed and purpose.

    Args:
        seed: a member's seed, at least 0.
        purpose: what the numbers are for, e.g. ``"noise"``; different purposes are independent.

    Raises:
        TypeError: the seed is not a whole number.
        ValueError: the seed is negative.
    """
    return np.random.default_rng(_sequence(seed, purpose))


def torch_stream(seed: int, purpose: str) -> torch.Generator:
    """Return a torch CPU generator for this seed and purpose; see `numpy_stream`."""
    words = _sequence(seed, purpose).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))
