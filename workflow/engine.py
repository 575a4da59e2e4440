"""Compute results: a preset's into results/, or a user's grid into one labelled data set beside its file.

`make results` calls this file, and `make book` its function `run`. It writes down the jobs, lets Snakemake run those
that are not finished, on this machine or by an executor plug-in on a cluster, and collects what they wrote. The same
command goes on after any stop.
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))  # notebooks are executed there

import psutil
from execute import BuildError, text_hash
from grids import QUICK, Plan, grid_plan, preset_plan
from jobs import Job, locked, stored
from platformdirs import user_cache_path

from helpers.files import replacing

PATIENCE = 3.0
"""Seconds to wait for a run that has just been stopped to be gone."""

SNAKEMAKE = "import sys, execute, snakemake.cli; execute.end_with_parent(); snakemake.cli.main(sys.argv[1:])"
"""Snakemake, which would go on by itself if this process were killed."""

ALREADY = "cannot be locked"
"""What Snakemake says where another run has its locks."""


def cores_here() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unfinished(root: Path, jobs: Sequence[Job]) -> list[Job]:
    """The jobs without a result; one that is not whole is taken away, because Snakemake asks only what is there."""
    missing = [job for job in jobs if stored(root, job) is None]
    for job in missing:
        shutil.rmtree(job.folder(root), ignore_errors=True)
    return missing


def write_plan(root: Path, plan: Plan, n_waiting: int, cores: int) -> Path:
    """Write what Snakemake and the jobs read; returns the file.

    A job gets as many threads as leave none of the cores idle, and none used twice: many jobs run side by side with one
    thread each, two jobs on eight cores with four.
    """
    whole = {
        "root": str(root),
        "hours": plan.hours,
        "minutes": round(60 * plan.hours) + 10,  # the job ends itself before a cluster does
        "threads": max(1, cores // max(1, n_waiting)),
        "jobs": {job.name: asdict(job) for job in plan.jobs},
    }
    # A second run must not change what the first one's jobs are about to read.
    path = root / f"book/_build/runs/{plan.name}-{text_hash(whole)[:8]}.json"
    with replacing("plan", path) as temporary:
        temporary.write_text(json.dumps({"plan": str(path), **whole}, indent=1))
    return path


def snakemake(root: Path, plan_file: Path, *, cores: int, profile: Path | None, dry_run: bool, hold: int) -> str:
    """Run Snakemake on a plan; returns what it said if it ended badly.

    What a job is made from stands in the name of its folder, which appears whole: Snakemake needs neither times and
    parameters to compare nor its markers of what was begun.
    """
    command = [sys.executable, "-c", SNAKEMAKE, "--snakefile", str(ROOT / "workflow/Snakefile")]
    command += ["--directory", str(root / "book/_build"), "--configfile", str(plan_file), "--scheduler", "greedy"]
    command += ["--keep-going", "--ignore-incomplete", "--rerun-triggers", "mtime", "--nocolor"]
    command += ["--profile", str(profile)] if profile else ["--cores", str(cores)]
    command += ["--dry-run"] if dry_run else []
    path = os.pathsep.join([str(ROOT / "book"), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, **cache(root)}
    said: list[str] = []
    with subprocess.Popen(command, pass_fds=[hold], stderr=subprocess.PIPE, text=True, env=variables) as child:
        assert child.stderr is not None
        while child.poll() is None:
            try:
                for line in child.stderr:
                    said.append(line)
                    if profile or dry_run:
                        sys.stderr.write(line)
                child.wait()
            except KeyboardInterrupt:  # Snakemake got it as well, and ends its jobs
                continue
    return "".join(said) if child.returncode else ""


def cache(root: Path) -> dict[str, str]:
    """Where Snakemake and the jobs keep what they keep, if the user's home takes nothing, as in some containers."""
    try:
        usable = os.access(user_cache_path("snakemake", ensure_exists=True), os.W_OK)
    except OSError:
        usable = False
    return {} if usable else {"XDG_CACHE_HOME": str(root / "book/_build/cache")}


def publish(root: Path, jobs: Sequence[Job]) -> list[Path]:
    """Put the files that finished jobs wrote into results/, each whole; returns those that changed."""
    changed = []
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    for job in jobs:
        for file in sorted((job.folder(root) / "results").glob("*.nc")):
            target, content = folder / file.name, file.read_bytes()
            if not target.is_file() or target.read_bytes() != content:
                with replacing("target", target) as temporary:
                    temporary.write_bytes(content)
                changed.append(target)
    return changed


