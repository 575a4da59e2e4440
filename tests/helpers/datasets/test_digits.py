"""Digits are what they should be, wherever they come from, or are refused in a sentence and leave nothing behind."""

import gzip
import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from helpers.datasets import digits
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DIGITS, load_digits, read_idx, standardise

needs_mnist = pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="MNIST_DIR names no folder with real MNIST")


def idx(array):
    """The content of an IDX file with this array."""
    lengths = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def packed(content):
    """The same bytes at every time."""
    return gzip.compress(content, mtime=0)


@pytest.fixture
def files(monkeypatch):
    """Four small files, taken for those of MNIST."""
    random = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": random.integers(0, 256, (20, 3, 3)),
        "train-labels-idx1-ubyte": random.integers(0, 10, 20),
        "t10k-images-idx3-ubyte": random.integers(0, 256, (7, 3, 3)),
        "t10k-labels-idx1-ubyte": random.integers(0, 10, 7),
    }
    contents = {name: idx(array) for name, array in arrays.items()}
    known = {
        name: (hashlib.sha256(content).hexdigest(), hashlib.md5(packed(content), usedforsecurity=False).hexdigest())
        for name, content in contents.items()
    }
    monkeypatch.setattr(digits, "MNIST_FILES", known)
    monkeypatch.delenv("MNIST_DIR", raising=False)
    return arrays, contents


@pytest.fixture
def folder(files, tmp_path):
    """A folder with the four files, packed."""
    place = tmp_path / "mnist"
    place.mkdir()
    for name, content in files[1].items():
        (place / f"{name}.gz").write_bytes(gzip.compress(content))
    return place


def check(files, loaded):
    for data, kind in zip(loaded, ("train", "t10k"), strict=True):
        images, classes = files[0][f"{kind}-images-idx3-ubyte"], files[0][f"{kind}-labels-idx1-ubyte"]
        assert data.x.dtype == torch.float32
        assert data.y.dtype == torch.int64
        assert torch.equal(data.x, torch.from_numpy(images).flatten(1).float())
        assert torch.equal(data.y, torch.from_numpy(classes))


def test_files_of_a_folder(files, folder, monkeypatch):
    check(files, load_digits("mnist", folder=folder))
    monkeypatch.setenv("MNIST_DIR", str(folder))
    check(files, load_digits("mnist"))
    for file in folder.iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    check(files, load_digits("mnist"))
    monkeypatch.setenv("HOME", str(folder.parent))
    check(files, load_digits("mnist", folder="~/mnist"))
    monkeypatch.chdir(folder.parent)
    check(files, load_digits("mnist", folder="mnist"))
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder.parent / "none"))):
        load_digits("mnist", folder="none")


