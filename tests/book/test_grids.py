"""Grids: what they ask for, what makes a job another one, and which nonsense is refused before anything runs."""

import ast
import os
import re
from pathlib import Path

import execute
import grids
import nbformat
import pytest
import yaml
from execute import BuildError
from throwaway import write_notebook, write_project

PROJECT = Path(__file__).parents[2]
GRID = {"notebook": "one", "grid": {"n": [1, 2], "rate": [0.1, 0.2, 0.3]}}


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "project")


def plan(project, said):
    path = project / "my_grid.yaml"
    path.write_text(said if isinstance(said, str) else yaml.safe_dump(said, sort_keys=False))
    return grids.grid_plan(project, path)


def names(project, said=GRID):
    return [job.name for job in plan(project, said).jobs]


def test_grid_is_every_combination_in_the_order_of_its_file(project):
    planned = plan(project, GRID)
    assert [job.chosen for job in planned.jobs] == [{"n": n, "rate": rate} for n in (1, 2) for rate in (0.1, 0.2, 0.3)]
    assert planned.jobs[0].parameters == {"n": 1, "rate": 0.1, "names": ["a"]}
    assert planned.hours == 3
    assert len({job.name for job in planned.jobs}) == 6


def test_parameters_override_the_preset_which_overrides_the_defaults(project):
    said = {"preset": "large", "parameters": {"rate": 2.0}, "grid": {"names": [["a"], ["a", "b"]]}}
    (first, second) = plan(project, {"notebook": "notebooks/one.ipynb", **said}).jobs
    assert first.parameters == {"n": 21, "rate": 2.0, "names": ["a"]}
    assert second.parameters == {"n": 21, "rate": 2.0, "names": ["a", "b"]}


def test_combinations_are_taken_as_they_are_listed(project):
    listed = [{"n": 3, "rate": 0.1}, {"n": 1, "rate": 9.0}]
    assert [job.chosen for job in plan(project, {"notebook": "one", "combinations": listed}).jobs] == listed


def test_preset_has_a_job_for_each_chapter_that_saves_results(project):
    (job,) = grids.preset_plan(project, "large").jobs
    assert (job.chapter, job.parameters) == ("one", {"n": 21, "rate": 0.5, "names": ["a"]})


def test_quick_is_what_the_notebooks_declare(project):
    (job,) = grids.preset_plan(project, "quick").jobs
    assert job.parameters == {"n": 1, "rate": 0.5, "names": ["a"]}
    assert [page.parameters for page in grids.pages_plan(project, "quick", ["one", "prose"]).jobs] == [{}, {}]


def test_preset_with_a_misspelt_parameter_is_refused(project):
    (project / "notebooks/params/large/one.yaml").write_text("m: 3\n")
    with pytest.raises(BuildError, match=r"^large/one\.yaml: m is not a parameter of one; it takes n, rate, names\.$"):
        grids.preset_plan(project, "large")


def test_same_parameters_are_the_same_job_however_they_were_asked_for(project):
    (large,) = grids.preset_plan(project, "large").jobs
    assert names(project, {"notebook": "one", "grid": {"n": [20, 21]}})[1] == large.name


def test_page_is_another_job_than_its_results(project):
    (page,) = grids.pages_plan(project, "large", ["one"]).jobs
    (saved,) = grids.result_jobs(project, "one", page.parameters, [{}])
    assert page.name != saved.name


def test_key_survives_a_checkout_and_stored_outputs(project):
    before = names(project)
    for path in project.rglob("*"):
        os.utime(path, (0, 0))
    notebook = nbformat.read(project / "notebooks/one.ipynb", as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="7\n")]
    notebook.cells[2].execution_count = 3
    nbformat.write(notebook, project / "notebooks/one.ipynb")
    (project / "results/other.nc").write_text("another chapter's")
    (project / "notebooks/params/large/one.yaml").write_text("n: 22\n")
    assert names(project) == before


@pytest.mark.parametrize("changed", ["helpers/tiny.py", "helpers/new.cpp", "requirements.txt", "notebooks/one.ipynb"])
def test_every_key_follows_the_notebook_helpers_and_packages(project, changed):
    before = names(project)
    if changed.endswith("ipynb"):
        notebook = nbformat.read(project / changed, as_version=4)
        notebook.cells[2].source += "\n1"
        nbformat.write(notebook, project / changed)
    else:
        (project / changed).write_text("changed = 1\n")
    assert not set(before) & set(names(project))


def test_key_ends_with_the_results(project):
    path = project / "notebooks/one.ipynb"
    before = names(project)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("what follows the results", id="c9"))
    nbformat.write(notebook, path)
    assert names(project) == before


def test_a_value_more_leaves_the_other_jobs_alone(project):
    before = names(project)
    after = names(project, {**GRID, "grid": {"n": [1, 2, 3], "rate": [0.1, 0.2, 0.3]}})
    assert after[:6] == before
    assert len(set(after)) == 9


