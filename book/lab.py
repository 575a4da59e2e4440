"""Open JupyterLab on a copy of the notebooks: it saves by itself, and what lies in git stays as it is.

`make lab` calls this file. A copy whose cells are as they were copied follows the chapter; one with edits stays.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from execute import environment, read_notebook

ROOT = Path(__file__).resolve().parents[1]
LAB = "book/_build/lab"
COPIED = "copied_cells"
"""Metadata of a copy: the hash of the cells as they were copied."""

FOLDED = {"hide-input", "hide-cell"}
"""Tags of code that the page folds away: solutions, figures, tables."""

WORKS = ("```{footbibliography}\n```", "By their keys in `book/references.bib`.")
"""What only Sphinx can list, and what a notebook says instead."""


def cells(notebook: Any) -> str:
    """The hash of what a reader edits of each cell; outputs come and go by themselves."""
    return hashlib.sha256(json.dumps([[cell.cell_type, cell.source] for cell in notebook.cells]).encode()).hexdigest()


def prepared(notebook: Any) -> Any:
    """A chapter as it is to lie before a reader: what the page folds is folded, the cells remembered."""
    for cell in notebook.cells:
        cell.source = cell.source.replace(*WORKS)
        tags = set(cell.metadata.get("tags", []))
        if tags & FOLDED and "parameters" not in tags:
            cell.metadata["jupyter"] = {"source_hidden": True}
    notebook.metadata[COPIED] = cells(notebook)
    return notebook


def follow(root: Path) -> Iterator[str]:
    """Bring the copies in the lab's folder up to date; yields a sentence for each that cannot be."""
    lab = root / LAB
    (lab / "notebooks").mkdir(parents=True, exist_ok=True)
    if not (lab / "results").is_symlink():
        (lab / "results").symlink_to(os.path.relpath(root / "results", lab))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        chapter, copy = prepared(read_notebook(path)), lab / "notebooks" / path.name
        if copy.is_file():
            try:
                kept = read_notebook(copy)
            except ValueError:  # not a notebook any more
                kept = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
            copied = kept.metadata.get(COPIED)
            if copied == chapter.metadata[COPIED]:
                continue
            if copied != cells(kept):
                yield (
                    f"{path.stem} has changed, but {copy.relative_to(root)} has edits and stays as it is: "
                    "rename it to get the new one beside it."
                )
                continue
        nbformat.write(chapter, copy)  # type: ignore[no-untyped-call]


def main() -> None:
    """Copy what must be copied, say what stays, and become JupyterLab."""
    for sentence in follow(ROOT):
        print(sentence, flush=True)
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={ROOT / LAB / 'notebooks'}", *sys.argv[1:]]
    os.execve(sys.executable, command, environment(ROOT))


if __name__ == "__main__":
    main()
