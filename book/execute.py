"""Execute one chapter by papermill in a process of its own; trust a stored result only as long as it is whole.

A process of its own makes the peak memory of the chapter's kernel readable, and gives the chapter a time limit,
which papermill has not. The build (make.py) starts this file as a script.
"""

import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

# jsonschema, which nbformat and papermill import, would compile a grammar of addresses, for a second, at every start.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

VOLATILE = ("execution", "papermill", "ExecuteTime")
"""Metadata of a cell that changes at every execution."""

RESULTS = "results"
"""Tag of the cell that writes a chapter's results; those after it discuss the results in git, whatever was run."""

FRAMES = {"EXPLORERS": "frames"}
"""Environment of the book's chapters: the explorers prepare their frames, because no kernel stands behind the page."""


class BuildError(Exception):
    """A reason to stop the build; its text is what the user reads."""


@dataclass(frozen=True)
class Record:
    """What is known about one executed chapter.

    Attributes:
        chapter: name of the notebook without its ending.
        key: hash of everything the result depends on, see `chapter_key`.
        digest: hash of the executed notebook itself.
        seconds: wall-clock time of the execution.
        peak_mib: largest resident memory of the chapter's kernel in MiB.
        executed: when it was executed, in UTC.
    """

    chapter: str
    key: str
    digest: str
    seconds: float
    peak_mib: float
    executed: str


def digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file_hash(*paths: Path) -> str:
    """The sha256 of the names and bytes of `paths`, in the order given; a missing file counts as such."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name} {digest(path) if path.is_file() else 'missing'}\n".encode())
    return total.hexdigest()


def files_below(folder: Path, *endings: str) -> list[Path]:
    """All files below `folder` (with one of `endings`, if given), sorted."""
    found = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(p for p in found if not endings or p.suffix in endings)


def read_notebook(path: Path) -> Any:
    """A notebook, its cells and their metadata as attributes."""
    import nbformat  # not above: a job that goes well reads no notebook

    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def lasting(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a cell without what changes at every execution."""
    return {k: v for k, v in metadata.items() if k not in VOLATILE}


def parameter_file(root: Path, chapter: str, preset: str) -> Path:
    """The file with a chapter's parameters, or a `BuildError` that names the presets there are."""
    path = root / "notebooks" / "params" / preset / f"{chapter}.yaml"
    if not path.is_file():
        presets = sorted(p.name for p in path.parents[1].iterdir() if p.is_dir())
        raise BuildError(f"There is no {path.relative_to(root)}; the presets are: {', '.join(presets)}.")
    return path


def chapter_key(root: Path, chapter: str, preset: str) -> str:
    """The hash of everything the executed chapter depends on; its stored outputs are not among it."""
    files = [parameter_file(root, chapter, preset), *files_below(root / "results")]
    return content_key(root, chapter, preset, files=files)


def up_to_results(notebook: Any) -> Any:
    """A notebook without the cells after the one tagged `RESULTS`; one that has no such cell as it is."""
    for number, cell in enumerate(notebook.cells, start=1):
        if RESULTS in cell.metadata.get("tags", []):
            notebook.cells = notebook.cells[:number]
            break
    return notebook


