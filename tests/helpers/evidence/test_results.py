"""Results come back as they were saved, with what made them, and a save that fails leaves no trace."""

import json
import os
import platform
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import netCDF4
import numpy as np
import psutil
import pytest
import torch
import xarray as xr

from helpers.evidence import results
from helpers.evidence.results import keep, load, made_by, provenance, save

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "results" / "weight_norms.nc"
MADE_BY = {"parameters": {"seeds": [0, 1], "noise": 0.5, "name": "ψ"}, "commit": None}

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git was found")


def git(folder, *arguments):
    named = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    command = ["git", *named, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def table(**variables):
    return xr.Dataset({name: ("n", np.asarray(values)) for name, values in variables.items()})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.nc"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_floats_keep_four_digits(path, dtype):
    stream = np.random.default_rng(0)
    values = (stream.choice([-1, 1], 20000) * 10 ** stream.uniform(-30, 30, 20000)).astype(dtype)
    save(table(values=values), path, MADE_BY)
    found = load(path)["values"].values.astype(float)
    assert np.abs(found / values - 1).max() < 5e-4


def test_what_is_no_float_comes_back_exactly(path):
    saved = xr.Dataset(
        {
            "count": ("seed", [0, -7, 2**53 + 1]),
            "word": ("seed", ["relu", "tänh", ""]),
            "flag": ("seed", [True, False, True]),
            "half": (("seed", "epoch"), [[0.5, 0.25], [1.0, -2.0], [0.0, 3.0]]),
        },
        coords={
            "seed": [11, 5, 2],
            "epoch": [0.1, np.pi],
            "name": ("seed", ["a", "b", "ψ"]),
            "angle": ("seed", [1 / 3, np.nan, np.inf]),
        },
        attrs={"title": "Σ"},
    )
    save(saved, path, MADE_BY)
    found = load(path)
    assert found.drop_attrs().identical(saved.drop_attrs().assign(half=saved["half"].astype("float32")))
    assert found.attrs["title"] == "Σ"
    assert saved.attrs == {"title": "Σ"}
    assert found["count"].dtype == saved["count"].dtype
    assert found["angle"].dtype == saved["angle"].dtype


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_floats_without_digits_come_back_exactly(path, value):
    values = np.array([value, 1.0, value])
    save(table(values=values), path, MADE_BY)
    np.testing.assert_array_equal(load(path)["values"], values)


def test_saving_again_loses_nothing(path):
    save(table(values=np.random.default_rng(0).standard_normal(500)), path, MADE_BY)
    once = load(path)
    save(once, path, {"again": True})
    twice = load(path)
    assert twice.equals(once)
    assert made_by(twice) == {"again": True}


def test_results_are_in_memory(path):
    save(table(values=[1.0, 2.0]), path, MADE_BY)
    found = load(path)
    path.unlink()
    assert found["values"].values.tolist() == [1.0, 2.0]


def test_file_is_compressed(path):
    save(table(values=np.tile(np.random.default_rng(0).standard_normal(10), 10000)), path, MADE_BY)
    assert path.stat().st_size < 400_000 / 4
    with netCDF4.Dataset(path) as stored:
        assert stored["values"].filters()["zlib"]
        assert stored["values"].dtype == np.float32


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_others_may_read_the_file(path):
    save(table(values=[1.0]), path, MADE_BY)
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_made_it_comes_back(path):
    save(table(values=[1.0]), str(path), MADE_BY)
    assert made_by(load(str(path))) == MADE_BY


def test_provenance_survives_the_file(path):
    made = provenance({"seeds": [0, 1], "noise": 0.0}, wall_seconds=12.345)
    save(table(values=[1.0]), path, made)
    assert made_by(load(path)) == made


def test_provenance_tells_what_it_promises():
    parameters = {"seeds": [3], "width": 50}
    before = datetime.now(UTC).replace(microsecond=0)
    made = provenance(parameters, wall_seconds=12.345)
    assert set(made) == {
        "parameters",
        "wall_seconds",
        "finished",
        "versions",
        "commit",
        "uncommitted_changes",
        "machine",
    }
    assert made["parameters"] == parameters
    assert made["parameters"] is not parameters
    assert made["wall_seconds"] == 12.3
    assert before <= datetime.fromisoformat(made["finished"]) <= datetime.now(UTC)
    assert made["versions"] == {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": __import__("scipy").__version__,
        "xarray": xr.__version__,
    }
    assert isinstance(made["uncommitted_changes"], bool)
    assert set(made["machine"]) == {"processor", "cores"}
    assert made["machine"]["cores"] >= 1
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(("limit", "cores"), [("1", 1), ("99999", None), ("0", None), ("", None), ("2,1", None)])
def test_cores_are_those_that_the_run_is_held_to(monkeypatch, limit, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert provenance({}, wall_seconds=0)["machine"]["cores"] == (cores or psutil.cpu_count())


@needs_git
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the book is not under git here")
def test_commit_is_that_of_the_book():
    assert provenance({}, wall_seconds=0)["commit"] == git(ROOT, "rev-parse", "HEAD")


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one commit whose results.py is the one that runs."""
    for folder in ("helpers", "notebooks", "results"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "One")
    monkeypatch.setattr(results, "__file__", str(tmp_path / "helpers" / "results.py"))
    return tmp_path


@needs_git
def test_committed_book_has_no_changes(book):
    made = provenance({}, wall_seconds=0)
    assert made["commit"] == git(book, "rev-parse", "HEAD")
    assert made["uncommitted_changes"] is False
    (book / "results" / "one.py").write_text("2")
    assert provenance({}, wall_seconds=0)["uncommitted_changes"] is False


@needs_git
@pytest.mark.parametrize("changed", ["helpers/one.py", "notebooks/one.py", "helpers/new.py"])
def test_uncommitted_changes_are_told(book, changed):
    (book / changed).write_text("2")
    assert provenance({}, wall_seconds=0)["uncommitted_changes"] is True


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance({}, wall_seconds=0)["commit"] is None


@needs_git
def test_outside_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    assert provenance({}, wall_seconds=0)["commit"] is None


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [True, False])
def test_failing_save_leaves_no_trace(path, monkeypatch, error, before):
    if before:
        save(table(values=[1.0, 2.0]), path, MADE_BY)
    files = {file: file.read_bytes() for file in path.parent.iterdir()}
    written = []

    def fail(self, target, **options):
        written.append(Path(target))
        Path(target).write_bytes(b"half a fi")
        raise error("the disk is full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(error, match="the disk is full"):
        save(table(values=[3.0]), path, MADE_BY)
    assert written
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == files


@pytest.mark.parametrize("what", ["values", "provenance"])
def test_what_cannot_be_stored_leaves_no_trace(path, what):
    save(table(values=[1.0, 2.0]), path, MADE_BY)
    files = {file: file.read_bytes() for file in path.parent.iterdir()}
    values, made = ([1 + 2j], MADE_BY) if what == "values" else ([1.0], {"seeds": {1, 2}})
    with pytest.raises((TypeError, ValueError)):
        save(table(values=values), path, made)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == files


def test_good_save_leaves_its_file_alone(path):
    save(table(values=[1.0]), path, MADE_BY)
    save(table(values=[2.0]), path, MADE_BY)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert load(path)["values"].item() == 2.0


def test_saving_needs_a_folder(tmp_path):
    path = tmp_path / "absent" / "table.nc"
    with pytest.raises(FileNotFoundError, match=f"^path must lie in an existing folder, got .*{re.escape(str(path))}"):
        save(table(values=[1.0]), path, MADE_BY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [True, False])
def test_loading_needs_a_file(path, folder):
    if folder:
        path.mkdir()
    with pytest.raises(FileNotFoundError, match=f"^path must be a results file, .*{re.escape(str(path))}"):
        load(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_truncated_file_is_refused(path, share):
    save(table(values=np.random.default_rng(0).standard_normal(20000)), path, MADE_BY)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f"^path must be a whole netCDF file, got .*{re.escape(str(path))}"):
        load(path)


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,0.5\n" * 100])
def test_text_posing_as_results_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^path must be a whole netCDF file, got .*{re.escape(str(path))}"):
        load(path)


def test_results_without_provenance_are_refused(path):
    table(values=[1.0]).to_netcdf(path, engine="netcdf4")
    with pytest.raises(ValueError, match=f"^path must be .* with its provenance, got .*{re.escape(str(path))}"):
        load(path)


def test_committed_results_are_those_of_a_committed_run():
    stored = load(COMMITTED)
    made = made_by(stored)
    assert re.fullmatch("[0-9a-f]{40}", made["commit"])
    assert made["uncommitted_changes"] is False
    assert stored.sizes["seed"] >= 10
    assert stored["seed"].values.tolist() == made["parameters"]["seeds"]
    assert set(stored["activation"].values) == set(made["parameters"]["activations"])
    assert made["wall_seconds"] > 0


def run_of(folder, *, save):
    return {"epochs": 3, "seeds": [0, 1], "save_results": save, "results_folder": str(folder)}


def test_a_chapter_keeps_its_results_only_if_asked_to(tmp_path):
    first = {"one": table(values=[1.0]), "two": table(values=[2.0])}
    with pytest.raises(FileNotFoundError):
        keep(first, run_of(tmp_path, save=False), started=0.0)
    keep(first, run_of(tmp_path, save=True), started=time.perf_counter())
    second = {"two": table(values=[5.0]), "one": table(values=[4.0])}
    kept = keep(second, run_of(tmp_path, save=False), started=0.0)
    assert list(kept) == ["two", "one"]
    assert [results["values"].item() for results in kept.values()] == [2.0, 1.0]
    kept = keep(second, run_of(tmp_path, save=True), started=0.0)
    assert kept["one"]["values"].item() == 4.0


def test_what_is_kept_says_what_made_it_but_not_where_it_lay(tmp_path):
    kept = keep({"one": table(values=[1.0])}, run_of(tmp_path, save=True), started=time.perf_counter() - 90)
    made = made_by(kept["one"])
    assert made["parameters"] == {"epochs": 3, "seeds": [0, 1]}
    assert 90 <= made["wall_seconds"] < 1000
    assert str(tmp_path) not in kept["one"].attrs["provenance"]


@pytest.mark.parametrize(
    ("seeds", "seconds", "text"),
    [
        ({"one": 20}, 95.4, "20 seeds a setting; 95 seconds on 3 cores."),
        ({"one": 20, "two": 20}, 95.4, "20 seeds a setting; 95 seconds on 3 cores."),
        ({"one": 20, "two": 200}, 600, "one: 20 seeds a setting, two: 200 seeds a setting; 10 minutes on 3 cores."),
    ],
)
def test_a_sentence_says_how_many_seeds_and_how_long(tmp_path, seeds, seconds, text):
    made = {"wall_seconds": seconds, "machine": {"cores": 3}}
    for name, n in seeds.items():
        save(xr.Dataset({"m": ("seed", np.zeros(n))}), tmp_path / f"{name}.nc", made)
    kept = keep({name: xr.Dataset() for name in seeds}, run_of(tmp_path, save=False), started=0.0)
    assert str(kept) == kept._repr_markdown_() == text


def test_parameters_say_whether_and_where_results_are_kept():
    with pytest.raises(ValueError, match="parameters must hold save_results and results_folder, got none named"):
        results.keep({}, {"save_results": False}, started=0.0)