BAD = [
    ("notebook: [", r"my_grid.yaml must be YAML, but cannot be read: .*"),
    ("- n", r"my_grid.yaml: it must be names with values, got \['n'\]\."),
    (
        "notebook: one\ngird: {n: [1]}",
        r"gird is no part of a grid; it takes notebook, preset, parameters, grid, .*hours\.",
    ),
    ("grid: {n: [1]}", r"notebook must be one of one, prose, got None\."),
    ("notebook: 09_none\ngrid: {n: [1]}", r"notebook must be one of one, prose, got '09_none'\."),
    ("notebook: prose\ngrid: {n: [1]}", r"prose has no parameter save_results, so it writes no results to gather\."),
    ("notebook: one\npreset: huge\ngrid: {n: [1]}", r"There is no preset 'huge'; the presets are: quick, large\."),
    ("notebook: one\npreset:\ngrid: {n: [1]}", r"There is no preset None; the presets are: quick, large\."),
    ("notebook: one", r"must have either grid, .* or combinations\."),
    ("notebook: one\ngrid: {n: [1]}\ncombinations: [{n: 1}]", r"must have either grid, .* or combinations\."),
    ("notebook: one\ngrid: {}", r"must vary at least one parameter\."),
    ("notebook: one\ngrid: {n: []}", r"n must be a non-empty list of values without repetitions, got \[\]\."),
    ("notebook: one\ngrid: {n: 3}", r"n must be a non-empty list of values without repetitions, got 3\."),
    ("notebook: one\ngrid: {n: [3, 3]}", r"n must be a non-empty list of values without repetitions, got \[3, 3\]\."),
    ("notebook: one\ngrid: {m: [3]}", r"m is not a parameter of one; it takes n, rate, names\."),
    ("notebook: one\nparameters: {m: 3}\ngrid: {n: [3]}", r"m is not a parameter of one; it takes n, rate, names\."),
    ("notebook: one\ngrid: {n: [2.5]}", r"n must be a whole number, got 2\.5 \(float\)\."),
    ("notebook: one\ngrid: {n: [true]}", r"n must be a whole number, got True \(bool\)\."),
    ("notebook: one\ngrid: {rate: [1e-3]}", r"rate must be .*, got '1e-3' .* as text: in YAML .*0\.001\."),
    ("notebook: one\ngrid: {rate: [.nan]}", r"rate must be a finite number, got nan \(float\)\."),
    ("notebook: one\ngrid: {names: [a, b]}", r"names must be of type list, got 'a' \(str\)\."),
    ("notebook: one\ngrid: {names: [[2026-01-01]]}", r".*date is not JSON serializable"),
    (
        "notebook: one\ngrid:\n  n: [1, 2]\n  n: [3]",
        r"my_grid.yaml must be YAML, but cannot be read: n occurs twice .*",
    ),
    ("notebook: one\ngrid: {n: [1]}\ngrid: {n: [2]}", r"my_grid.yaml must be .*: grid occurs twice .*"),
    ("notebook: one\ngrid: {save_results: [true, false]}", r"save_results is set by every job itself; .*names\."),
    ("notebook: one\nparameters: {n: 1}\ngrid: {n: [2]}", r"n must stand under parameters or be varied, not both\."),
    ("notebook: one\ncombinations: [{n: 1}, {rate: 2.0}]", r"combinations\[1\] must have .* first one, n, got rate\."),
    ("notebook: one\ncombinations: []", r"combinations must be a non-empty list without repetitions, got \[\]\."),
    ("notebook: one\ncombinations: [3]", r"combinations\[0\] must be names with values, got 3\."),
    (
        "notebook: one\ngrid: {n: [1]}\njoin: {rate: seed}",
        r"join must give a dimension to parameters that grid varies.*",
    ),
    ("notebook: one\ngrid: {n: [1]}\nhours: 0", r"hours must be a finite number above 0 .*, got 0 \(int\)\."),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_bad_grid_is_refused_in_one_sentence(project, text, sentence):
    with pytest.raises(BuildError) as caught:
        plan(project, text)
    assert re.fullmatch(r"(my_grid.yaml:? )?" + sentence, str(caught.value)), str(caught.value)


def test_missing_grid_is_refused(project):
    with pytest.raises(BuildError, match=r"There is no file .*none\.yaml; a grid, .*, is a YAML file\."):
        grids.grid_plan(project, project / "none.yaml")


def test_types_come_from_annotations_or_else_from_defaults(project):
    write_notebook(
        project, 'n: int = 1\nword = "x"\nsave_results: bool = False\nresults_folder: str = ""', "%time print(n)"
    )
    with pytest.raises(BuildError, match="n must be a whole number"):
        plan(project, {"notebook": "one", "grid": {"n": ["two"]}})
    with pytest.raises(BuildError, match="word must be of type str, got 3"):
        plan(project, {"notebook": "one", "grid": {"word": [3]}})
    assert len(plan(project, {"notebook": "one", "grid": {"word": ["x", "y"]}}).jobs) == 2


def test_default_that_is_no_plain_value_is_named(project):
    write_notebook(project, "n: int = len('x')", "print(n)")
    with pytest.raises(BuildError, match=r"^one: the default of n must be a plain value, got len\('x'\)\.$"):
        plan(project, {"notebook": "one", "grid": {"n": [1]}})


CHAPTERS = [
    p for p in sorted((PROJECT / "notebooks").glob("*.ipynb")) if set(grids.OWN) <= set(grids.declared(PROJECT, p.stem))
]


def test_chapters_save_results():
    assert CHAPTERS


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_has_a_rule_for_each_of_its_parameters(path):
    (call,) = [
        node
        for cell in execute.read_notebook(path).cells
        if cell.cell_type == "code" and "check_parameters(" in cell.source
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check_parameters"
    ]
    assert [rule.arg for rule in call.keywords] == list(grids.declared(PROJECT, path.stem))


@pytest.mark.parametrize("preset", ["quick", "full", "paper"])
def test_presets_give_the_chapters_what_they_declare(preset):
    assert {job.chapter for job in grids.preset_plan(PROJECT, preset).jobs} == {path.stem for path in CHAPTERS}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_one_cell_of_every_chapter_writes_its_results(path):
    tagged = [c for c in execute.read_notebook(path).cells if execute.RESULTS in c.metadata.get("tags", [])]
    (cell,) = tagged
    assert "results.keep(" in cell.source


@pytest.mark.parametrize("path", sorted((PROJECT / "workflow/examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_sound(path):
    assert len(grids.grid_plan(PROJECT, path).jobs) > 1