def content_key(root: Path, chapter: str, *given: Any, files: Iterable[Path] = (), whole: bool = True) -> str:
    """The hash of a notebook's cells without their outputs, of the code and packages they use, and of what is given.

    Args:
        root: the project's folder.
        chapter: name of the notebook without its ending.
        *given: plain data that the result depends on as well, say parameters.
        files: files that it depends on as well.
        whole: count the cells after the results, too.
    """
    notebook = read_notebook(root / "notebooks" / f"{chapter}.ipynb")
    notebook = notebook if whole else up_to_results(notebook)
    cells = [(c.cell_type, c.source, lasting(c.metadata)) for c in notebook.cells]
    hashes = file_hash(
        *files,
        *files_below(root / "helpers", ".py", ".yaml", ".cpp"),
        root / "requirements.txt",
        root / "constraints.txt",
    )
    seen = json.dumps([cells, hashes, platform.python_version(), *given], sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()


def stored_record(notebook: Path, key: str) -> Record | None:
    """The record of an executed notebook, if it was made from what `key` stands for and is whole."""
    try:
        record = Record(**json.loads(notebook.with_suffix(".json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    whole = notebook.is_file() and record.digest == digest(notebook)
    return record if whole and record.key == key else None


def execute(
    root: Path,
    chapter: str,
    preset: str | None,
    output: Path,
    *,
    limit: float,
    extra: Mapping[str, Any] | None = None,
    key: str | None = None,
    variables: Mapping[str, str] = FRAMES,
    keep: Path | None = None,
    whole: bool = True,
) -> Record:
    """Execute a chapter into `output`, with its record beside it, or leave both as they are.

    Args:
        root: the project's folder.
        chapter: name of the notebook without its ending.
        preset: name of the parameter set; None for the notebook's own defaults.
        output: where the executed notebook goes.
        limit: seconds after which the execution is stopped.
        extra: parameters on top of the preset's.
        key: what the record says the result was made from; by default the `chapter_key` of the preset.
        variables: environment variables of the chapter's process on top of those of `environment`.
        keep: where the partly executed notebook goes if a cell fails or the time is up.
        whole: execute the cells after the results, too.

    Raises:
        BuildError: a cell failed or the time is up; the text names the chapter, the cell and the error.
    """
    parameters = yaml.safe_load(parameter_file(root, chapter, preset).read_text()) or {} if preset else {}
    if key is None:
        key = chapter_key(root, chapter, preset) if preset else ""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.{os.getpid()}.ipynb")
    measured = partial.with_suffix(".measured")
    job = {
        "notebook": str(root / "notebooks" / f"{chapter}.ipynb"),
        "partial": str(partial),
        "measured": str(measured),
        "whole": whole,
        "cwd": str(root / "notebooks"),
        "parameters": {**parameters, **(extra or {})},
    }
    child = subprocess.Popen([sys.executable, __file__, json.dumps(job)], env={**environment(root), **variables})
    try:
        child.wait(limit)
        killed = {"error": "its process was killed"}
        result = json.loads(measured.read_text()) if measured.is_file() else killed
        if "error" in result:
            raise BuildError(failure_text(chapter, partial, result["error"]))
        executed = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
        seconds, peak = float(result["seconds"]), float(result["peak_mib"])
        record = Record(chapter, key, digest(partial), seconds, peak, executed)
        # Both arrive whole, the record last: it vouches for the notebook by its digest.
        os.replace(partial, output)
        partial.write_text(json.dumps(asdict(record)))
        os.replace(partial, output.with_suffix(".json"))
        return record
    except subprocess.TimeoutExpired:
        stop(child)
        reason = f"stopped after the time limit of {limit:g} s"
        raise BuildError(failure_text(chapter, partial, reason)) from None
    except KeyboardInterrupt:
        stop(child)
        raise
    finally:
        if keep and partial.is_file():  # a whole one has been moved to its place
            keep.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(partial, keep)
        partial.unlink(missing_ok=True)
        measured.unlink(missing_ok=True)


def environment(root: Path) -> dict[str, str]:
    """Environment variables of chapters and of Sphinx: both find `helpers` of the project they build."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def stop(child: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started: the kernel is a grandchild that would go on computing."""
    for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
        process.kill()
    child.wait()


def end_with_parent() -> None:
    """Kill this process, and what it started, soon after its parent is gone: nobody would collect the result.

    A run that is killed takes no leave of its children, and a chapter may compute for hours.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        for process in [*psutil.Process().children(recursive=True), psutil.Process()]:
            process.kill()

    threading.Thread(target=watch, daemon=True).start()


def failure_text(chapter: str, partial: Path, reason: str) -> str:
    """One block that says which cell of which chapter failed, and how.

    Args:
        chapter: name of the notebook without its ending.
        partial: what papermill had written until then; it marks the cell it was at.
        reason: what to report besides an error raised inside the cell.
    """
    lines = [f"Chapter {chapter} failed: {reason}"]
    try:
        cells = read_notebook(partial).cells
    except (OSError, ValueError):  # it failed before the first cell, or was stopped while writing
        return lines[0]
    # papermill adds cells of its own (the parameters, a banner at an error); count as in the author's notebook.
    added = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [c for c in cells if not added & set(c.metadata.get("tags", []))]
    for number, cell in enumerate(cells, start=1):
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if errors or cell.metadata.get("papermill", {}).get("status") in ("running", "failed"):
            first = next((line for line in cell.source.splitlines() if line.strip()), "")
            lines = [f"Chapter {chapter} failed in cell {number}, which begins", f"    {first}"]
            lines += [f"{e.ename}: {e.evalue}" for e in errors] or [reason]
            break
    return "\n".join(lines)


def main() -> None:
    """Execute the notebook described by the JSON argument; runs in the chapter's own process."""
    end_with_parent()
    import papermill
    from traitlets.config import Config

    job = json.loads(sys.argv[1])
    begin = time.perf_counter()
    result: dict[str, Any]
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            # The default, ports that were free a moment ago, fails when kernels start side by side.
            transport = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
            papermill.execute_notebook(
                job["notebook"] if job["whole"] else up_to_results(read_notebook(Path(job["notebook"]))),
                job["partial"],
                job["parameters"],
                kernel_name="python3",
                cwd=job["cwd"],
                progress_bar=sys.stderr.isatty(),
                extra_arguments=["--log-level=ERROR"],  # ipykernel warns about unencrypted messages, even to itself
                config=transport,
            )
        # The kernel is this process's only child and has ended; Linux counts in KiB, macOS in bytes.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        unit = 2**20 if sys.platform == "darwin" else 2**10
        result = {"seconds": time.perf_counter() - begin, "peak_mib": peak / unit}
    except Exception as error:  # whatever it is, the build's report must carry it
        result = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    Path(job["measured"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
