"""Spirals are what their parameters say, in the plane and embedded."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from helpers.datasets.dataset import Dataset
from helpers.datasets.spirals import measure_spirals, spiral_distance, spirals


@pytest.mark.parametrize("phi_min", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("entanglement", [1.0, 2 * np.pi, 20.0])
def test_points_lie_on_the_spiral(entanglement, phi_min):
    data = spirals(entanglement, n_per_class=200, radius=1.5, phi_min=phi_min)
    assert data.x.shape == (400, 2)
    assert data.x.dtype == torch.float32
    assert data.y.dtype == torch.int64
    assert data.y.tolist() == [0] * 200 + [1] * 200
    x = data.x[:200].double().numpy()
    r = np.hypot(*x.T)
    phi = r / 1.5
    np.testing.assert_allclose(phi, np.linspace(phi_min, phi_min + entanglement, 200), rtol=1e-6)
    np.testing.assert_allclose(x / r[:, None], np.stack([np.cos(phi), np.sin(phi)], 1), atol=1e-5)


@pytest.mark.parametrize("codimension", [1, 4])
def test_classes_are_reflections_of_each_other(codimension):
    data = spirals(5.0, n_per_class=50, codimension=codimension)
    assert torch.equal(data.x[50:], -data.x[:50])


@pytest.mark.parametrize("phi_min", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("entanglement", [0.5, 2.0, np.pi, 4.5, 2 * np.pi, 18.0])
def test_spiral_distance_against_brute_force(entanglement, phi_min):
    phi = np.linspace(phi_min, phi_min + entanglement, 1000)
    points = phi * np.exp(1j * phi)
    brute = 0.7 * np.abs(points[:, None] + points).min()
    exact = spiral_distance(entanglement, radius=0.7, phi_min=phi_min)
    assert exact <= brute * (1 + 1e-12)
    assert exact == pytest.approx(brute, rel=2e-3)


@settings(deadline=None)
@given(st.floats(0.1, 30), st.floats(0.05, 20), st.floats(0.01, 100))
def test_spiral_distance_scales_with_the_radius(entanglement, phi_min, radius):
    unit = spiral_distance(entanglement, radius=1.0, phi_min=phi_min)
    assert unit <= 2 * phi_min
    assert spiral_distance(entanglement, radius=radius, phi_min=phi_min) == pytest.approx(radius * unit)


@pytest.mark.parametrize("codimension", [1, 2, 6, 11])
@pytest.mark.parametrize("entanglement", [np.pi, 2 * np.pi, 6 * np.pi])
def test_measures_find_what_was_asked(entanglement, codimension):
    data = spirals(entanglement, radius=2.0, codimension=codimension, seed=3)
    assert data.x.shape[1] == 1 + codimension
    found = measure_spirals(data)
    assert found.distance == pytest.approx(spiral_distance(entanglement, radius=2.0), rel=0.01)
    assert found.entanglement == pytest.approx(entanglement, rel=0.01)
    assert found.codimension == codimension


@pytest.mark.parametrize("distance", [0.1, 3.0])
@pytest.mark.parametrize("codimension", [1, 5])
def test_asked_distance_is_measured(distance, codimension):
    data = spirals(4 * np.pi, distance=distance, radius=77.0, codimension=codimension)
    found = measure_spirals(data)
    assert found.distance == pytest.approx(distance, rel=0.01)
    assert found.entanglement == pytest.approx(4 * np.pi, rel=0.01)


def test_wide_noise_counts_as_a_dimension():
    assert measure_spirals(spirals(6.0, noise=0.5)).codimension == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 11), st.integers(0, 10**6), st.floats(0.2, 20), st.floats(0, 1))
def test_embedding_is_isometric(codimension, seed, entanglement, noise):
    options = {"n_per_class": 20, "noise": noise, "seed": seed}
    plane = spirals(entanglement, **options).x.double()
    space = spirals(entanglement, codimension=codimension, **options).x.double()
    assert space.shape == (40, 1 + codimension)
    scale = float(plane.abs().max())
    np.testing.assert_allclose(pdist(space), pdist(plane), atol=1e-5 * scale)
    assert torch.linalg.matrix_rank(space, rtol=1e-5) == 2


def test_embedding_turns_with_the_seed():
    first, second = (spirals(5.0, codimension=3, seed=seed).x for seed in (0, 1))
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize(("argument", "codimension"), [("noise", 1), ("noise", 4), ("embedding_noise", 4)])
def test_noise_is_bounded_and_fills_its_range(argument, codimension):
    d = 0.3
    clean = spirals(5.0, codimension=codimension, seed=1).x
    shift = (spirals(5.0, codimension=codimension, seed=1, **{argument: d}).x - clean).double()
    if codimension > 1 and argument == "noise":
        assert torch.linalg.matrix_rank(shift, rtol=1e-4) == 2
        assert shift.norm(dim=1).max() <= d * 2**0.5 + 1e-5
    else:
        assert shift.abs().max() <= d + 1e-5
        assert shift.amax(0).min() > 0.98 * d
        assert shift.amin(0).max() < -0.98 * d
        assert float(shift.std()) == pytest.approx(d / 3**0.5, rel=0.05)


def test_same_seed_same_points():
    options = {"codimension": 3, "noise": 0.1, "embedding_noise": 0.2, "n_per_class": 20}
    first, again, other = (spirals(5.0, seed=seed, **options).x for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_states_stay():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    spirals(5.0, n_per_class=9, codimension=3, noise=0.1, embedding_noise=0.1).split()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_split_is_a_partition(n, share, seed):
    data = Dataset(torch.arange(n).float()[:, None], torch.arange(n) % 2)
    n_train = round(share * n)
    if n_train in (0, n):
        with pytest.raises(ValueError, match="train_share must leave at least one"):
            data.split(train_share=share, seed=seed)
        return
    train, test = data.split(train_share=share, seed=seed)
    assert (len(train), len(test)) == (n_train, n - n_train)
    joined = torch.cat([train.x, test.x])[:, 0]
    assert joined.sort().values.tolist() == list(range(n))
    assert torch.equal(torch.cat([train.y, test.y]), joined.long() % 2)
    again, _ = data.split(train_share=share, seed=seed)
    assert torch.equal(train.x, again.x)


def test_split_shuffles_by_its_seed():
    data = spirals(5.0, n_per_class=50)
    first, second = (data.split(train_share=0.5, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(first.x, second.x)
    assert 0 < int(first.y.sum()) < 50


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"entanglement": 0}, ValueError),
        ({"entanglement": -1.0}, ValueError),
        ({"entanglement": "6"}, TypeError),
        ({"entanglement": float("nan")}, ValueError),
        ({"n_per_class": 1}, ValueError),
        ({"n_per_class": 10.0}, TypeError),
        ({"radius": 0}, ValueError),
        ({"distance": 0}, ValueError),
        ({"distance": -1}, ValueError),
        ({"phi_min": 0}, ValueError),
        ({"noise": -0.1}, ValueError),
        ({"codimension": 0}, ValueError),
        ({"codimension": 1.5}, TypeError),
        ({"embedding_noise": -0.1}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
    ],
)
def test_wrong_arguments_of_spirals(change, error):
    (name,) = change
    with pytest.raises(error, match=f"^{name} must be"):
        spirals(**({"entanglement": 5.0} | change))


@pytest.mark.parametrize("name", ["entanglement", "radius", "phi_min"])
def test_wrong_arguments_of_spiral_distance(name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        spiral_distance(**({"entanglement": 5.0} | {name: -1}))


def test_wrong_arguments_of_measures_and_split():
    data = spirals(5.0, n_per_class=8)
    with pytest.raises(ValueError, match=r"n_neighbours = 9 points in each class, got 8 and 8"):
        measure_spirals(data, n_neighbours=9)
    measure_spirals(data, n_neighbours=8)
    with pytest.raises(ValueError, match="n_neighbours must be"):
        measure_spirals(data, n_neighbours=2)
    for share in (0, -0.5, 1.5):
        with pytest.raises(ValueError, match="train_share must be"):
            data.split(train_share=share)
    with pytest.raises(ValueError, match="train_share must leave"):
        data.split(train_share=1)
