"""Time a grid of equal jobs on one core and on two, and what the engine itself costs; ``make bench`` runs this file.

A job is a notebook that trains networks with one thread. Each run is held to its cores, so that what a single core
does is not helped by the other. Writes engine.json and engine.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import psutil
import yaml

from helpers.checks import Integer
from helpers.evidence import results
from helpers.files import replacing

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
GOAL = 1.8

PARAMETERS = """\
seed: int = 0  # the first of ten
epochs: int = 200  # passes over the training set
save_results: bool = False  # write the results
results_folder: str = "../results"  # existing folder"""
WORK = """\
import time
started = time.perf_counter()
from helpers.evidence import results
from helpers.experiments import spiral_sweep, training_results
from helpers.training import Training
imported = time.perf_counter()
seeds = range(seed, seed + 10)
sweep = spiral_sweep(activations=["relu"], entanglements=[6], seeds=seeds, training=Training(epochs=epochs))
found = training_results(sweep)
found["import_seconds"] = imported - started
found["work_seconds"] = time.perf_counter() - imported
made = results.provenance({"seeds": list(seeds), "epochs": epochs}, wall_seconds=time.perf_counter() - started)
results.save(found.mean("seed"), f"{results_folder}/trained.nc", made)"""


def write_project(root: Path, jobs: int, epochs: int) -> Path:
    """A project with one notebook, and a grid of equal jobs; returns the grid's file."""
    for name in ("book", "helpers", "results", "notebooks"):
        (root / name).mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, WORK)]  # type: ignore[no-untyped-call]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)  # type: ignore[no-untyped-call]
    nbformat.write(notebook, root / "notebooks/job.ipynb")  # type: ignore[no-untyped-call]
    path = root / "equal.yaml"
    grid = {"seed": [10 * k for k in range(jobs)]}
    path.write_text(yaml.safe_dump({"notebook": "job", "parameters": {"epochs": epochs}, "grid": grid}))
    return path


def timed(cores: Sequence[int], jobs: int, epochs: int) -> dict[str, Any]:
    """Run a grid of equal jobs on some cores.

    Returns:
        ``seconds`` of the whole run, and of the same command once all is finished (``again``); for each job the seconds
        of its work, its imports and of the notebook's execution; and the share of these cores' time that processes
        which have nothing to do with it took meanwhile.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        grid = write_project(root, jobs, epochs)
        command = [sys.executable, str(ROOT / "workflow/engine.py"), "--root", str(root), "--grid", str(grid)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

        def run() -> float:
            begin = time.perf_counter()
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            return time.perf_counter() - begin

        before, ours = busy(cores), own()
        seconds = run()
        others = busy(cores) - before - (own() - ours)
        again = run()
        whole = results.load(root / "equal.trained.nc")
        facts = results.made_by(whole)["jobs"]
        return {
            "cores": len(cores),
            "seconds": seconds,
            "again": again,
            "work": whole["work_seconds"].values.tolist(),
            "imports": whole["import_seconds"].values.tolist(),
            "notebook": [job["seconds"] for job in facts],
            "others": max(0.0, others) / (len(cores) * seconds),
        }


def busy(cores: Sequence[int]) -> float:
    """Seconds for which these cores have been busy since the machine started."""
    times = psutil.cpu_times(percpu=True)
    return float(sum(sum(times[c]) - times[c].idle - getattr(times[c], "iowait", 0.0) for c in cores))


def own() -> float:
    """Seconds of processor time of all processes started from here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    m, jobs = found["machine"], found["jobs"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    one, two = found["runs"]
    gain = one["seconds"] / two["seconds"]
    verdict = "met" if gain >= GOAL else "**not met**"
    head = ["run", "seconds", "seconds for each job", "its training", "its imports", "the rest", "others' share"]
    rows = []
    for run in found["runs"]:
        work, imports = statistics.mean(run["work"]), statistics.mean(run["imports"])
        # a core's time for each job, less what the notebook itself does with it
        each = run["seconds"] * run["cores"] / jobs
        rest = each - work - imports
        name = "1 core" if run["cores"] == 1 else f"{run['cores']} cores"
        numbers = [f"{run['seconds']:.1f}", *(f"{x:.2f}" for x in (each, work, imports, rest)), f"{run['others']:.0%}"]
        rows.append([name, *numbers])
    table = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    overhead = one["seconds"] / jobs - statistics.mean(one["work"]) - statistics.mean(one["imports"])
    return "\n".join(
        [
            f"Measured on {m['measured']} on up to 2 of {m['cores']} cores of one machine ({m['processor']}, "
            f"{m['system']}; {versions}): {jobs} equal jobs, each ten networks for {found['epochs']} epochs with one "
            "thread. Seconds for each job are those of one core.",
            "",
            *lines,
            "",
            f"The rest is what the engine costs, **{overhead:.1f} seconds for each job**: starting papermill and a "
            f"kernel, records, digests, and a {jobs}th of starting Snakemake. The same command with nothing left to do "
            f"takes {two['again']:.1f} seconds. Others' share is how much of these cores' time was taken by processes "
            "that have nothing to do with the run.",
            "",
            "| goal | found | wanted | |",
            "| :-- | --: | --: | --: |",
            f"| two cores against one, times faster | {gain:.2f} | {GOAL} | {verdict} |",
            "",
        ]
    )


def machine() -> dict[str, Any]:
    """What the measuring was done on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": psutil.cpu_count(),
        "processor": (names or [platform.machine()])[0],
        "system": platform.system(),
        "versions": {
            "python": platform.python_version(),
            **{n: version(n) for n in ("snakemake", "papermill", "torch")},
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=200, help="of each job's training")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for engine.json and engine.md")
    options = parser.parse_args()
    for name in ("jobs", "epochs"):
        Integer(at_least=1)(name, getattr(options, name))
    if not options.output.is_dir():
        parser.error(f"output must be an existing folder, got {str(options.output)!r}.")
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        print("The engine is not timed: it takes a system that can hold processes to cores, and two of these.")
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    timed(cores, 2, 1)  # the compiler's work, and files into memory
    runs = [timed(cores[:n], options.jobs, options.epochs) for n in (1, 2)]
    found = {"machine": machine(), "jobs": options.jobs, "epochs": options.epochs, "runs": runs}
    text = report(found)
    for name, content in (("engine.json", json.dumps(found, indent=1) + "\n"), ("engine.md", text)):
        with replacing("output", options.output / name) as temporary:
            temporary.write_text(content)
    sys.stdout.write("\n" + text)


if __name__ == "__main__":
    main()