def gather(root: Path, plan: Plan) -> list[Path]:
    """Gather what the jobs of a grid wrote, one data set for each kind of file; returns the files."""
    from helpers.evidence import gathering, results  # not above: a second that an up-to-date book can do without

    assert plan.grid is not None
    folders = [job.folder(root) / "results" for job in plan.jobs]
    names = sorted({file.name for folder in folders for file in folder.glob("*.nc")})
    written = []
    for name in names:
        parts = []
        for job, folder in zip(plan.jobs, folders, strict=True):
            record = stored(root, job)
            if record is None or not (folder / name).is_file():
                raise BuildError(f"{name} cannot be gathered: there is none of {job.title}.")
            facts = {k: record[k] for k in ("seconds", "peak_mib", "executed", "threads")}
            facts |= {"name": job.name, "given": dict(job.parameters)}
            parts.append(gathering.Execution(job.chosen, results.load(folder / name), facts))
        path = plan.grid.with_name(f"{plan.grid.stem}.{name}")
        try:
            whole = gathering.gather(
                parts, join=plan.described.get("join", {}), listed="combinations" in plan.described
            )
            results.save(whole, path, gathering.grid_provenance(plan.described, parts))
        except (ValueError, OSError) as error:
            raise BuildError(f"{name} cannot be gathered into {path}: {error}") from None
        written.append(path)
    return written


def run(root: Path, plan: Plan, *, cores: int, profile: Path | None = None, dry_run: bool = False) -> set[str]:
    """Run the jobs of a plan that are not finished; returns the names of those that were executed now.

    Raises:
        BuildError: jobs failed, or another run has them in work.
    """
    build = root / "book/_build"
    lock = build / "runs/lock"
    try:  # whoever is alone knows that the locks of Snakemake that are there belong to killed runs
        with locked(lock, patience=PATIENCE):
            shutil.rmtree(build / ".snakemake/locks", ignore_errors=True)
    except BlockingIOError:
        pass
    with locked(lock, kind=fcntl.LOCK_SH) as hold:
        waiting = unfinished(root, plan.jobs)
        print(f"{plan.title}: {len(plan.jobs)} jobs, of which {len(plan.jobs) - len(waiting)} are finished", flush=True)
        if not waiting:
            return set()
        for job in waiting:  # what an earlier run said is no news of this one
            shutil.rmtree(job.failed(root), ignore_errors=True)
        plan_file = write_plan(root, plan, len(waiting), cores)
        complaint = snakemake(root, plan_file, cores=cores, profile=profile, dry_run=dry_run, hold=hold)
    if ALREADY in complaint:
        raise BuildError(f"{plan.title}: some of its jobs are being computed already, by {holders(lock)}.")
    left = [] if dry_run and not complaint else [job for job in waiting if stored(root, job) is None]
    if left:
        raise BuildError(report(root, plan, left, complaint))
    return {job.name for job in waiting}


def holders(lock: Path) -> str:
    """The processes that hold a lock, in words."""
    numbers = []
    for process in psutil.process_iter():
        try:
            if str(lock) in {file.path for file in process.open_files()}:
                numbers.append(str(process.pid))
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return f"process {' and '.join(numbers)}" if numbers else "another run"


def report(root: Path, plan: Plan, left: Sequence[Job], complaint: str) -> str:
    """What is to be said if jobs of a plan are not finished: why, and how to go on."""
    reasons = [job.failed(root) / "reason.txt" for job in left]
    failures = [path.read_text() for path in reasons if path.is_file()]
    lines = [*failures, f"{len(left)} of {len(plan.jobs)} jobs are not finished, {len(failures)} of them failed."]
    if len(failures) < len(left):
        last = "".join(complaint.splitlines(keepends=True)[-15:]).strip()
        lines.append(f"The same command goes on where it stopped. Snakemake ended with\n{last or 'nothing to say'}")
    return "\n\n".join(lines)


def compute(root: Path, plan: Plan, **options: Any) -> None:
    """Run a plan of results and collect them; a preset's that are finished are put in place even if others fail."""
    dry_run = options.get("dry_run", False)
    try:
        run(root, plan, **options)
    finally:
        if not plan.grid and not dry_run:
            changed = publish(root, [job for job in plan.jobs if stored(root, job)])
            print(f"results/: {', '.join(p.name for p in changed) or 'nothing'} changed")
    if plan.grid and not dry_run:
        for path in gather(root, plan):
            print(f"gathered: {path}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks; a failure is one block of text and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--preset", default=QUICK, help="quick, or a folder below notebooks/params")
    what.add_argument("--grid", type=Path, help="a YAML file; workflow/grids.py says what is in it")
    parser.add_argument("--cores", type=int, default=cores_here(), help="to use on this machine; by default all")
    parser.add_argument("--profile", type=Path, help="a folder with a Snakemake profile, say of a cluster")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    try:
        if options.cores < 1:
            raise BuildError(f"--cores must be at least 1, got {options.cores}.")
        if options.profile and not (options.profile / "config.yaml").is_file():
            raise BuildError(f"--profile must be a folder with a config.yaml, got {options.profile}.")
        plan = grid_plan(root, options.grid) if options.grid else preset_plan(root, options.preset)
        profile = options.profile.resolve() if options.profile else None
        compute(root, plan, cores=options.cores, profile=profile, dry_run=options.dry_run)
    except BuildError as error:
        sys.exit(f"\n{error}")


if __name__ == "__main__":
    main()
