"""The build, on a tiny throw-away book: what is executed again, what a failure says, and what it leaves alone."""

import subprocess
from pathlib import Path

import execute
import make
import nbformat
import psutil
import pytest

PROJECT = Path(__file__).parents[2]
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
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
    for folder in ("book", "helpers", "results", "notebooks/params/quick"):
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
    (tmp_path / "notebooks/params/quick/one.yaml").write_text("n: 21\n")
    write_notebook(tmp_path, "import sys\nsys.path.insert(0, '../helpers')\n" + PRODUCT)
    return tmp_path


def printed(done):
    """What the last cell of an executed chapter printed."""
    return nbformat.read(done.notebook, as_version=4).cells[-1].outputs[0].text.strip()


def run(root):
    """Execute the one chapter of the tiny book, or take what is kept of it."""
    (done,) = make.execute_chapters(root, "quick")
    return done


def test_unchanged_chapter_is_kept_and_its_cost_with_it(root):
    first = run(root)
    assert (first.fresh, printed(first)) == (True, "42")
    assert first.record.seconds > 0
    assert 10 < first.record.peak_mib < 2000
    again = run(root)
    assert not again.fresh
    assert again.record == first.record


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [("helpers/tiny.py", "FACTOR = 3\n", "63"), ("notebooks/params/quick/one.yaml", "n: 5\n", "10")],
)
def test_changed_dependency_is_executed_again(root, file, text, expected):
    run(root)
    (root / file).write_text(text)
    changed = run(root)
    assert (changed.fresh, printed(changed)) == (True, expected)


@pytest.mark.parametrize(
    "file",
    ["requirements.txt", "constraints.txt", "results/one.nc", "helpers/a.yaml", "helpers/a.cpp"],
)
def test_key_follows_every_other_dependency(root, file):
    before = execute.chapter_key(root, "one", "quick")
    (root / file).write_text("changed\n")
    assert execute.chapter_key(root, "one", "quick") != before


def test_key_follows_sources_and_tags_but_not_stored_outputs(root):
    path = root / "notebooks/one.ipynb"
    before = execute.chapter_key(root, "one", "quick")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="7\n")]
    notebook.cells[-1].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    nbformat.write(notebook, path)
    assert execute.chapter_key(root, "one", "quick") == before
    notebook.cells[-1].metadata["tags"] = ["hide-input"]
    nbformat.write(notebook, path)
    assert execute.chapter_key(root, "one", "quick") != before


@pytest.mark.parametrize("damage", ["cut", "no record", "no notebook"])
def test_partial_result_is_not_trusted(root, damage):
    first = run(root)
    if damage == "cut":
        first.notebook.write_text(first.notebook.read_text()[:-40])
    elif damage == "no record":
        first.notebook.with_suffix(".json").unlink()
    else:
        first.notebook.unlink()
    again = run(root)
    assert (again.fresh, printed(again)) == (True, "42")


def test_failing_cell_is_named_and_leaves_no_result(root):
    write_notebook(root, "fine = 1", "\n# a comment\nvalue = {}['missing']")
    with pytest.raises(execute.BuildError) as caught:
        run(root)
    text = str(caught.value)
    assert "Chapter one failed in cell 4" in text
    assert "# a comment" in text
    assert "KeyError: 'missing'" in text
    assert list((root / "book/_build/executed/quick").iterdir()) == []


def test_time_limit_stops_the_kernel_and_names_the_cell(root):
    write_notebook(root, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    with pytest.raises(execute.BuildError, match=r"(?s)cell 3.*import os, time.*time limit of 8 s"):
        make.execute_chapters(root, "quick", limit=8)
    kernel = int((root / "notebooks/pid").read_text())
    # Its parent is gone with it, so that where nobody collects orphans a killed process stays listed as a zombie.
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE


def test_unknown_preset_is_answered_with_the_known_ones(root):
    with pytest.raises(execute.BuildError, match=r"huge.*presets are: quick"):
        make.execute_chapters(root, "huge")


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


@pytest.mark.parametrize(
    ("own", "injected", "kept"),
    [
        ("n: int = 1  # a factor\nm = [1, 2]", "# Parameters\nn = 1\nm = [1, 2]\n", False),
        ("n: int = 1  # a factor", "# Parameters\nn = 2\n", True),
        ("n: int = 1  # a factor", "# Parameters\nn = 1\nm = 3\n", True),
        ("n = 0.001", "n = 0.0010", False),
    ],
)
def test_parameters_are_shown_twice_only_where_they_differ(own, injected, kept):
    cells = [nbformat.v4.new_code_cell(source) for source in (own, injected, "n")]
    cells[0].metadata["tags"], cells[1].metadata["tags"] = ["parameters"], ["injected-parameters"]
    notebook = make.without_repetition(nbformat.v4.new_notebook(cells=cells))
    assert [cell.source for cell in notebook.cells] == [own, *([injected] if kept else []), "n"]


def test_measured_speed_is_put_on_its_page(root):
    (root / "benchmarks").mkdir()
    (root / "benchmarks/training.md").write_text("| N | ms |\n|--:|--:|\n| 1 | 2 |\n")
    (root / "benchmarks/engine.md").write_text("Two cores.\n")
    (root / "book/performance.md").write_text("# Speed\n\n<!-- training -->\n\nThen\n\n<!-- engine -->\n")
    make.stage(root, [run(root)], "", root / "staged")
    page = (root / "staged/book/performance.md").read_text()
    assert page.index("| 1 | 2 |") < page.index("Then") < page.index("Two cores.")
    before = make.pages_key(root, [])
    (root / "benchmarks/engine.md").write_text("Four cores.\n")
    assert make.pages_key(root, []) != before
