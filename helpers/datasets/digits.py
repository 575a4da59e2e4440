"""Handwritten digits: scikit-learn's bundled ones, which are always there, and MNIST, which has to be fetched once."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor
from torch.nn import functional as F

from helpers.checks import Choice, Integer
from helpers.datasets.dataset import Dataset
from helpers.seeding import numpy_stream

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://azureopendatastorage.blob.core.windows.net/mnist/",
)
SECONDS_TO_ANSWER = 20

# SHA-256 of the unpacked files, as packed ones differ with the program that packed them; MD5 of those on the mirrors.
MNIST_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    }
)
FOLDER_VARIABLE = "MNIST_DIR"


@dataclass(frozen=True)
class Digits:
    """What is known of a set of digits.

    Attributes:
        title: its name in a sentence.
        side: pixels on each side of an image.
        white: the largest value of a pixel; 0 is background.
    """

    title: str
    side: int
    white: int


DIGITS: Mapping[str, Digits] = MappingProxyType(
    {
        "digits": Digits("scikit-learn's bundled digits (8 × 8)", side=8, white=16),
        "mnist": Digits("MNIST", side=28, white=255),
    }
)
DIGITS_NAME = Choice(tuple(DIGITS))


def load_digits(name: str, *, folder: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """Return the training and the test set of handwritten digits, in raw units.

    ``"digits"`` are 1797 images of 8 × 8 pixels that scikit-learn carries along; two thirds of them, always the same,
    are the training set. ``"mnist"`` are 60,000 and 10,000 images of 28 × 28 pixels. Its four files are looked for in
    ``folder``, or in the folder that the environment variable MNIST_DIR names, and must be there if one is given;
    otherwise in the user's cache, into which they are downloaded at first. Wherever they come from, their contents
    are compared with known digests.

    Args:
        name: a key of `DIGITS`.
        folder: where the four IDX files of MNIST lie, packed by gzip (``.gz``) or not.

    Returns:
        Two data sets with x ``[n_points, side²]``, float32, row by row from 0 to ``white``, and y from 0 to 9.

    Raises:
        ValueError: there is no such set, or a file in the folder that was given is not what it should be.
        FileNotFoundError: that folder lacks a file.
        PermissionError: that folder or a file in it cannot be read.
        ConnectionError: MNIST is not on this machine and no mirror delivers it.

    References:
        LeCun et al. (1998) for MNIST; Alpaydin & Kaynak (1998) for the bundled digits.
    """
    if DIGITS_NAME("name", name) == "digits":
        from sklearn import datasets as bundled  # not above: a second that whoever reads spirals can do without

        x, y = bundled.load_digits(return_X_y=True)
        return Dataset(torch.from_numpy(x).float(), torch.from_numpy(y).long()).split(train_share=2 / 3)
    given = folder or os.environ.get(FOLDER_VARIABLE)
    folder = Path(given).expanduser().absolute() if given else None
    arrays = [read_idx(_given(folder, file) if folder else _checked(_cached(file), file)) for file in MNIST_FILES]
    images = [torch.from_numpy(array).flatten(1).float() for array in arrays[::2]]
    classes = [torch.from_numpy(array).long() for array in arrays[1::2]]
    return Dataset(images[0], classes[0]), Dataset(images[1], classes[1])


def standardise(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """Return the sets less the mean of all training pixels, divided by their standard deviation.

    Two numbers for all pixels alike; for MNIST's pixels divided by 255 they are the customary 0.1307 and 0.3081.
    """
    mean, deviation = float(train.x.double().mean()), float(train.x.double().std(correction=0))
    return tuple(Dataset((data.x - mean) / deviation, data.y) for data in (train, *others))


def digest(*sets: Dataset) -> str:
    """SHA-256 of the points and classes of data sets, for the provenance of what is computed from them."""
    seen = hashlib.sha256()
    for data in sets:
        for array in (data.x, data.y):
            seen.update(repr((array.dtype, tuple(array.shape))).encode())
            seen.update(array.contiguous().numpy().data)
    return seen.hexdigest()


def read_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array in an unpacked IDX file of bytes.

    The format: two zero bytes, the type (8 for unsigned bytes), the number of dimensions, the length of each as a
    big-endian 32-bit number, then the bytes themselves.

    Raises:
        ValueError: the content is not of this format or not whole.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"content must be an IDX file of unsigned bytes, got one that begins with {content[:4]!r}.")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist()) if len(content) >= start else ()
    if not shape or len(content) != start + int(np.prod(shape)):
        raise ValueError(f"content must be a whole IDX file, got {len(content)} bytes for an array of shape {shape}.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def _given(folder: Path, name: str) -> bytes:
    """The content of a file in a folder that the user named."""
    try:
        for path in (folder / f"{name}.gz", folder / name):
            if path.exists():
                return _checked(path, name)
    except OSError as error:
        raise PermissionError(f"The files of MNIST must be readable, got {folder}: {error}.") from error
    raise FileNotFoundError(
        f"The folder of MNIST, an argument or {FOLDER_VARIABLE}, must have a file {name}.gz or {name}, got {folder}."
    )


def _cached(name: str) -> Path:
    """A file in the user's cache, where pooch keeps it, and downloads it if it is not there or not whole."""
    import pooch  # not above: it is needed at most once on a machine

    reasons = []
    for mirror in MIRRORS:
        try:
            path = pooch.retrieve(
                f"{mirror}{name}.gz",
                known_hash=f"md5:{MNIST_FILES[name][1]}",
                fname=f"{name}.gz",
                path=user_cache_path("activation-book") / "mnist",
                downloader=pooch.HTTPDownloader(timeout=SECONDS_TO_ANSWER),
            )
        except (OSError, ValueError) as error:  # all that requests raises is an OSError
            reasons.append(f"{mirror}: {type(error).__name__}")
        else:
            return Path(path)
    raise ConnectionError(
        f"MNIST is not on this machine and could not be downloaded: put its files "
        f"{', '.join(f'{file}.gz' for file in MNIST_FILES)} into a folder and name it in {FOLDER_VARIABLE} "
        f"({'; '.join(reasons)})."
    )


