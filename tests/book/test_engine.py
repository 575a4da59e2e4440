"""Results as a user asks for them: grids and presets run, resume, fail, and survive being killed at any moment."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import engine
import execute
import grids
import jobs
import psutil
import pytest
import yaml
from throwaway import WORK, write_notebook, write_project

from helpers.evidence import results

PROJECT = Path(__file__).parents[2]
PROFILE = PROJECT / "workflow/profiles/slurm"
GRID = {"notebook": "one", "grid": {"n": [1, 2], "rate": [0.5, 2.0]}}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and process groups are those of POSIX")


def write_grid(root, said=GRID):
    path = root / "my_grid.yaml"
    path.write_text(yaml.safe_dump(said, sort_keys=False))
    return path


def start(root, *arguments, **options):
    """Start the engine in a process group of its own."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(PROJECT / "workflow/engine.py"), "--root", str(root), *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, start_new_session=True, **options)


def run(root, *arguments):
    """Run the engine to its end; returns its exit code and what it said."""
    process = start(root, *arguments)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def executed(said):
    """The titles of the jobs that a run executed, by its own account."""
    return {line.rpartition(":")[0] for line in said.splitlines() if line.startswith("one, ") and line.endswith(" s")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose grid has been computed and gathered; tests work on copies of it."""
    root = write_project(tmp_path_factory.mktemp("finished") / "project")
    code, said = run(root, "--grid", write_grid(root))
    assert code == 0, said
    assert len(executed(said)) == 4
    return root


@pytest.fixture
def project(tmp_path, finished):
    """A copy of the finished project; keys do not depend on where a project lies."""
    return shutil.copytree(finished, tmp_path / "project")


def plan(root):
    return grids.grid_plan(root, root / "my_grid.yaml")


def test_grid_is_gathered_into_one_labelled_data_set(finished):
    whole = results.load(finished / "my_grid.one.nc")
    assert whole["value"].dims == ("n", "rate", "seed")
    assert whole["value"].values.tolist() == [[[1, 1], [4, 1]], [[2, 2], [8, 2]]]
    made = results.made_by(whole)
    assert made["grid"] == GRID
    for job, chosen in zip(made["jobs"], [{"n": n, "rate": r} for n in (1, 2) for r in (0.5, 2.0)], strict=True):
        assert job["chosen"] == chosen
        assert job["given"] == {**chosen, "names": ["a"]}
        assert job["parameters"]["seeds"] == [0, 1]
        assert job["wall_seconds"] == 0.1
        assert job["seconds"] > 0
        assert (finished / "book/_build/jobs" / job["name"] / "one.ipynb").is_file()
        assert job["threads"] == max(1, engine.cores_here() // 4)


def test_same_command_again_executes_nothing_and_gathers_the_same(project):
    before = results.load(project / "my_grid.one.nc")
    (project / "my_grid.one.nc").unlink()
    code, said = run(project, "--grid", project / "my_grid.yaml")
    assert (code, executed(said)) == (0, set())
    assert results.load(project / "my_grid.one.nc").equals(before)


def test_new_and_damaged_jobs_are_executed_and_failures_name_their_parameters_while_others_finish(project):
    whole, damaged = (job.folder(project) / "results/one.nc" for job in plan(project).jobs[:3:2])
    before = whole.stat().st_ino
    damaged.write_bytes(damaged.read_bytes()[:-100])
    write_grid(project, {"notebook": "one", "grid": {"n": [13, 0, 1, 2], "rate": [0.5]}})
    (project / "my_grid.one.nc").unlink()
    code, said = run(project, "--grid", project / "my_grid.yaml")
    assert code == 1
    assert executed(said) == {"one, n = 2, rate = 0.5"}
    assert whole.stat().st_ino == before
    assert "Chapter one failed in cell 3, which begins\n    import json\nValueError: thirteen is unlucky" in said
    assert "    n = 13\n    rate = 0.5\n" in said
    # a value of the right type that the notebook's own rules refuse
    assert "Chapter one failed in cell 2, which begins\n    from helpers.checks import" in said
    assert "\nValueError: n must be a whole number at least 1, got 0 (int).\nIts parameters:\n    n = 0\n" in said
    assert "2 of 4 jobs are not finished, 2 of them failed." in said
    assert "Snakemake" not in said
    kept = Path(said.split("partly executed notebook is ")[1].splitlines()[0])
    cells = execute.read_notebook(kept).cells
    assert [c.outputs[0].evalue for c in cells if c.source == WORK] == ["thirteen is unlucky"]
    assert not (project / "my_grid.one.nc").exists()
    # once the grid is mended, nothing speaks of the failures any more
    write_grid(project, {"notebook": "one", "grid": {"n": [2, 1], "rate": [0.5]}})
    code, said = run(project, "--grid", project / "my_grid.yaml")
    assert (code, executed(said)) == (0, set())
    assert results.load(project / "my_grid.one.nc")["value"].values.tolist() == [[[2, 2]], [[1, 1]]]


def test_notebook_that_writes_nothing_fails(tmp_path):
    root = write_project(tmp_path / "project")
    write_notebook(root, 'n: int = 1\nsave_results: bool = False\nresults_folder: str = ""', "print(n)")
    (job,) = grids.result_jobs(root, "one", {"n": 1}, [{}])
    with pytest.raises(execute.BuildError, match=r"(?s)wrote no \.nc file.*n = 1.*notebook is "):
        jobs.run_job(root, job, threads=1, hours=0.1)
    assert jobs.stored(root, job) is None


def test_job_is_not_executed_with_other_sources_than_its_run_began_with(tmp_path, monkeypatch):
    root = write_project(tmp_path / "project")
    (job,) = grids.result_jobs(root, "one", {"n": 1}, [{}])
    (root / "helpers/tiny.py").write_text("FACTOR = 3\n")
    monkeypatch.setattr(execute, "run_notebook", lambda *_, **__: pytest.fail("executed"))
    with pytest.raises(execute.BuildError, match="has changed since this run began"):
        jobs.run_job(root, job, threads=1, hours=0.1)


def test_module_changed_while_its_chapter_runs_makes_another_job(project):
    """Times of files would not tell: the result is newer than the change."""
    before = plan(project).jobs[0]
    (project / "helpers/tiny.py").write_text("FACTOR = 3\n")
    os.utime(project / "helpers/tiny.py", (0, 0))
    after = plan(project).jobs[0]
    assert jobs.stored(project, before)
    assert after.name != before.name
    assert engine.unfinished(project, [after]) == [after]


def test_preset_puts_its_files_into_results_whole(project):
    code, said = run(project, "--preset", "large")
    assert code == 0, said
    written = project / "results/one.nc"
    assert results.load(written)["value"].values.tolist() == [21, 21]
    # nothing changed: the file comes back without being computed
    before = written.read_bytes()
    written.unlink()
    code, said = run(project, "--preset", "large")
    assert (code, executed(said)) == (0, set())
    assert written.read_bytes() == before


def test_preset_replaces_no_file_of_a_job_that_failed(project, monkeypatch):
    done = plan(project).jobs[0]
    (failed,) = grids.result_jobs(project, "prose", {}, [{}])
    (project / "results/prose.nc").write_text("an earlier run's")

    def fail(*arguments, **options):
        raise execute.BuildError("one of two")

    monkeypatch.setattr(engine, "run", fail)
    with pytest.raises(execute.BuildError, match="one of two"):
        engine.compute(project, grids.Plan("preset-large", "", [done, failed], 1.0), cores=1)
    assert results.load(project / "results/one.nc")["value"].values.tolist() == [1, 1]
    assert (project / "results/prose.nc").read_text() == "an earlier run's"


def test_snakemake_s_own_reason_is_shown(project, monkeypatch):
    monkeypatch.setattr(engine, "snakemake", lambda *_, **__: "\n".join([*map(str, range(40)), "the disk is full"]))
    with pytest.raises(execute.BuildError, match=r"(?s)1 of 1 jobs .*, 0 of them failed\..* with\n26\n.*disk is full$"):
        engine.run(project, grids.Plan("new", "", grids.result_jobs(project, "one", {"n": 9}, [{}]), 1.0), cores=1)


def test_bad_grid_stops_before_anything_runs(project):
    write_grid(project, {"notebook": "one", "grid": {"m": [1]}})
    with pytest.raises(SystemExit, match=r"^\nmy_grid\.yaml: m is not a parameter of one; it takes n, rate, names\.$"):
        engine.main(["--root", str(project), "--grid", str(project / "my_grid.yaml")])


def test_slurm_profile_would_submit_every_job_with_its_resources(project):
    write_grid(project, {"notebook": "one", "hours": 2, "grid": {"n": [1, 2, 3, 4], "rate": [0.5]}})
    code, said = run(project, "--grid", project / "my_grid.yaml", "--profile", PROFILE, "--dry-run")
    assert code == 0, said
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert said.count("rule chapter:") == 2
    assert said.count(f"mem_mb={profile['default-resources']['mem_mb']}") >= 2
    assert said.count("runtime=130") == 2
    assert executed(said) == set()


CLUSTER = {
    # runs what it is given and writes its state down; what Snakemake asks of it are a number and a log file
    "sbatch": """
import pathlib, re, subprocess, sys
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
number = len(list(here.glob("*.state"))) + 1
state = here / f"{number}.state"
state.write_text("RUNNING")
(here / f"{number}.asked").write_text(" ".join(words))
command = next(w.removeprefix("--wrap=") for w in words if w.startswith("--wrap="))
log = words[words.index("--output") + 1].replace("%j", str(number))
after = f'if bash -c "$0" >&2; then echo COMPLETED; else echo FAILED; fi > {state}.new 2>{log}; mv {state}.new {state}'
subprocess.Popen(["bash", "-c", after, command], stdout=open(log, "w"), stderr=subprocess.STDOUT,
                 stdin=subprocess.DEVNULL, start_new_session=True)
print(number)
""",
    "sacct": """
import pathlib, sys
if "--format=JobIdRaw,State" in sys.argv:
    for state in pathlib.Path(__file__).parent.glob("*.state"):
        print(f"{state.stem}|{state.read_text().strip()}")
""",
    "srun": """
import os, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    words.pop(0)
os.execvp(words[0], words)
""",
    "sinfo": "print('nodes*')",
    "squeue": "",
    "scancel": "",
    "sshare": "",
    "sacctmgr": "",
    "scontrol": "",
}


def test_slurm_profile_runs_its_jobs_through_the_queue(project, monkeypatch):
    """SLURM's commands as Snakemake's plug-in calls them, played by scripts that start the jobs on this machine."""
    tools = project / "tools"
    tools.mkdir()
    for name, source in CLUSTER.items():
        (tools / name).write_text(f"#!{sys.executable}\n{source}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    hurried = {"slurm-init-seconds-before-status-checks": 1, "seconds-between-status-checks": 1, "latency-wait": 5}
    (project / "profile").mkdir()
    (project / "profile/config.yaml").write_text(yaml.safe_dump({**profile, **hurried}))
    write_grid(project, {"notebook": "one", "grid": {"n": [1, 3], "rate": [0.5]}})
    code, said = run(project, "--grid", project / "my_grid.yaml", "--profile", project / "profile")
    assert code == 0, said
    (asked,) = tools.glob("*.asked")
    assert f"--mem {profile['default-resources']['mem_mb']} " in asked.read_text()
    assert f"--cpus-per-task={profile['set-threads']['chapter']} " in asked.read_text()
    whole = results.load(project / "my_grid.one.nc")
    assert whole["value"].values.tolist() == [[[1, 1]], [[3, 3]]]
    assert results.made_by(whole)["jobs"][1]["threads"] == profile["set-threads"]["chapter"]


def hold_jobs(root, names):
    """Snakemake's own lock of some jobs, as another run has it, or one that was killed."""
    locks = root / "book/_build/.snakemake/locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.output.lock").write_text("".join(f"jobs/{name}\n" for name in names))


