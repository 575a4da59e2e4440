"""Execute one notebook by papermill, whole or not at all, and say what its result depends on.

What papermill lacks is here: a time limit, the peak memory of the kernel, and failures that name their cell.
"""

import hashlib
import json
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

# jsonschema, which nbformat and papermill import, would compile a grammar of addresses, for a second, at every start.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

VOLATILE = ("execution", "papermill", "ExecuteTime")
"""Metadata of a cell that changes at every execution."""

RESULTS = "results"
"""Tag of the cell that writes a chapter's results; those after it discuss the results in git, whatever was run."""

SOCKET_SPACE = 80
"""Characters of a folder's path that leave room for the name of a socket in it: the system takes 107 in all."""


class BuildError(Exception):
    """A reason to stop; its text is what the user reads."""


def digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file_hash(paths: Iterable[Path]) -> str:
    """The sha256 of the names and bytes of ``paths``, in the order given; a missing file counts as such."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name} {digest(path) if path.is_file() else 'missing'}\n".encode())
    return total.hexdigest()


def files_below(folder: Path, *endings: str) -> list[Path]:
    """All files below ``folder`` (with one of ``endings``, if given), sorted."""
    there = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(p for p in there if not endings or p.suffix in endings)


def notebook_path(root: Path, chapter: str) -> Path:
    """Where a chapter's notebook lies."""
    return root / "notebooks" / f"{chapter}.ipynb"


def read_notebook(path: Path) -> Any:
    """A notebook, its cells and their metadata as attributes."""
    import nbformat  # not above: who only asks what is there reads no notebook

    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def lasting(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a cell without what changes at every execution."""
    return {k: v for k, v in metadata.items() if k not in VOLATILE}


def up_to_results(notebook: Any) -> Any:
    """A notebook without the cells after the one tagged `RESULTS`; one that has no such cell as it is."""
    for number, cell in enumerate(notebook.cells, start=1):
        if RESULTS in cell.metadata.get("tags", []):
            notebook.cells = notebook.cells[:number]
            break
    return notebook


def sources_hash(root: Path, chapter: str, *, whole: bool) -> str:
    """The hash of all that the executed notebook depends on but its parameters; stored outputs are not among it.

    Args:
        root: the project's folder.
        chapter: name of the notebook without its ending.
        whole: count the cells after the results, too, and the results that they discuss.
    """
    notebook = read_notebook(notebook_path(root, chapter))
    cells = [
        (c.cell_type, c.source, lasting(c.metadata)) for c in (notebook if whole else up_to_results(notebook)).cells
    ]
    files = [
        *files_below(root / "helpers", ".py", ".yaml", ".cpp"),
        root / "requirements.txt",
        root / "constraints.txt",
        *(files_below(root / "results") if whole else ()),
    ]
    return text_hash(cells, file_hash(files), platform.python_version(), whole)


def text_hash(*given: Any) -> str:
    """The sha256 of plain data."""
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def run_notebook(
    root: Path, chapter: str, parameters: Mapping[str, Any], output: Path, *, limit: float, whole: bool = True
) -> tuple[float, float]:
    """Execute a chapter into ``output``.

    Args:
        root: the project's folder.
        chapter: name of the notebook without its ending.
        parameters: those that differ from the notebook's own.
        output: where the executed notebook goes; a partly executed one as well.
        limit: seconds after which the execution is stopped.
        whole: execute the cells after the results, too.

    Returns:
        Seconds of wall-clock time, and the largest resident memory in MiB of the kernel (or of an earlier child of this
        process, if that took more).

    Raises:
        BuildError: a cell failed or the time is up; the text names the chapter, the cell and the error.
    """
    import papermill  # not above: half a second
    from traitlets.config import Config

    notebook = read_notebook(notebook_path(root, chapter))
    begin = time.perf_counter()
    scratch = tempfile.gettempdir() if len(tempfile.gettempdir()) < SOCKET_SPACE else "/tmp"
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=scratch) as sockets, deadline(limit) as passed:
        # The default, ports that were free a moment ago, fails when kernels start side by side.
        transport = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        try:
            papermill.execute_notebook(
                notebook if whole else up_to_results(notebook),
                as_it_is(output),
                dict(parameters),
                kernel_name="python3",
                cwd=str(root / "notebooks"),
                progress_bar=False,
                extra_arguments=["--log-level=ERROR"],  # ipykernel warns about unencrypted messages, even to itself
                config=transport,
            )
        except Exception as error:  # whatever it is, the user must read which chapter it comes from
            late = f"stopped after the time limit of {limit:g} s"
            reason = late if passed.is_set() else f"{type(error).__name__}: {error}".splitlines()[0]
            raise BuildError(failure_text(chapter, output, reason)) from None
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return time.perf_counter() - begin, peak


def as_it_is(path: Path) -> str:
    """A path for papermill, which puts parameters into what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


@contextmanager
def deadline(limit: float) -> Iterator[threading.Event]:
    """Kill what this process has started once ``limit`` seconds have passed; yields the event that says so."""
    over, passed = threading.Event(), threading.Event()

    def watch() -> None:
        if not over.wait(limit):
            passed.set()
            while not over.wait(0.2):  # a kernel may be on its way
                kill_children()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield passed
    finally:
        over.set()
        thread.join()


def environment(root: Path) -> dict[str, str]:
    """Environment variables of chapters and of Sphinx: both find `helpers` of the project they build."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def kill_children() -> None:
    """Kill all processes that this one has started, and theirs."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def end_with_parent() -> None:
    """Kill this process, and what it started, soon after its parent is gone: nobody would collect the result.

    A run that is killed takes no leave of its children, and a chapter may compute for hours.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        kill_children()
        psutil.Process().kill()

    threading.Thread(target=watch, daemon=True).start()


def failure_text(chapter: str, partial: Path, reason: str) -> str:
    """One block that says which cell of which chapter failed, and how.

    Args:
        chapter: name of the notebook without its ending.
        partial: what papermill had written until then; it marks the cell it was at.
        reason: what to report besides an error raised inside the cell.
    """
    unplaced = f"Chapter {chapter} failed: {reason}"
    try:
        cells = read_notebook(partial).cells
    except (OSError, ValueError):  # it failed before the first cell, or was stopped while writing
        return unplaced
    # papermill adds cells of its own (the parameters, a banner at an error); count as in the author's notebook.
    added = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [c for c in cells if not added & set(c.metadata.get("tags", []))]
    # papermill calls a cell whose kernel died completed; those after it are pending.
    states = [c.metadata.get("papermill", {}).get("status", "pending") for c in cells]
    begun = [number for number, state in enumerate(states, start=1) if state != "pending"]
    if not begun:
        return unplaced
    number, cell = begun[-1], cells[begun[-1] - 1]
    first = next((line for line in cell.source.splitlines() if line.strip()), "")
    errors = [f"{o.ename}: {o.evalue}" for o in cell.get("outputs", []) if o.output_type == "error"]
    return "\n".join(
        [f"Chapter {chapter} failed in cell {number}, which begins", f"    {first}", *(errors or [reason])]
    )