def _checked(path: Path, name: str) -> bytes:
    """The unpacked content of a file, if it is what goes by this name."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} must be a whole file packed by gzip, got another: {error}.") from error
    known, came = MNIST_FILES[name][0], hashlib.sha256(content).hexdigest()
    if came != known:
        others = [other for other, (unpacked, _) in MNIST_FILES.items() if unpacked == came]
        what = f"the content of {others[0]}" if others else f"SHA-256 {came}"
        raise ValueError(f"{path} must hold MNIST's {name}, SHA-256 {known}, got {what}.")
    return content


@dataclass(frozen=True)
class DigitTask:
    """Pictures of digits to train on and to validate with.

    Attributes:
        images: a name from `helpers.datasets.digits`.
        size: side of the pictures after resizing, pixels.
        n_train: pictures for training, at least 10.
        n_validation: pictures for validation, at least 10.

    References:
        Harrison (2023): MNIST at 64 × 64, 31,500 and 10,500 pictures.
    """

    images: str = "mnist"
    size: int = 64
    n_train: int = 31500
    n_validation: int = 10500

    def __post_init__(self) -> None:
        DIGITS_NAME("images", self.images)
        for name in ("n_train", "n_validation"):
            Integer(at_least=10)(name, getattr(self, name))

    def split(self, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Draw both sets from all pictures there are, with the classes in equal shares in both, none in both.

        Args:
            seed: seed of the draw.

        Returns:
            Sets with x ``[n, 1, size, size]``, standardised by the training pixels' mean and deviation.

        Raises:
            ValueError: there are not as many pictures.
        """
        from sklearn.model_selection import train_test_split  # not above, as in load_digits

        pool = _pool(self.images)
        if self.n_train + self.n_validation > len(pool):
            raise ValueError(
                f"n_train and n_validation must leave within the {len(pool)} pictures of {self.images}, "
                f"got {self.n_train} and {self.n_validation}."
            )
        drawn = train_test_split(
            np.arange(len(pool)),
            train_size=self.n_train,
            test_size=self.n_validation,
            stratify=pool.y,
            random_state=int(numpy_stream(seed, "split").integers(2**31)),
        )
        train_set, validation = (self._pictures(pool, torch.from_numpy(rows)) for rows in drawn)
        standard = standardise(train_set, validation)
        return standard[0], standard[1]

    def _pictures(self, pool: Dataset, rows: Tensor) -> Dataset:
        side = DIGITS[self.images].side
        x = pool.x[rows].view(-1, 1, side, side)
        resized = F.interpolate(x, size=self.size, mode="bilinear", antialias=True) if self.size != side else x
        return Dataset(resized, pool.y[rows])


@lru_cache(maxsize=2)
def _pool(images: str) -> Dataset:
    sets = load_digits(images)
    return Dataset(*(torch.cat([getattr(part, name) for part in sets]) for name in ("x", "y")))
