"""The build, on a tiny throw-away book: what is executed again, what a failure says, and what it leaves alone."""

import json
import subprocess
import threading
import time
from types import SimpleNamespace

import engine
import execute
import grids
import jobs
import make
import nbformat
import psutil
import pytest
from throwaway import KERNEL

PRODUCT = "import tiny\nprint(tiny.FACTOR * n)"


def write_notebook(root, *sources):
    """A chapter whose first cell declares the parameter n, followed by `sources`."""
    cells = [nbformat.v4.new_markdown_cell("# A chapter"), nbformat.v4.new_code_cell("n = 1  # a factor")]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), root / "notebooks/one.ipynb")


@pytest.fixture
def root(tmp_path):
    """A book of one page and one chapter, whose only module is helpers/tiny.py."""
    for folder in ("book", "helpers", "results", "notebooks/params/large"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_config.yml").write_text(
        "title: Tiny\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\nsphinx: {config: {}}\n"
    )
    (tmp_path / "book/_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n  - file: notebooks/one\n  - file: book/status\n"
    )
    (tmp_path / "book/intro.md").write_text("# Tiny\n\nA page.\n")
    (tmp_path / "book/status.md").write_text("# Status\n\n<!-- chapters -->\n")
    (tmp_path / "helpers/tiny.py").write_text("FACTOR = 2\n")
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "constraints.txt").write_text("")
    (tmp_path / "notebooks/params/large/one.yaml").write_text("n: 21\n")
    write_notebook(tmp_path, "import sys\nsys.path.insert(0, '../helpers')\n" + PRODUCT)
    return tmp_path


def printed(done):
    """What the last cell of an executed chapter printed."""
    return nbformat.read(done.notebook, as_version=4).cells[-1].outputs[0].text.strip()


def run(root, preset="large"):
    """Execute the one chapter of the tiny book, or take what is kept of it."""
    (done,) = make.execute_chapters(root, preset, ["one"])
    return done


def name(root, preset="large"):
    """The name of the chapter's job: another one is another execution."""
    return grids.pages_plan(root, preset, ["one"]).jobs[0].name


def test_unchanged_chapter_is_kept_and_its_cost_with_it(root):
    first = run(root)
    assert (first.fresh, printed(first)) == (True, "42")
    assert first.record["seconds"] > 0
    assert 10 < first.record["peak_mib"] < 2000
    again = run(root)
    assert not again.fresh
    assert again.record == first.record
    (root / "helpers/tiny.py").write_text("FACTOR = 3\n")
    changed = run(root)
    assert (changed.fresh, printed(changed)) == (True, "63")
    (root / "helpers/tiny.py").write_text("FACTOR = 2\n")
    back = run(root)
    assert (back.fresh, printed(back)) == (False, "42")


@pytest.mark.parametrize(
    "file",
    [
        "requirements.txt",
        "constraints.txt",
        "results/one.nc",
        "helpers/tiny.py",
        "helpers/evidence/claims/one.yaml",
        "helpers/a.cpp",
    ],
)
def test_job_follows_every_dependency(root, file):
    before = name(root)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("changed\n")
    assert name(root) != before


def test_job_follows_the_parameters_of_its_preset(root):
    before = name(root)
    assert name(root, "quick") != before
    (root / "notebooks/params/large/one.yaml").write_text("n: 5\n")
    assert name(root) != before


def test_job_follows_sources_and_tags_but_not_stored_outputs(root):
    path = root / "notebooks/one.ipynb"
    before = name(root)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="7\n")]
    notebook.cells[-1].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    nbformat.write(notebook, path)
    assert name(root) == before
    notebook.cells[-1].metadata["tags"] = ["hide-input"]
    nbformat.write(notebook, path)
    assert name(root) != before


@pytest.mark.parametrize("damage", ["cut", "no record", "no notebook"])
def test_partial_result_is_not_trusted(root, damage):
    (job,) = grids.pages_plan(root, "large", ["one"]).jobs
    folder, notebook = job.folder(root), job.notebook(root)
    folder.mkdir(parents=True)
    notebook.write_text("an executed notebook")
    record = {"files": {notebook.name: execute.digest(notebook)}}
    (folder / "job.json").write_text(json.dumps(record))
    assert jobs.stored(root, job) == record
    assert engine.unfinished(root, [job]) == []
    if damage == "cut":
        notebook.write_text("an executed")
    elif damage == "no record":
        (folder / "job.json").unlink()
    else:
        notebook.unlink()
    assert jobs.stored(root, job) is None
    assert engine.unfinished(root, [job]) == [job]
    assert not folder.exists()


