"""Results as labelled arrays on disk, each file with what made it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
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
