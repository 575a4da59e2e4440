"""Execute one job so that its result is there whole or not at all; Snakemake starts this file once for each job.

A finished job is a folder with the executed notebook, the results it saved, and a record that vouches for both by their
digests. The folder appears whole, and its name stands for all that went into it, so whether it is there is all that
Snakemake needs to know. Times of files would not do: a module changed while a chapter runs is older than its result.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))  # notebooks are executed there

import execute
from execute import BuildError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that keep PyTorch, NumPy and what they call to the threads of a job."""


@dataclass(frozen=True)
class Job:
    """One execution of a notebook.

    Attributes:
        chapter: name of the notebook without its ending.
        page: whether it is executed whole for the book, the explorers' frames prepared because no kernel stands behind
            the page; else up to its results, which it saves.
        parameters: those given to the notebook, but for where and whether it saves.
        sources: hash of all it depends on besides, see `execute.sources_hash`.
        chosen: the parameters that a grid varies, in its order.
    """

    chapter: str
    page: bool
    parameters: Mapping[str, Any]
    sources: str
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its folder: all that the result depends on decides it, and nothing else."""
        return f"{self.chapter}/{execute.text_hash(self.sources, self.page, self.parameters)[:32]}"

    @property
    def title(self) -> str:
        """The job in words: its notebook, and the parameters that tell it from the others."""
        return ", ".join([self.chapter, *(f"{name} = {json.dumps(value)}" for name, value in self.chosen.items())])

    def folder(self, root: Path) -> Path:
        """Where its result is kept."""
        return root / "book/_build/jobs" / self.name

    def notebook(self, root: Path) -> Path:
        """Where its executed notebook is kept."""
        return self.folder(root) / f"{self.chapter}.ipynb"

    def failed(self, root: Path) -> Path:
        """Where the notebook of a failed execution is kept, with the reason in reason.txt."""
        return root / "book/_build/failed" / self.name


def stored(root: Path, job: Job) -> dict[str, Any] | None:
    """The record of a finished job, if every file it vouches for is there and whole."""
    folder = job.folder(root)
    try:
        record: dict[str, Any] = json.loads((folder / "job.json").read_text())
        whole = all(execute.digest(folder / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


@contextmanager
def locked(path: Path, *, patience: float = math.inf, kind: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Hold a lock that ends with its holders, however they end: the system keeps it, not a file that stays behind.

    Args:
        path: the file to lock.
        patience: seconds to wait for other holders.
        kind: LOCK_EX, or LOCK_SH for one that several may hold.

    Yields:
        The file's descriptor; a child process that is handed it holds the lock as well.

    Raises:
        BlockingIOError: others still hold it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        begin = time.monotonic()
        while True:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - begin > patience:
                    raise
                time.sleep(0.1)
        yield handle.fileno()


def run_job(root: Path, job: Job, *, threads: int, hours: float) -> None:
    """Execute a job, unless it is finished already; of two that want it at once one waits for the other.

    Args:
        root: the project's folder.
        job: what to execute.
        threads: of PyTorch and the like, for the record.
        hours: time limit.

    Raises:
        BuildError: it failed; the text names the parameters and the notebook that was kept.
    """
    folder, failed = job.folder(root), job.failed(root)
    hidden = f".{folder.name}"
    with locked(folder.with_name(f"{hidden}.lock")):
        if stored(root, job):
            return
        for left in folder.parent.glob(f"{hidden}.*.part"):  # of a killed run: the lock is ours, so nobody writes there
            shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(failed, ignore_errors=True)
        partial = folder.with_name(f"{hidden}.{os.getpid()}.part")
        (partial / "results").mkdir(parents=True)
        try:
            attempt(root, job, partial, threads=threads, hours=hours)
            shutil.rmtree(folder, ignore_errors=True)  # there, but not whole
            os.replace(partial, folder)
        except BuildError as error:
            failed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, failed)
            kept = failed / f"{job.chapter}.ipynb"
            given = [f"    {name} = {json.dumps(value)}" for name, value in job.parameters.items()]
            lines = [f"Failed: {job.title}", str(error)]
            lines += ["Its parameters:", *given] if given else ["Its parameters are the notebook's own."]
            lines += [f"The partly executed notebook is {kept}"] if kept.is_file() else []
            (failed / "reason.txt").write_text("\n".join(lines))
            raise BuildError("\n".join(lines)) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def attempt(root: Path, job: Job, partial: Path, *, threads: int, hours: float) -> None:
    """Execute a job into the folder ``partial``, its record last."""
    if execute.sources_hash(root, job.chapter, whole=job.page) != job.sources:
        raise BuildError(
            "The notebook or what it uses has changed since this run began; the same command goes on with what is new."
        )
    notebook = partial / f"{job.chapter}.ipynb"
    own = {} if job.page else {"save_results": True, "results_folder": str(partial / "results")}
    seconds, peak = execute.run_notebook(
        root, job.chapter, {**job.parameters, **own}, notebook, limit=3600 * hours, whole=job.page
    )
    written = sorted((partial / "results").glob("*.nc"))
    if not written and not job.page:
        raise BuildError(f"Chapter {job.chapter} wrote no .nc file into its results_folder.")
    record = {
        "chapter": job.chapter,
        "parameters": job.parameters,
        "seconds": round(seconds, 2),
        "peak_mib": round(peak),
        "executed": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "threads": threads,
        "files": {str(p.relative_to(partial)): execute.digest(p) for p in [notebook, *written]},
    }
    (partial / "job.json").write_text(json.dumps(record, indent=1))


def main() -> None:
    """Execute the job named on the command line, with the plan that knows it and the threads that it gets."""
    execute.end_with_parent()
    plan = json.loads(Path(sys.argv[1]).read_text())
    root, job, threads = Path(plan["root"]), Job(**plan["jobs"][sys.argv[2]]), sys.argv[3]
    os.environ.update(dict.fromkeys(THREADS, threads))
    os.environ.update(execute.environment(root), EXPLORERS="frames" if job.page else "live")
    begin = time.perf_counter()
    try:
        run_job(root, job, threads=int(threads), hours=plan["hours"])
        said, code = f"{time.perf_counter() - begin:.1f} s", 0
    except BuildError:
        said, code = "failed", 1  # why is said at the end of the run
    except KeyboardInterrupt:
        said, code = "interrupted", 1
    # In one piece: jobs side by side write to the same stream, and print would send the end of the line by itself.
    sys.stdout.write(f"{job.title}: {said}\n")
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