def test_failing_cell_is_named_and_leaves_no_result(root):
    write_notebook(root, "fine = 1", "\n# a comment\nvalue = {}['missing']")
    with pytest.raises(execute.BuildError) as caught:
        run(root)
    text = str(caught.value)
    assert "Chapter one failed in cell 4" in text
    assert "# a comment" in text
    assert "KeyError: 'missing'" in text
    (job,) = grids.pages_plan(root, "large", ["one"]).jobs
    assert not job.folder(root).exists()


def test_time_limit_stops_the_kernel_and_names_the_cell(root, monkeypatch):
    write_notebook(root, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    pid = root / "notebooks/pid"

    class Clock(threading.Event):
        """Lets the time pass once the cell is at work, however long the kernel took to start."""

        def wait(self, timeout=None):
            while timeout == 3600 and not (pid.is_file() and pid.read_text()):
                time.sleep(0.05)
            return super().wait(0.1)

    monkeypatch.setattr(execute, "threading", SimpleNamespace(Event=Clock, Thread=threading.Thread))
    with pytest.raises(execute.BuildError, match=r"(?s)cell 3.*import os, time.*time limit of 3600 s"):
        execute.run_notebook(root, "one", {}, root / "late.ipynb", limit=3600)
    kernel = int(pid.read_text())
    # Its parent is gone with it, so that where nobody collects orphans a killed process stays listed as a zombie.
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE


def test_unknown_preset_is_answered_with_the_known_ones(root):
    with pytest.raises(execute.BuildError, match=r"huge.*presets are: quick, large"):
        run(root, "huge")


def test_outputs_keeps_those_of_checked_cells_alone(root):
    write_notebook(root, "print(n)", "print(n + 1)")
    path = root / "notebooks/one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].metadata["tags"] = [make.CHECKED]
    nbformat.write(notebook, path)
    make.make_outputs(root)
    cells = nbformat.read(path, as_version=4).cells
    assert [c.execution_count for c in cells[1:]] == [1, 2, 3]
    assert [[o.text for o in c.outputs] for c in cells[1:]] == [[], [], ["2\n"]]
    assert not any("papermill" in c.metadata or "execution" in c.metadata for c in cells)
    before = path.read_bytes()
    make.make_outputs(root)
    assert path.read_bytes() == before


def test_pages_are_made_once_and_survive_a_bad_build(root, monkeypatch, capsys):
    make.make_book(root, "quick")
    index = root / "book/_build/html/index.html"
    status = (root / "book/_build/html/book/status.html").read_text()
    assert index.is_file()
    assert "<code" in status
    assert "quick" in status
    assert index.as_uri() in capsys.readouterr().out

    def forbidden(*arguments, **options):
        raise AssertionError(f"started {arguments}")

    with monkeypatch.context() as patch:  # nothing changed: neither papermill nor Sphinx is started
        patch.setattr(subprocess, "Popen", forbidden)
        make.make_book(root, "quick")

    old = index.stat().st_ino
    (root / "book/intro.md").write_text("# Tiny\n\nA page with a {doc}`link to nowhere`.\n")
    with pytest.raises(execute.BuildError, match="link to nowhere"):
        make.make_book(root, "quick")
    assert index.stat().st_ino == old
    (root / "book/intro.md").write_text("# Tiny\n\nA better page.\n")
    write_notebook(root, "1 / 0")
    with pytest.raises(execute.BuildError, match="ZeroDivisionError"):
        make.make_book(root, "quick")
    assert index.stat().st_ino == old


def test_measured_speed_is_put_on_its_page(root):
    (root / "benchmarks").mkdir()
    (root / "benchmarks/training.md").write_text("| N | ms |\n|--:|--:|\n| 1 | 2 |\n")
    (root / "benchmarks/engine.md").write_text("Two cores.\n")
    (root / "book/performance.md").write_text("# Speed\n\n<!-- training -->\n\nThen\n\n<!-- engine -->\n")
    make.stage(root, [], "", root / "staged")
    page = (root / "staged/book/performance.md").read_text()
    assert page.index("| 1 | 2 |") < page.index("Then") < page.index("Two cores.")
    before = make.pages_key(root, [])
    (root / "benchmarks/engine.md").write_text("Four cores.\n")
    assert make.pages_key(root, []) != before


def test_given_parameters_are_folded_away_like_the_declared_ones():
    declared = nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters", "hide-input"], "mystnb": {"a": 1}})
    given = nbformat.v4.new_code_cell("n = 2", metadata={"tags": ["injected-parameters"]})
    notebook = make.fold_given(nbformat.v4.new_notebook(cells=[declared, given]))
    assert notebook.cells[1].metadata == {"tags": ["injected-parameters", "hide-input"], "mystnb": {"a": 1}}
    assert make.fold_given(nbformat.v4.new_notebook(cells=[declared])).cells == [declared]
