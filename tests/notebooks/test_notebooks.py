"""The notebooks as they lie in git: their stored outputs, their parameters, and what nbval makes of both."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import execute
import make
import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PRESETS = ("full", "paper")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path, tag=None):
    """The code cells of a notebook, all or those with a tag."""
    cells = (c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    return [c for c in cells if tag is None or tag in c.metadata.get("tags", [])]


def defaults(path):
    """The parameters a notebook declares, with their default values."""
    (cell,) = code_cells(path, "parameters")
    return {node.target.id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}


def nbval(folder, path):
    """Run nbval on a notebook, from `folder`."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    command += ["-o", "addopts=", "-W", "ignore", "-q", str(path)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def test_outputs_are_those_of_checked_cells_alone(path):
    checked = code_cells(path, make.CHECKED)
    assert checked, "no cell is checked"
    for cell in code_cells(path):
        first = cell.source.splitlines()[0]
        # nbval does not compare a cell whose count is null, so a notebook that never ran would pass.
        assert cell.execution_count, f"run make outputs: this cell has no execution count: {first}"
        assert bool(cell.outputs) == (cell in checked), f"run make outputs: {first}"
        assert not set(cell.metadata) & set(execute.VOLATILE), f"run make outputs: {first}"


def test_metadata_names_the_kernel_and_nothing_else(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec.name == "python3"
    assert metadata.language_info == {"name": "python"}
    assert set(metadata) == {"kernelspec", "language_info"}


def test_no_class_is_defined(path):
    trees = [ast.parse(re.sub(r"^[%!].*", "", c.source, flags=re.M)) for c in code_cells(path)]
    assert [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)] == []


def test_every_parameter_has_a_type_and_a_comment(path):
    (cell,) = code_cells(path, "parameters")
    bare = [line for line in cell.source.splitlines() if not re.fullmatch(r"\w+: \w+ = .+  # \w.+", line)]
    assert bare == []


def test_presets_agree_with_the_declared_parameters(path):
    declared = {name: type(value) for name, value in defaults(path).items()}
    for preset in PRESETS:
        values = yaml.safe_load((ROOT / "notebooks/params" / preset / f"{path.stem}.yaml").read_text())
        assert {name: type(value) for name, value in values.items()} == declared


# What prose may hold: formulas and code, places in a study, the level of the intervals.
QUOTED = re.compile(
    r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|(?:figures?|tables?|equations?|section|§) ?[\d.]+|95 %", re.S
)
NUMBER = re.compile(r"(?<![\w.])[−-]?(?:\d+\.\d+|\d[\d\u202f\u00a0]*(?:\.\d+)? ?%)")


def test_prose_states_no_result_of_its_own(path):
    """A result in Markdown would stay when the results change: it has to come from code, or be the study's figure."""
    reported = "".join(file.read_text() for file in (ROOT / "helpers/evidence/claims").glob("*.yaml"))
    typed = [
        number
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for number in NUMBER.findall(QUOTED.sub("", cell.source))
        if not re.search(rf"(?<![\d.]){re.escape(number.rstrip(' %'))}(?![\d.]|\d)", reported)
    ]
    assert typed == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("entanglments", [2]), ("learning_rate", "1e-3"), ("entanglements", [-1]), ("n_networks", 0), ("save_results", 2)],
)
def test_nonsense_is_refused_at_once_in_a_sentence(path, tmp_path, monkeypatch, name, value):
    misspelt = name == "entanglments"
    if not misspelt and name not in defaults(path):
        pytest.skip(f"this chapter has no parameter {name}")
    monkeypatch.setenv("PYTHONPATH", execute.environment(ROOT)["PYTHONPATH"])
    with pytest.raises(execute.BuildError) as caught:
        execute.run_notebook(ROOT, path.stem, {name: value}, tmp_path / "refused.ipynb", limit=120)
    text = str(caught.value)
    cells = nbformat.read(path, as_version=4).cells
    declaring = next(k for k, c in enumerate(cells, start=1) if "parameters" in c.metadata.get("tags", []))
    assert f"failed in cell {declaring + 1}," in text
    sentence = text.splitlines()[-1]
    assert re.match(r"(Type|Value|Name)Error: .*\b" + name, sentence), sentence


def test_nbval_finds_the_stored_text_again(path):
    run = nbval(ROOT / "notebooks", path)
    assert run.returncode == 0, run.stdout[-4000:]


def test_nbval_notices_a_planted_change(path, tmp_path):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    notebook = nbformat.read(path, as_version=4)
    checked = next(k for k, c in enumerate(notebook.cells) if make.CHECKED in c.metadata.get("tags", []))
    # The rest of the chapter takes its time and can say nothing about this cell.
    notebook.cells = notebook.cells[: checked + 1]
    output = notebook.cells[-1].outputs[0]
    change = {"stream": "text"}.get(output.output_type)
    stored = output[change] if change else output.data["text/plain"]
    planted = re.sub(r"\w(?=\W*$)", lambda last: "8" if last[0] != "8" else "9", stored)
    assert planted != stored
    if change:
        output[change] = planted
    else:
        output.data["text/plain"] = planted
    copy = tmp_path / "notebooks" / path.name
    nbformat.write(notebook, copy)
    run = nbval(copy.parent, copy)
    number = sum(c.cell_type == "code" for c in notebook.cells) - 1
    assert run.returncode == 1, run.stdout[-4000:]
    failed = re.findall(r"^FAILED .*::(?:ipynb::)?Cell (\d+)", run.stdout, flags=re.M)
    assert failed == [str(number)], run.stdout[-4000:]
