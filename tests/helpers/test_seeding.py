"""Streams depend on seed and purpose, and on nothing else."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.seeding import numpy_stream, torch_stream

SEEDS = st.integers(0, 2**63)


def from_numpy(seed, purpose):
    return tuple(numpy_stream(seed, purpose).random(8))


def from_torch(seed, purpose):
    return tuple(torch.rand(8, dtype=torch.float64, generator=torch_stream(seed, purpose)).tolist())


STREAMS = pytest.mark.parametrize("draw", [from_numpy, from_torch])


@STREAMS
@settings(deadline=None)
@given(seed=SEEDS, purpose=st.text())
def test_same_seed_and_purpose_same_numbers(draw, seed, purpose):
    assert draw(seed, purpose) == draw(seed, purpose)


@STREAMS
@settings(deadline=None)
@given(seed=SEEDS, other=SEEDS)
def test_other_seed_other_numbers(draw, seed, other):
    assert (draw(seed, "noise") == draw(other, "noise")) == (seed == other)


@STREAMS
def test_other_purpose_other_numbers(draw):
    purposes = ["noise", "split", "embedding", "embedding noise", "initialisation", "batch order", ""]
    drawn = {draw(seed, purpose) for seed in range(20) for purpose in purposes}
    assert len(drawn) == 20 * len(purposes)


@STREAMS
def test_purposes_are_uncorrelated(draw):
    first = np.array([draw(seed, "noise") for seed in range(500)]).ravel()
    second = np.array([draw(seed, "batch order") for seed in range(500)]).ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08  # five standard errors of 4000 draws


@STREAMS
def test_neighbouring_seeds_are_uncorrelated(draw):
    drawn = np.array([draw(seed, "noise") for seed in range(501)])
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.08


@STREAMS
def test_numpy_integers_are_seeds_too(draw):
    assert draw(np.int64(5), "noise") == draw(5, "noise")


@STREAMS
def test_negative_seed_is_refused(draw):
    with pytest.raises(ValueError, match="seed must be a whole number at least 0, got -1"):
        draw(-1, "noise")


@STREAMS
@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_seed_that_is_no_whole_number_is_refused(draw, seed):
    with pytest.raises(TypeError, match="seed must be a whole number"):
        draw(seed, "noise")


@STREAMS
def test_global_states_stay(draw):
    def states():
        name, key, *rest = np.random.get_state()  # noqa: NPY002 -- it is the global state that is checked
        return torch.get_rng_state().tolist(), name, key.tolist(), rest, random.getstate()

    before = states()
    draw(3, "noise")
    assert states() == before
