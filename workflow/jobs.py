"""Execute one job so that its results are there whole or not at all; Snakemake starts this file once for each job.

A finished job is a folder with the executed notebook, its results, and a record that vouches for both by their digests.
The folder is named by a hash of all that the results depend on, so that runs which want the same job share it.
"""

import fcntl
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))  # notebooks are executed there

import execute
from execute import BuildError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that keep PyTorch, NumPy and what they call to the threads of a job."""


def store(root: Path, chapter: str, key: str) -> Path:
    """The folder of a finished job."""
    return root / "book/_build/jobs" / chapter / key


def failure(root: Path, chapter: str, key: str) -> Path:
    """The folder that keeps the notebook of a failed job, and says in reason.txt why it failed."""
    return root / "book/_build/failed" / f"{chapter}-{key[:16]}"


def stored(root: Path, chapter: str, key: str) -> dict[str, Any] | None:
    """The record of a finished job, if every file it vouches for is there and whole."""
    folder = store(root, chapter, key)
    try:
        record: dict[str, Any] = json.loads((folder / "job.json").read_text())
        whole = all(execute.digest(folder / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole and record.get("key") == key else None


@contextmanager
def locked(path: Path, *, patience: float = math.inf) -> Iterator[int]:
    """Hold a lock that ends with its holder, however that ends: the system keeps it, not a file that stays behind.

    Args:
        path: the file to lock; the holder's process number stands in it.
        patience: seconds to wait for another holder.

    Yields:
        The file's descriptor; a child process that is handed it holds the lock as well.

    Raises:
        BlockingIOError: another one still holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    begin = time.monotonic()
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - begin > patience:
                    raise
                time.sleep(0.2)
        os.truncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield handle
    finally:
        os.close(handle)


def run_job(root: Path, job: Mapping[str, Any], *, threads: int, hours: float) -> None:
    """Execute a job, unless it is finished already; of two that want it at once one waits for the other.

    Args:
        root: the project's folder.
        job: the plan's entry, with chapter, parameters, key and title.
        threads: of PyTorch and the like.
        hours: time limit.

    Raises:
        BuildError: it failed; the text names the parameters and the notebook that was kept.
    """
    chapter, key = job["chapter"], job["key"]
    folder, failed = store(root, chapter, key), failure(root, chapter, key)
    with locked(folder.with_name(f".{key}.lock")):
        if stored(root, chapter, key):
            return
        for left in folder.parent.glob(f".{key}.*.part"):  # of a killed run: the lock is ours, so nobody writes there
            shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(failed, ignore_errors=True)
        partial = folder.with_name(f".{key}.{os.getpid()}.part")
        (partial / "results").mkdir(parents=True)
        try:
            attempt(root, job, partial, failed, threads=threads, hours=hours)
            shutil.rmtree(folder, ignore_errors=True)  # there, but not whole
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def attempt(root: Path, job: Mapping[str, Any], partial: Path, failed: Path, *, threads: int, hours: float) -> None:
    """Execute a job into the folder ``partial``, its record last, or keep in ``failed`` what there is."""
    chapter, notebook = job["chapter"], partial / f"{job['chapter']}.ipynb"
    own = {"save_results": True, "results_folder": str(partial / "results")}
    kept = failed / notebook.name
    try:
        record = execute.execute(
            root,
            chapter,
            None,
            notebook,
            limit=3600 * hours,
            extra={**job["parameters"], **own},
            key=job["key"],
            variables={**dict.fromkeys(THREADS, str(threads)), "EXPLORERS": "live"},
            keep=kept,
            whole=False,
        )
        written = sorted((partial / "results").glob("*.nc"))
        if not written:
            failed.mkdir(parents=True, exist_ok=True)
            shutil.copy(notebook, kept)
            raise BuildError(f"Chapter {chapter} wrote no .nc file into its results_folder.")
    except BuildError as error:
        parameters = "\n".join(f"    {name} = {json.dumps(value)}" for name, value in job["parameters"].items())
        where = f"\nThe partly executed notebook is {kept}" if kept.is_file() else ""
        text = f"Failed: {job['title']}\n{error}\nIts parameters:\n{parameters}{where}"
        failed.mkdir(parents=True, exist_ok=True)
        (failed / "reason.txt").write_text(text)
        raise BuildError(text) from None
    files = {str(p.relative_to(partial)): execute.digest(p) for p in [notebook, *written]}
    facts = {
        "chapter": chapter,
        "key": job["key"],
        "parameters": job["parameters"],
        "seconds": round(record.seconds, 2),
        "peak_mib": round(record.peak_mib),
        "executed": record.executed,
        "threads": threads,
        "files": files,
    }
    (partial / "job.json").write_text(json.dumps(facts, indent=1))


def main() -> None:
    """Execute the job named on the command line, and touch the file that tells Snakemake so."""
    execute.end_with_parent()
    plan = json.loads(Path(sys.argv[1]).read_text())
    name, threads, done = sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    job = plan["jobs"][name]
    try:
        run_job(Path(plan["root"]), job, threads=threads, hours=plan["hours"])
    except BuildError:
        sys.exit(f"{job['title']}: failed")  # why is said at the end of the run
    except KeyboardInterrupt:
        sys.exit(f"{job['title']}: interrupted")
    record = stored(Path(plan["root"]), job["chapter"], job["key"])
    assert record is not None
    # In one piece: jobs side by side write to the same stream, and print would send the end of the line by itself.
    sys.stdout.write(f"{job['title']}: {record['seconds']:.1f} s\n")
    sys.stdout.flush()
    done.touch()


if __name__ == "__main__":
    main()
