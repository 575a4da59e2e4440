"""Results as labelled arrays on disk, each file with what made it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

from helpers.files import replacing

# Four decimal digits: enough for every table and figure, and a fraction of the size of float64.
SIGNIFICANT_BITS = 13
# Whether and where a chapter writes its results: parameters of every chapter, but no part of what made them.
SAVE, FOLDER = "save_results", "results_folder"


def provenance(parameters: Mapping[str, Any], *, wall_seconds: float) -> dict[str, Any]:
    """Return what made a result, as plain data.

    Args:
        parameters: the parameters of the run, seeds included.
        wall_seconds: how long it took.

    Returns:
        Parameters, wall time, time of day (UTC), versions, the commit (None outside git) and whether the
        tree had uncommitted changes, and the machine's processor and how many of its cores the run could use.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    return {
        "parameters": dict(parameters),
        "wall_seconds": round(wall_seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "scipy", "xarray")},
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--", ":/helpers", ":/notebooks")),
        "machine": {"processor": platform.machine(), "cores": _usable_cores()},
    }


def _usable_cores() -> int:
    """The machine's cores, or fewer if OMP_NUM_THREADS says so: it is what a run beside others is held to."""
    cores, limit = psutil.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


def save(results: xr.Dataset, path: str | Path, made_by: Mapping[str, Any]) -> None:
    """Save labelled arrays as compressed netCDF, whole or not at all.

    Args:
        results: the arrays; floats are kept to 4 significant digits.
        path: where to; the folder must exist.
        made_by: what made them, from `provenance`.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    encoding = {
        name: {
            "dtype": "float32",
            "zlib": True,
            "complevel": 9,
            "significant_digits": SIGNIFICANT_BITS,
            "quantize_mode": "BitRound",  # the other modes turn infinity into 0
        }
        for name, values in results.data_vars.items()
        if np.issubdtype(values.dtype, np.floating)
    }
    with replacing("path", path) as temporary:
        results.assign_attrs(provenance=json.dumps(made_by)).to_netcdf(temporary, engine="netcdf4", encoding=encoding)


def load(path: str | Path) -> xr.Dataset:
    """Load what `save` wrote, into memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not whole, or has no provenance.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a results file, and there is none at {str(path)!r}.")
    try:
        with xr.open_dataset(path, engine="netcdf4") as stored:
            results = stored.load()
    except (OSError, RuntimeError) as error:  # as the netCDF library sees fit
        raise ValueError(f"path must be a whole netCDF file, got {str(path)!r}: {error}.") from error
    if "provenance" not in results.attrs:
        raise ValueError(f"path must be a results file with its provenance, got {str(path)!r} without.")
    return results


def made_by(results: xr.Dataset) -> dict[str, Any]:
    """Return the provenance that `save` stored with these results."""
    loaded: dict[str, Any] = json.loads(results.attrs["provenance"])
    return loaded


@dataclass(frozen=True, repr=False)
class Kept(Mapping[str, xr.Dataset]):
    """Results by name as their files hold them; where a notebook shows them, a sentence on what they took.

    Attributes:
        data: what was loaded.
    """

    data: Mapping[str, xr.Dataset]

    def __getitem__(self, name: str) -> xr.Dataset:
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        """``20 seeds a setting; 95 seconds on 2 cores.``; results with different numbers of seeds are named."""
        seeds = {name: results.sizes["seed"] for name, results in self.data.items() if "seed" in results.sizes}
        named = [f"{name}: {n} seeds a setting" for name, n in seeds.items()]
        runs = [json.loads(text) for text in {results.attrs["provenance"] for results in self.data.values()}]
        seconds = sum(run["wall_seconds"] for run in runs)
        took = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
        cores = " and ".join(sorted({str(run["machine"]["cores"]) for run in runs}))
        alike = named[0].partition(": ")[2] if len(set(seeds.values())) == 1 else ", ".join(named)
        return f"{alike or 'No seeds'}; {took} on {cores} cores."

    def _repr_markdown_(self) -> str:
        return repr(self)


def keep(data: Mapping[str, xr.Dataset], parameters: Mapping[str, Any], *, started: float) -> Kept:
    """Save a chapter's results if its parameters say so, and return those that its folder holds.

    Args:
        data: labelled arrays by the names of their files.
        parameters: of the run, from `checks.check_parameters`: ``save_results`` and ``results_folder``, and all that
            is to be stored with the results.
        started: `time.perf_counter()` when the run began.

    Returns:
        The results as loaded from ``results_folder``: those of this run, or of the one that was saved before.

    Raises:
        FileNotFoundError: nothing is saved, and nothing was.
        ValueError: a stored file is not whole, or the parameters do not say whether and where to save.
    """
    if missing := [name for name in (SAVE, FOLDER) if name not in parameters]:
        raise ValueError(f"parameters must hold {SAVE} and {FOLDER}, got none named {' or '.join(missing)}.")
    paths = {name: Path(parameters[FOLDER]) / f"{name}.nc" for name in data}
    if parameters[SAVE]:
        made = {name: value for name, value in parameters.items() if name not in (SAVE, FOLDER)}
        described = provenance(made, wall_seconds=time.perf_counter() - started)
        for name, path in paths.items():
            save(data[name], path, described)
    return Kept({name: load(path) for name, path in paths.items()})
