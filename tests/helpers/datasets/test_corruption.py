"""Each corruption touches exactly the rows it records, as many as asked, and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.datasets.corruption import LABEL_NOISES, LabelNoise, Noise, Outliers
from helpers.datasets.dataset import Dataset
from helpers.datasets.multivariate import multivariate
from helpers.seeding import numpy_stream

SIDES = ("x", "y", "both")


def numbers(n=400, seed=0):
    return multivariate(n, 4, seed=seed).data


def digits(n=400, n_classes=5, seed=0):
    """Blobs about the corners of a simplex, labelled by their corner."""
    stream = numpy_stream(seed, "blobs")
    y = np.arange(n) % n_classes
    x = 3 * np.eye(n_classes)[y] + stream.standard_normal((n, n_classes))
    return Dataset(torch.from_numpy(x).float(), torch.from_numpy(y))


def corruptions(share):
    """Every kind of dirt with a data set that it suits."""
    for on in SIDES:
        yield Noise(share, on=on), numbers()
        yield Noise(share, on=on, tails="heavy"), numbers()
        yield Outliers(share, on=on), numbers()
    yield Noise(share, on="x"), digits()
    for kind in LABEL_NOISES:
        yield LabelNoise(share, kind), digits()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
def test_exactly_the_recorded_rows_change_in_the_asked_share(share):
    for corruption, data in corruptions(share):
        x, y = data.x.clone(), data.y.clone()
        dirty = corruption(data, seed=3)
        changed = (dirty.data.x != x).any(1) | (dirty.data.y != y).reshape(len(y), -1).any(1)
        assert torch.equal(changed, dirty.rows), corruption
        assert int(dirty.rows.sum()) == round(share * len(data)), corruption
        assert torch.equal(data.x, x), f"{corruption} changed the clean data"
        assert torch.equal(data.y, y), f"{corruption} changed the clean data"
        assert dirty.clean is data


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_validation_rows_stay_out_of_training_and_stay_clean(share):
    for corruption, data in corruptions(share):
        train, validation = data.split(train_share=0.7, seed=1)
        before = validation.x.clone(), validation.y.clone()
        dirty = corruption(train, seed=1).data
        rows = {row.numpy().tobytes() for row in train.x} | {row.numpy().tobytes() for row in dirty.x}
        assert not rows & {row.numpy().tobytes() for row in validation.x}, corruption
        assert torch.equal(validation.x, before[0])
        assert torch.equal(validation.y, before[1])


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**6))
def test_same_seed_same_dirt_and_more_of_it_with_the_share(share, other, seed):
    low, high = sorted((share, other))
    for small, large in zip(corruptions(low), corruptions(high), strict=True):
        (first, data), (second, _) = small, large
        less, more = first(data, seed=seed), second(data, seed=seed)
        again = first(data, seed=seed)
        assert torch.equal(less.data.x, again.data.x)
        assert torch.equal(less.data.y, again.data.y)
        assert not (less.rows & ~more.rows).any()
        assert torch.equal(less.data.x[less.rows], more.data.x[less.rows])
        assert torch.equal(less.data.y[less.rows], more.data.y[less.rows])


def test_another_seed_other_dirt():
    for corruption, data in corruptions(0.3):
        first, second = corruption(data, seed=1), corruption(data, seed=2)
        assert not torch.equal(first.rows, second.rows), corruption


def test_gaussian_noise_is_gaussian_of_this_scale():
    data = numbers(4000)
    dirty = Noise(1.0, scale=0.5)(data)
    for shift in (dirty.data.x - data.x, dirty.data.y - data.y):
        assert stats.kstest(shift.flatten().double().numpy() / 0.5, "norm").pvalue > 1e-3


def test_heavy_tails_are_student_t():
    data = numbers(4000)
    shift = (Noise(1.0, scale=0.5, on="x", tails="heavy")(data).data.x - data.x).flatten().double().numpy()
    assert stats.kstest(shift / 0.5, "t", args=(2,)).pvalue > 1e-3
    assert np.abs(shift).max() > 10


@pytest.mark.parametrize("on", SIDES)
def test_noise_reaches_only_the_side_it_is_on(on):
    for corruption in (Noise(0.5, on=on), Outliers(0.5, on=on)):
        data = numbers()
        dirty = corruption(data).data
        assert torch.equal(dirty.x, data.x) == (on == "y")
        assert torch.equal(dirty.y, data.y) == (on == "x")


def test_outliers_lie_at_their_distance_on_both_sides():
    data = numbers(2000)
    dirty = Outliers(0.2, distance=7.0)(data)
    for new, old in ((dirty.data.x, data.x), (dirty.data.y, data.y)):
        far = (new - old.mean(0)) / old.std(0, correction=0)
        assert torch.allclose(far[dirty.rows].abs(), torch.tensor(7.0), atol=1e-4)
        assert (far[dirty.rows] > 0).double().mean().item() == pytest.approx(0.5, abs=0.1)


def test_symmetric_labels_go_to_every_other_class_alike():
    data = digits(5000)
    dirty = LabelNoise(0.6)(data)
    table = torch.zeros(5, 5)
    table.index_put_((data.y[dirty.rows], dirty.data.y[dirty.rows]), torch.tensor(1.0), accumulate=True)
    assert table.diagonal().tolist() == [0] * 5
    off = table[~torch.eye(5, dtype=bool)]
    assert stats.chisquare(off.numpy()).pvalue > 1e-3


def test_pairwise_labels_go_to_the_next_class():
    data = digits()
    dirty = LabelNoise(0.3, "pairwise")(data)
    assert torch.equal(dirty.data.y[dirty.rows], (data.y[dirty.rows] + 1) % 5)


def test_labels_need_not_be_numbered_without_gaps():
    data = digits()
    gaps = Dataset(data.x, 10 * data.y + 3)
    for kind in LABEL_NOISES:
        dirty = LabelNoise(0.5, kind)(gaps)
        assert set(dirty.data.y.tolist()) <= set(gaps.y.tolist())


def test_instances_at_the_boundary_go_wrong_first_and_to_the_neighbour():
    data = digits(2000)
    dirty = LabelNoise(0.1, "instance")(data)
    means = torch.stack([data.x[data.y == k].mean(0) for k in range(5)])
    distance = torch.cdist(data.x, means)
    own = distance.gather(1, data.y[:, None])[:, 0]
    distance.scatter_(1, data.y[:, None], torch.inf)
    ratio = own / distance.amin(1)
    assert ratio[dirty.rows].mean() > ratio[~dirty.rows].mean() + 2 * ratio[~dirty.rows].std()
    assert torch.equal(dirty.data.y[dirty.rows], distance.argmin(1)[dirty.rows])


def test_images_keep_their_shape():
    x = torch.rand(60, 1, 6, 6)
    data = Dataset(x, torch.arange(60) % 3)
    for corruption in (*(LabelNoise(0.5, kind) for kind in LABEL_NOISES), Noise(0.5, on="x")):
        assert corruption(data).data.x.shape == x.shape


def test_global_states_stay():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for corruption, data in corruptions(0.4):
        corruption(data)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("kind", [Noise, Outliers, LabelNoise])
@pytest.mark.parametrize(("share", "error"), [(-0.1, ValueError), (1.1, ValueError), ("0.1", TypeError)])
def test_wrong_share(kind, share, error):
    with pytest.raises(error, match=r"^share must be a finite number at least 0 and at most 1"):
        kind(share)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Noise(scale=-1), ValueError, "scale must be"),
        (lambda: Noise(scale=0), ValueError, "scale must be"),
        (lambda: Noise(on="z"), ValueError, "on must be one of"),
        (lambda: Noise(tails="thin"), ValueError, "tails must be one of"),
        (lambda: Outliers(distance=-3), ValueError, "distance must be"),
        (lambda: Outliers(on="labels"), ValueError, "on must be one of"),
        (lambda: LabelNoise(kind="asymmetric"), ValueError, "kind must be one of"),
        (
            lambda: LabelNoise()(digits(n_classes=1)),
            ValueError,
            r"y must hold at least two classes to confuse, got \[0\]",
        ),
        (lambda: LabelNoise()(numbers()), TypeError, "y must hold classes"),
        (lambda: Noise()(digits()), TypeError, "y must hold numbers to be moved"),
        (lambda: Outliers(on="y")(digits()), TypeError, "y must hold numbers to be moved"),
        (lambda: Noise()(numbers(), seed=-1), ValueError, "seed must be"),
    ],
)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()
