"""A throw-away project whose one chapter saves results, for the tests of presets and grids."""

import nbformat

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
PARAMETERS = """\
n: int = 1  # which result, at least 1
rate: float = 0.5  # a factor, above 0
names: list = ["a"]  # what to name
save_results: bool = False  # write the results
results_folder: str = "../results"  # existing folder where they are written and read"""
CHECK = """\
from helpers.checks import Choice, Flag, Folder, Integer, ListOf, Real, check_parameters
check_parameters(
    n=Integer(at_least=1),
    rate=Real(above=0),
    names=ListOf(Choice("abc")),
    save_results=Flag(),
    results_folder=Folder(),
)"""
WORK = """\
import json
import sys
sys.path.insert(0, "../helpers")
import tiny
import xarray as xr  # and not helpers.evidence, which takes a second more
if n == 13:
    raise ValueError("thirteen is unlucky")
data = xr.Dataset({"value": ("seed", [tiny.FACTOR * n * rate, n])}, coords={"seed": [0, 1]})
if save_results:
    made = {"parameters": {"n": n, "seeds": [0, 1]}, "wall_seconds": 0.1}
    data.assign_attrs(provenance=json.dumps(made)).to_netcdf(f"{results_folder}/one.nc", engine="netcdf4")
    print(data["value"].values)"""


def write_notebook(root, *sources, name="one"):
    """A notebook whose first cell, of parameters, is followed by others."""
    cells = [nbformat.v4.new_code_cell(source, id=f"c{k}") for k, source in enumerate(sources)]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)
    nbformat.write(notebook, root / f"notebooks/{name}.ipynb")


def write_project(root):
    """A project of one chapter that saves results and one that does not."""
    for folder in ("book", "helpers", "results", "notebooks/params/large"):
        (root / folder).mkdir(parents=True)
    (root / "book/_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n  - file: notebooks/one\n  - file: notebooks/prose\n"
    )
    (root / "helpers/tiny.py").write_text("FACTOR = 2\n")
    (root / "requirements.txt").write_text("")
    (root / "constraints.txt").write_text("")
    (root / "notebooks/params/large/one.yaml").write_text("n: 21\n")
    (root / "notebooks/params/large/prose.yaml").write_text("n: 2\n")
    write_notebook(root, PARAMETERS, CHECK, WORK, "raise ValueError('a job ends with its results')")
    path = root / "notebooks/one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["results"]
    nbformat.write(notebook, path)
    write_notebook(root, "n: int = 1  # a number", "print(n)", name="prose")
    return root