def test_two_runs_do_not_compute_the_same_job(project, monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE", 0.1)
    write_grid(project, {"notebook": "one", "grid": {"n": [3, 4], "rate": [0.5]}})
    first, second = plan(project).jobs
    sentence = rf"my_grid\.yaml: some of its jobs are being computed already, by process {os.getpid()}\.$"
    with jobs.locked(project / "book/_build/runs/lock", kind=fcntl.LOCK_SH):
        hold_jobs(project, [second.name])
        with pytest.raises(execute.BuildError, match=sentence):
            engine.run(project, plan(project), cores=1)
        # its other jobs are nobody's
        write_grid(project, {"notebook": "one", "grid": {"n": [3], "rate": [0.5]}})
        assert engine.run(project, plan(project), cores=1) == {first.name}
    assert jobs.stored(project, second) is None


def test_lock_is_held_by_what_a_killed_run_leaves_behind(tmp_path):
    with jobs.locked(tmp_path / "lock") as hold:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[hold])
    with pytest.raises(BlockingIOError), jobs.locked(tmp_path / "lock", patience=0):
        pass
    child.communicate(b"\n")
    with jobs.locked(tmp_path / "lock", patience=5):
        pass


def test_job_that_two_runs_want_is_executed_once(tmp_path, monkeypatch):
    root = write_project(tmp_path / "project")
    (job,) = grids.result_jobs(root, "one", {"n": 1}, [{}])
    calls = []

    def slowly(root, job, partial, **options):
        calls.append(partial)
        time.sleep(0.3)
        (partial / "job.json").write_text(json.dumps({"files": {}}))

    monkeypatch.setattr(jobs, "attempt", slowly)
    threads = [
        threading.Thread(target=jobs.run_job, args=(root, job), kwargs={"threads": 1, "hours": 1}) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert jobs.stored(root, job)


def test_what_a_killed_process_started_ends_soon(tmp_path):
    child = f"import sys, time; sys.path.insert(0, {str(PROJECT / 'book')!r}); import execute; "
    child += "execute.end_with_parent(); print('ready', flush=True); time.sleep(600)"
    parent = f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {child!r}]); print(c.pid); "
    parent += "sys.stdout.flush(); c.wait()"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    for _ in range(600):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("it is still there")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_goes_on_once_the_engine_is_stopped(tmp_path, number):
    root = write_project(tmp_path / "project")
    sleep = (
        "import os, time\nopen('pid.part', 'w').write(str(os.getpid()))\nos.rename('pid.part', 'pid')\ntime.sleep(600)"
    )
    write_notebook(root, 'n: int = 1\nsave_results: bool = False\nresults_folder: str = ""', sleep)
    with (tmp_path / "said.txt").open("w") as log:
        process = start(root, "--grid", write_grid(root, {"notebook": "one", "grid": {"n": [1]}}), stdout=log)
    pid = root / "notebooks/pid"
    while not pid.is_file():
        assert process.poll() is None, (tmp_path / "said.txt").read_text()
        time.sleep(0.05)
    kernel = psutil.Process(int(pid.read_text()))
    started = [kernel, *kernel.parents()[: kernel.parents().index(psutil.Process(process.pid))]]
    process.send_signal(number)
    process.wait()
    alive = psutil.wait_procs(started, timeout=30)[1]
    assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_killed_at_ten_random_moments_it_resumes_and_gathers_the_same(project):
    undisturbed = results.load(project / "my_grid.one.nc")
    output = project / "my_grid.one.nc"
    everything = plan(project).jobs
    stream = random.Random(0)

    def forget():
        """Take away two of the four jobs, and what was gathered."""
        output.unlink(missing_ok=True)
        for job in everything[::3]:
            shutil.rmtree(job.folder(project), ignore_errors=True)

    forget()
    begin = time.monotonic()
    code, said = run(project, "--grid", project / "my_grid.yaml")
    seconds = time.monotonic() - begin
    assert (code, len(executed(said))) == (0, 2), said
    kills = 0
    for _ in range(40):
        forget()
        with (project / "said.txt").open("w") as log:  # no pipe: what is left of the run must not hold up the next one
            process = start(project, "--grid", project / "my_grid.yaml", stdout=log)
        try:
            process.wait(stream.uniform(0, seconds))
            continue  # over before it could be killed
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        kills += 1
        assert "already" not in (project / "said.txt").read_text()
        # whatever is there to be taken for a result is whole, and the one that belongs there
        for k, job in enumerate(everything):
            if jobs.stored(project, job):
                stored = results.load(job.folder(project) / "results/one.nc")
                assert stored["value"].equals(undisturbed["value"].isel(n=k // 2, rate=k % 2, drop=True)), job.title
        if output.exists():
            assert results.load(output).equals(undisturbed)
        if kills == 10:
            break
    assert kills == 10
    code, said = run(project, "--grid", project / "my_grid.yaml")
    assert code == 0, said
    assert results.load(output).equals(undisturbed)
    left = [path.name for path in (project / "book/_build/jobs/one").iterdir()]
    assert sum(name.endswith(".part") for name in left) == 0
    assert sum(not name.startswith(".") for name in left) == 4
