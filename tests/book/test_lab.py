"""What `make lab` opens is a copy: saving leaves the chapter in git alone, and edits are never lost."""

import lab
import nbformat
import pytest
from throwaway import write_notebook, write_project

SOLUTION = "print(n)  # a solution"


@pytest.fixture
def root(tmp_path):
    """A project whose chapter `prose` has a folded solution, and whose notebooks have been copied once."""
    root = write_project(tmp_path / "project")
    path = root / "notebooks/prose.ipynb"
    chapter = nbformat.read(path, as_version=4)
    chapter.cells[0].metadata["tags"] = ["parameters", "hide-input"]  # which a reader of the lab wants to change
    chapter.cells[1].metadata["tags"] = ["hide-input"]
    nbformat.write(chapter, path)
    assert list(lab.follow(root)) == []
    return root


def copy_of(root, name="prose"):
    return root / lab.LAB / f"notebooks/{name}.ipynb"


def edit(path, *, source=None, text="7\n"):
    """Save a notebook as JupyterLab does by itself: with outputs, and perhaps with an edit of the last cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "version": "3"}
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text=text)]
    notebook.cells[-1].execution_count = 3
    notebook.cells[-1].source = source or notebook.cells[-1].source
    nbformat.write(notebook, path)


def last_cell(path):
    return nbformat.read(path, as_version=4).cells[-1]


def test_saving_leaves_the_notebook_in_git_alone(root):
    tracked = {path: path.read_bytes() for path in (root / "notebooks").glob("*.ipynb")}
    for path in tracked:
        edit(copy_of(root, path.stem), source="n = 3  # a reader's")
    assert {path: path.read_bytes() for path in tracked} == tracked


def test_what_the_page_folds_is_folded(root):
    hidden = [cell.metadata.get("jupyter") for cell in nbformat.read(copy_of(root), as_version=4).cells]
    assert hidden == [None, {"source_hidden": True}]


def test_results_lie_where_the_chapters_look(root):
    (root / "results/one.nc").write_bytes(b"kept")
    assert (copy_of(root).parent / "../results/one.nc").read_bytes() == b"kept"


def test_outputs_stay_until_the_chapter_changes(root):
    edit(copy_of(root))
    assert list(lab.follow(root)) == []
    assert last_cell(copy_of(root)).outputs
    write_notebook(root, "n: int = 1  # a number", "print(n + 1)", name="prose")
    assert list(lab.follow(root)) == []
    assert last_cell(copy_of(root)).source == "print(n + 1)"


def test_edits_stay_and_are_told_where_the_chapter_has_changed(root):
    edit(copy_of(root), source="print(-n)")
    assert list(lab.follow(root)) == []
    write_notebook(root, "n: int = 1  # a number", "print(n + 1)", name="prose")
    (sentence,) = lab.follow(root)
    assert "prose has changed" in sentence
    assert f"{lab.LAB}/notebooks/prose.ipynb has edits and stays" in sentence
    assert last_cell(copy_of(root)).source == "print(-n)"
    copy_of(root).rename(copy_of(root, "mine"))
    assert list(lab.follow(root)) == []
    assert last_cell(copy_of(root)).source == "print(n + 1)"


def test_file_that_is_no_notebook_is_an_edit(root):
    copy_of(root).write_text("no notebook")
    (sentence,) = lab.follow(root)
    assert "has edits and stays" in sentence
    assert copy_of(root).read_text() == "no notebook"
