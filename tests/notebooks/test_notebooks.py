"""The notebooks as they lie in git: their parameters, and their stored outputs against those of executed chapters."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import execute
import grids
import make
import nbformat
import pytest
import yaml
from jupyter_client.manager import start_new_kernel
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams
from papermill.translators import PythonTranslator

ROOT = Path(__file__).parents[2]
PRESETS = ("full", "paper")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

of_chapters = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem, scope="module")


def code_cells(path, tag=None):
    """The code cells of a notebook, all or those with a tag."""
    cells = (c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    return [c for c in cells if tag is None or tag in c.metadata.get("tags", [])]


def defaults(path):
    """The parameters a notebook declares, with their default values."""
    (cell,) = code_cells(path, "parameters")
    return {node.target.id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}


@of_chapters
def test_outputs_are_those_of_checked_cells_alone(path):
    checked = code_cells(path, make.CHECKED)
    assert checked, "no cell is checked"
    for cell in code_cells(path):
        first = cell.source.splitlines()[0]
        # nbval does not compare a cell whose count is null, so a notebook that never ran would pass.
        assert cell.execution_count, f"run make outputs: this cell has no execution count: {first}"
        assert bool(cell.outputs) == (cell in checked), f"run make outputs: {first}"
        assert not set(cell.metadata) & set(execute.VOLATILE), f"run make outputs: {first}"


@of_chapters
def test_metadata_names_the_kernel_and_nothing_else(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec.name == "python3"
    assert metadata.language_info == {"name": "python"}
    assert set(metadata) == {"kernelspec", "language_info"}


@of_chapters
def test_machinery_lives_in_the_module(path):
    """A notebook tells a story: it is short, defines nothing, and puts no table together by hand."""
    sources = [re.sub(r"^[%!].*", "", cell.source, flags=re.M) for cell in code_cells(path)]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    defined = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    assert [node.lineno for node in nodes if isinstance(node, defined)] == []
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(imports) <= 9
    assert "pandas" not in {alias.name for node in imports for alias in node.names}
    assert sum(len(source.splitlines()) for source in sources) < 200


@of_chapters
def test_the_reader_meets_question_and_picture_before_code(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    first_shown = next(cell for cell in cells[1:] if "hide-input" not in cell.metadata.get("tags", []))
    folded = cells[1 : cells.index(first_shown)]
    assert "parameters" in folded[0].metadata["tags"]
    assert folded[0].metadata["mystnb"]["code_prompt_show"] == "Parameters of this run"
    assert len(folded) == 3, "parameters, imports and checks, and the picture"
    assert "figure" in folded[2].source


@of_chapters
def test_every_parameter_has_a_type_and_a_comment(path):
    (cell,) = code_cells(path, "parameters")
    bare = [line for line in cell.source.splitlines() if not re.fullmatch(r"\w+: \w+ = .+  # \w.+", line)]
    assert bare == []


@of_chapters
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


@of_chapters
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


@pytest.fixture(scope="module")
def refusal(path):
    """A function that runs a chapter's first cells, with one parameter set, and returns the error of the last of them.

    All parameters are tried in one kernel, so that PyTorch is loaded once.
    """
    tags = [cell.metadata.get("tags", []) for cell in code_cells(path)]
    declaring = next(k for k, of_cell in enumerate(tags) if "parameters" in of_cell)
    *before, checking = [cell.source for cell in code_cells(path)[: declaring + 2]]
    manager, client = start_new_kernel(cwd=path.parent, env=execute.environment(ROOT))

    def run(source):
        reply = client.execute_interactive(source, timeout=120, output_hook=lambda message: None)["content"]
        return f"{reply['ename']}: {reply['evalue']}" if reply["status"] == "error" else None

    def refusal(name, value):
        injected = PythonTranslator.codify({name: value}, "Parameters")
        for source in ("%reset -f", "%reset -f in", *before, injected):
            assert run(source) is None
        return run(checking)

    yield refusal
    client.stop_channels()
    manager.shutdown_kernel()


@of_chapters
@pytest.mark.parametrize(
    ("name", "value"),
    [("entanglments", [2]), ("learning_rate", "1e-3"), ("entanglements", [-1]), ("n_networks", 0), ("save_results", 2)],
)
def test_nonsense_is_refused_at_once_in_a_sentence(path, refusal, name, value):
    misspelt = name == "entanglments"
    if not misspelt and name not in defaults(path):
        pytest.skip(f"this chapter has no parameter {name}")
    sentence = refusal(name, value)
    assert re.match(r"(Type|Value|Name)Error: .*\b" + name, sentence or "nothing was refused"), sentence


@of_chapters
def test_what_the_notebook_declares_is_not_refused(path, refusal):
    assert refusal("save_results", False) is None


@cache
def page(path):
    """The chapter as `make book` has executed it, or executes it now."""
    (chapter,) = make.execute_chapters(ROOT, grids.QUICK, [path.stem])
    return chapter.notebook


def differences(session, path, executed):
    """What nbval finds to differ between the stored outputs of the checked cells and those of an executed notebook."""
    stored, now = (code_cells(file, make.CHECKED) for file in (path, executed))
    assert [cell.source for cell in stored] == [cell.source for cell in now]
    file = IPyNbFile.from_parent(session, path=path)
    for number, (kept, made) in enumerate(zip(stored, now, strict=True)):
        cell = IPyNbCell.from_parent(file, name=str(number), cell_num=number, cell=kept, options={})
        if not cell.compare_outputs(coalesce_streams(made.outputs), coalesce_streams(kept.outputs)):
            yield "\n".join(cell.comparison_traceback)


def plant(cell):
    """Change the last letter or digit of a cell's first output."""
    (output, *_) = cell.outputs
    holder, key = (output, "text") if output.output_type == "stream" else (output.data, "text/plain")
    before = holder[key]
    holder[key] = re.sub(r"\w(?=\W*$)", lambda last: "8" if last[0] != "8" else "9", before)
    assert holder[key] != before


@of_chapters
def test_executed_chapter_says_what_is_stored(path, request):
    assert list(differences(request.session, path, page(path))) == []


@of_chapters
def test_planted_change_is_noticed(path, request, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    plant([cell for cell in notebook.cells if make.CHECKED in cell.metadata.get("tags", [])][-1])
    copy = tmp_path / path.name
    nbformat.write(notebook, copy)
    assert len(list(differences(request.session, copy, page(path)))) == 1


def test_nbval_itself_notices_a_planted_change(tmp_path):
    cells = [nbformat.v4.new_code_cell(source, execution_count=1) for source in ("n = 21", "print(2 * n)", "print(n)")]
    for cell, text in zip(cells[1:], ("42\n", "21\n"), strict=True):
        cell.metadata["tags"] = [make.CHECKED]
        cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path / "small.ipynb")]
    failed = []
    for change in (lambda cell: None, plant):
        change(cells[1])
        nbformat.write(notebook, tmp_path / "small.ipynb")
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        failed.append(re.findall(r"^FAILED .*::(?:ipynb::)?Cell (\d+)", run.stdout, flags=re.M))
        assert "3 passed" in run.stdout or "1 failed, 2 passed" in run.stdout, run.stdout
    assert failed == [[], ["1"]]