NAME = "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-9]), ValueError, "whole file packed by gzip"),
        (lambda f: f.write_bytes(f.read_bytes()[:12]), ValueError, "whole file packed by gzip"),
        (lambda f: f.write_bytes(b""), ValueError, "SHA-256"),
        (lambda f: f.write_bytes(b"<html>not found</html>"), ValueError, "packed by gzip, got another: Not a gzipped"),
        (lambda f: f.write_bytes(gzip.compress(b"\0" * 40)), ValueError, "must hold MNIST's " + NAME),
        (
            lambda f: f.write_bytes((f.parent / "t10k-labels-idx1-ubyte.gz").read_bytes()),
            ValueError,
            "got the content of t10k-labels-idx1-ubyte",
        ),
        (lambda f: f.unlink(), FileNotFoundError, f"must have a file {NAME}.gz or {NAME}"),
        (lambda f: (f.unlink(), f.mkdir()), PermissionError, "must be readable"),
    ],
    ids=["cut", "cut early", "empty", "not gzip", "wrong digest", "swapped", "missing", "a folder"],
)
def test_wrong_file_is_named(folder, damage, error, words):
    damage(folder / f"{NAME}.gz")
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=words) as caught:
        load_digits("mnist", folder=folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before


def test_unreadable_folder_is_named(folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match="must have a file train-images"):
        load_digits("mnist", folder=folder / "nowhere")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    # A test may run as root, whom no permission stops.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"must be readable, got .*Permission denied"):
        load_digits("mnist", folder=folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_folder_without_permission_is_named(folder):
    folder.chmod(0)
    try:
        with pytest.raises(PermissionError, match="must be readable"):
            load_digits("mnist", folder=folder)
    finally:
        folder.chmod(0o755)


@pytest.fixture
def mirrors(files, tmp_path, monkeypatch):
    """Two mirrors on this machine: what they answer, by name, what they were asked, and an empty cache."""
    good = {f"{name}.gz": packed(content) for name, content in files[1].items()}
    answers, asked = [dict(good), dict(good)], []

    class Mirror(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            _, number, name = self.path.split("/")
            body = answers[int(number)].get(name)
            self.send_response(200 if body is not None else 404)
            # A body that is shorter than announced: the connection broke.
            self.send_header("Content-Length", str(len(good[name]) if body is not None else 0))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(digits, "MIRRORS", (f"{address}/0/", f"{address}/1/"))
    monkeypatch.setattr(digits, "user_cache_path", lambda *_, **__: tmp_path)
    yield answers, asked, tmp_path / "mnist"
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_comes_once_and_stays(files, mirrors):
    _, asked, cache = mirrors
    check(files, load_digits("mnist"))
    assert asked == [f"/0/{name}.gz" for name in files[0]]
    assert sorted(f.name for f in cache.iterdir()) == sorted(f"{name}.gz" for name in files[0])
    check(files, load_digits("mnist"))
    assert len(asked) == 4


@pytest.mark.parametrize(
    "bad",
    [None, b"", lambda good: good[:-7], lambda good: b"x" * len(good), lambda good: gzip.compress(b"other")],
    ids=["missing", "empty", "interrupted", "not gzip", "wrong"],
)
def test_other_mirror_steps_in_and_nothing_bad_stays(files, mirrors, bad):
    answers, asked, cache = mirrors
    for name, good in list(answers[0].items()):
        answers[0][name] = bad(good) if callable(bad) else bad
    check(files, load_digits("mnist"))
    assert len(asked) == 8
    for name, content in files[1].items():
        assert gzip.decompress((cache / f"{name}.gz").read_bytes()) == content
    assert len(list(cache.iterdir())) == 4


def test_damaged_cache_is_mended(files, mirrors):
    _, asked, cache = mirrors
    load_digits("mnist")
    damaged = cache / f"{NAME}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    check(files, load_digits("mnist"))
    assert asked[4:] == [f"/0/{NAME}.gz"]


def test_without_files_and_network_one_sentence_says_what_to_do(files, mirrors, monkeypatch):
    answers, _, cache = mirrors
    answers[0].clear()
    monkeypatch.setattr(digits, "MIRRORS", (digits.MIRRORS[0], "http://127.0.0.1:1/"))
    with pytest.raises(ConnectionError, match=r"put its files .*\.gz into a folder and name it in MNIST_DIR") as caught:
        load_digits("mnist")
    assert "\n" not in str(caught.value)
    assert "127.0.0.1:1/: ConnectionError" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_cache_that_cannot_be_written_is_no_bare_error(files, mirrors, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(digits, "user_cache_path", lambda *_, **__: tmp_path / "file")
    with pytest.raises(ConnectionError, match=r"name it in MNIST_DIR .*NotADirectoryError"):
        load_digits("mnist")


def test_who_reads_spirals_imports_neither_scikit_learn_nor_pooch():
    code = "import sys, helpers.datasets as d; d.spirals(3.0); print({'sklearn', 'pooch'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_interrupted_by_the_user_nothing_stays(mirrors, monkeypatch):
    cache = mirrors[2]

    def stop(self, url, file, pooch):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        load_digits("mnist")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("shape", [(4,), (2, 3), (3, 2, 2), (0, 5)])
def test_idx_is_read(shape):
    array = np.random.default_rng(1).integers(0, 256, shape)
    found = read_idx(idx(array))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\0\0\x08\0",
        b"\0\0\x08\x02\0\0\0\x01",
        b"\0\0\x0d" + idx(np.zeros(3))[3:],
        b"\x01" + idx(np.zeros(3))[1:],
        idx(np.zeros((2, 3)))[:-1],
        idx(np.zeros((2, 3))) + b"\0",
        b"\x80\x04\x95pickled",
    ],
)
def test_idx_that_is_none_is_refused(content):
    with pytest.raises(ValueError, match="content must be"):
        read_idx(content)


def test_bundled_digits():
    train, test = load_digits("digits")
    assert (len(train), len(test)) == (1198, 599)
    assert train.x.shape[1] == test.x.shape[1] == DIGITS["digits"].side ** 2
    joined = torch.cat([train.x, test.x])
    assert (joined.min(), joined.max()) == (0, DIGITS["digits"].white)
    assert train.x.dtype == torch.float32
    assert set(train.y.tolist()) == set(test.y.tolist()) == set(range(10))
    # The same images on every machine, in the same two parts.
    assert digits.digest(train, test).startswith("f6e2c2ebdd62d225e17030ee739ae74a")


def test_digest_tells_sets_apart():
    data = Dataset(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1]))
    others = [
        Dataset(data.x.view(2, 3), data.y),
        Dataset(data.x.clone().index_fill_(0, torch.tensor([2]), 7.0), data.y),
        Dataset(data.x, torch.tensor([0, 1, 0])),
    ]
    assert digits.digest(data) == digits.digest(Dataset(data.x.clone(), data.y.clone()))
    assert len({digits.digest(one) for one in [data, *others]}) == 4
    assert digits.digest(data, others[0]) != digits.digest(others[0], data)


def test_standardised_pixels():
    train, test = load_digits("digits")
    scaled, other = standardise(train, test)
    assert float(scaled.x.double().mean()) == pytest.approx(0, abs=1e-6)
    assert float(scaled.x.double().std(correction=0)) == pytest.approx(1, abs=1e-6)
    ratio = (scaled.x[0, 3] - scaled.x[0, 0]) / (train.x[0, 3] - train.x[0, 0])
    torch.testing.assert_close(other.x, (test.x - train.x.mean()) * ratio, rtol=1e-5, atol=1e-5)
    assert torch.equal(other.y, test.y)


@pytest.mark.parametrize("name", ["cifar", 3])
def test_unknown_name_is_refused(name):
    with pytest.raises((ValueError, TypeError), match="name must be one of digits, mnist"):
        load_digits(name)


@needs_mnist
def test_real_mnist():
    train, test = load_digits("mnist")
    assert (train.x.shape, test.x.shape) == ((60000, 784), (10000, 784))
    assert (train.x.min(), train.x.max()) == (0, DIGITS["mnist"].white)
    assert train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(train.x.double().mean()) / 255 == pytest.approx(0.1307, abs=5e-5)
    assert float(train.x.double().std(correction=0)) / 255 == pytest.approx(0.3081, abs=5e-5)


@needs_mnist
def test_digests_are_of_the_published_files():
    published = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    for name, md5 in published.items():
        content = digits._given(Path(os.environ["MNIST_DIR"]), name)  # whose SHA-256 has been compared
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
