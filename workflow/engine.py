"""Compute results: a preset's into results/, or a user's grid into one labelled data set beside its file.

`make results` calls this file. It writes down the jobs, lets Snakemake run those that are not finished, on this
machine or by an executor plug-in on a cluster, and collects what they wrote. The same command goes on after any stop.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))  # notebooks are executed there

from execute import BuildError
from grids import Job, Plan, grid_plan, preset_plan
from jobs import failure, locked, store, stored

from helpers.evidence import gathering, results
from helpers.files import replacing

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 3.0
"""Seconds to wait for a run that has just been stopped to be gone."""


def cores_here() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unfinished(root: Path, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that have no whole result."""
    return [job for job in jobs if stored(root, job.chapter, job.key) is None]


def write_plan(root: Path, plan: Plan, folder: Path, waiting: Sequence[Job], cores: int) -> Path:
    """Write what Snakemake and the jobs read, and the markers of what is done; returns the plan's file.

    A job gets as many threads as leave none of the cores idle, and none used twice: many jobs run side by side with one
    thread each, two jobs on eight cores with four.
    """
    names = {job.name for job in waiting}
    for job in waiting:  # what an earlier run said is no news of this one
        (failure(root, job.chapter, job.key) / "reason.txt").unlink(missing_ok=True)
    for job in plan.jobs:
        marker = folder / f"{job.name}.done"
        if job.name in names:
            marker.unlink(missing_ok=True)
        else:
            marker.touch()
    entry = {
        j.name: {"chapter": j.chapter, "key": j.key, "title": j.title, "parameters": dict(j.parameters)}
        for j in plan.jobs
    }
    whole = {
        "root": str(root),
        "hours": plan.hours,
        "minutes": round(60 * plan.hours) + 10,  # the job ends itself before a cluster does
        "threads": max(1, cores // max(1, len(waiting))),
        "jobs": entry,
    }
    path = folder / "plan.json"
    with replacing("plan", path) as temporary:
        temporary.write_text(json.dumps(whole, indent=1))
    return path


def snakemake(plan_file: Path, *, cores: int, profile: Path | None, dry_run: bool, hold: int) -> int:
    """Run Snakemake on a plan; returns its exit code.

    Its own locks are files that a killed run leaves behind; ``hold``, the descriptor of our lock on the same folder, is
    handed down instead, and ends with the last process that has it.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
    command += ["--directory", str(plan_file.parent), "--config", f"plan={plan_file}"]
    command += ["--nolock", "--rerun-incomplete", "--keep-going", "--drop-metadata", "--scheduler", "greedy"]
    command += ["--rerun-triggers", "mtime"]  # what must run again has been decided by the keys of the jobs
    if profile:
        command += ["--profile", str(profile)]
    else:
        command += ["--cores", str(cores)]
    command += ["--dry-run"] if dry_run else [] if profile else ["--quiet", "all"]
    child = subprocess.Popen(command, pass_fds=[hold])
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # Snakemake got it as well, and ends its jobs
            continue


def publish(root: Path, jobs: Sequence[Job]) -> list[Path]:
    """Put the files that finished jobs wrote into results/, each whole; returns those that changed."""
    changed = []
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    for job in jobs:
        for file in sorted((store(root, job.chapter, job.key) / "results").glob("*.nc")):
            target, content = folder / file.name, file.read_bytes()
            if not target.is_file() or target.read_bytes() != content:
                with replacing("target", target) as temporary:
                    temporary.write_bytes(content)
                changed.append(target)
    return changed


def gather(root: Path, plan: Plan) -> list[Path]:
    """Gather what the jobs of a grid wrote, one data set for each kind of file; returns the files."""
    assert plan.grid is not None
    folders = [store(root, job.chapter, job.key) for job in plan.jobs]
    names = sorted({file.name for folder in folders for file in (folder / "results").glob("*.nc")})
    written = []
    for name in names:
        parts = []
        for job, folder in zip(plan.jobs, folders, strict=True):
            if not (folder / "results" / name).is_file():
                raise BuildError(f"{name} cannot be gathered: there is none of {job.title}.")
            record = json.loads((folder / "job.json").read_text())
            facts = {k: record[k] for k in ("key", "seconds", "peak_mib", "executed", "threads")}
            facts["given"] = record["parameters"]
            data = results.load(folder / "results" / name)
            parts.append(gathering.Execution(job.chosen, data, facts))
        path = plan.grid.with_name(f"{plan.grid.stem}.{name}")
        try:
            whole = gathering.gather(
                parts, join=plan.described.get("join", {}), listed="combinations" in plan.described
            )
        except ValueError as error:
            raise BuildError(f"{name} cannot be gathered: {error}") from None
        results.save(whole, path, gathering.grid_provenance(plan.described, parts))
        written.append(path)
    return written


def run(root: Path, plan: Plan, *, cores: int, profile: Path | None = None, dry_run: bool = False) -> None:
    """Run what a plan asks for, and collect it.

    Raises:
        BuildError: jobs failed, or the same plan is being run already.
    """
    folder = root / "book/_build/runs" / plan.name
    try:
        with locked(folder / "lock", patience=PATIENCE) as hold:
            waiting = unfinished(root, plan.jobs)
            done = len(plan.jobs) - len(waiting)
            print(f"{plan.title}: {len(plan.jobs)} jobs, of which {done} are finished", flush=True)
            plan_file = write_plan(root, plan, folder, waiting, cores)
            if waiting:
                code = snakemake(plan_file, cores=cores, profile=profile, dry_run=dry_run, hold=hold)
                if dry_run and code == 0:
                    return
                report(root, plan, code)
            if dry_run:
                return
            if plan.grid:
                for path in gather(root, plan):
                    print(f"gathered: {path}")
            else:
                changed = publish(root, plan.jobs)
                print(f"results/: {', '.join(p.name for p in changed) or 'nothing'} changed")
    except BlockingIOError:
        holder = (folder / "lock").read_text()
        raise BuildError(f"{plan.title} is being computed already, by process {holder}.") from None


def report(root: Path, plan: Plan, code: int) -> None:
    """Raise what is to be said if jobs of a plan are not finished; the finished ones of a preset are published."""
    left = unfinished(root, plan.jobs)
    if not left:
        return
    if not plan.grid:
        publish(root, [job for job in plan.jobs if job not in left])
    reasons = [failure(root, job.chapter, job.key) / "reason.txt" for job in left]
    failed = [path.read_text() for path in reasons if path.is_file()]
    lines = [*failed, f"{len(left)} of {len(plan.jobs)} jobs are not finished, {len(failed)} of them failed."]
    if len(failed) < len(left):
        lines.append(f"Snakemake ended with code {code}; the same command goes on where it stopped.")
    raise BuildError("\n\n".join(lines))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks; a failure is one block of text and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--preset", default="quick", help="a folder below notebooks/params")
    what.add_argument("--grid", type=Path, help="a YAML file; workflow/grids.py says what is in it")
    parser.add_argument("--cores", type=int, default=cores_here(), help="to use on this machine; by default all")
    parser.add_argument("--profile", type=Path, help="a folder with a Snakemake profile, say of a cluster")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    sys.path.insert(0, str(root))
    try:
        if options.cores < 1:
            raise BuildError(f"--cores must be at least 1, got {options.cores}.")
        if options.profile and not (options.profile / "config.yaml").is_file():
            raise BuildError(f"--profile must be a folder with a config.yaml, got {options.profile}.")
        plan = grid_plan(root, options.grid) if options.grid else preset_plan(root, options.preset)
        profile = options.profile.resolve() if options.profile else None
        run(root, plan, cores=options.cores, profile=profile, dry_run=options.dry_run)
    except BuildError as error:
        sys.exit(f"\n{error}")


if __name__ == "__main__":
    main()
