"""Read what to compute, a preset or a user's grid, into a list of jobs; refuse nonsense before anything runs.

A grid is one YAML file. It names a notebook and gives its parameters values:

    notebook: 01_weight_norms
    preset: full                          # optional: where parameters start from; else the notebook's own defaults
    parameters: {n_networks: 5}           # optional: the same for every job
    grid:                                 # every combination of these
      learning_rate: [0.0003, 0.001, 0.003]
      first_seed: [0, 5, 10, 15]
    join: {first_seed: seed}              # optional: first_seed is no dimension of its own, it goes on along seed
    hours: 3                              # optional: time limit of a job

Instead of ``grid`` it may have ``combinations``, a list of such values: ``[{epochs: 10, width: 50}, ...]``.
"""

import ast
import hashlib
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))  # notebooks are executed there

import execute
from execute import BuildError
from jobs import Job

from helpers.checks import Flag, Integer, Real, Rule
from helpers.files import read_yaml

QUICK = "quick"
"""The preset that is the notebooks' own defaults; the others are folders below notebooks/params."""

OWN = ("save_results", "results_folder")
"""Parameters that every job sets itself; a notebook that lacks one of them writes no results."""

RULES: Mapping[str, Rule] = {"bool": Flag(), "int": Integer(), "float": Real()}
TYPES: Mapping[str, type] = {"str": str, "list": list, "dict": dict}
"""What is known of a parameter by its annotation; its own rule is applied by the notebook."""

QUICK_HOURS, LONG_HOURS, MOST_HOURS = 1 / 6, 3.0, 24 * 28.0
"""Hours that a page with the defaults may take, that any other job may take, and that a grid may allow."""


@dataclass(frozen=True)
class Plan:
    """All jobs of one run.

    Attributes:
        name: of the preset or grid, fit for a file.
        title: the same in words.
        jobs: what to execute.
        hours: time limit of each job.
        grid: the grid file, if it is one.
        described: what the grid file says.
    """

    name: str
    title: str
    jobs: Sequence[Job]
    hours: float
    grid: Path | None = None
    described: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parameter:
    """What a notebook declares of a parameter: the name of its type, and its default."""

    kind: str
    default: Any


def chapter_names(root: Path) -> list[str]:
    """Names of the notebooks in the table of contents, in reading order."""
    toc = read_mapping(root / "book/_toc.yml")
    groups = [toc, *toc.get("parts", [])]
    files = [entry["file"] for group in groups for entry in group.get("chapters", [])]
    return [file.removeprefix("notebooks/") for file in files if file.startswith("notebooks/")]


def pages_plan(root: Path, preset: str, chapters: Sequence[str]) -> Plan:
    """The chapters' pages: each notebook executed whole, with the parameters of a preset."""
    jobs = []
    for chapter in chapters:
        given = preset_parameters(root, chapter, preset)
        jobs.append(Job(chapter, True, given, execute.sources_hash(root, chapter, whole=True)))
    hours = QUICK_HOURS if preset == QUICK else LONG_HOURS
    return Plan(f"book-{preset}", f"the book with the preset {preset}", jobs, hours)


def preset_plan(root: Path, preset: str) -> Plan:
    """One job for each chapter that can save results, with the parameters of a preset."""
    jobs = []
    for chapter in chapter_names(root):
        known = declared(root, chapter)
        if set(OWN) <= set(known):
            given = preset_parameters(root, chapter, preset)
            check(f"{preset}/{chapter}.yaml", chapter, given, known)
            jobs += result_jobs(root, chapter, {**defaults(known), **given}, [{}])
    return Plan(f"preset-{preset}", f"the preset {preset}", jobs, LONG_HOURS)


def result_jobs(
    root: Path, chapter: str, parameters: Mapping[str, Any], combinations: Sequence[Mapping[str, Any]]
) -> list[Job]:
    """One job for each combination of values on top of the other parameters."""
    sources = execute.sources_hash(root, chapter, whole=False)
    given = {name: value for name, value in parameters.items() if name not in OWN}
    return [Job(chapter, False, {**given, **chosen}, sources, chosen) for chosen in combinations]


def preset_parameters(root: Path, chapter: str, preset: Any) -> dict[str, Any]:
    """The parameters that a preset gives a chapter, or a `BuildError` that names the presets there are."""
    if preset == QUICK:
        return {}
    presets = [QUICK, *sorted(p.name for p in (root / "notebooks/params").glob("*") if p.is_dir())]
    if preset not in presets:
        raise BuildError(f"There is no preset {preset!r}; the presets are: {', '.join(presets)}.")
    return read_mapping(root / "notebooks/params" / preset / f"{chapter}.yaml")


def grid_plan(root: Path, path: Path) -> Plan:
    """The jobs of a user's grid.

    Raises:
        BuildError: the grid is not one, or asks for what its notebook does not know.
    """
    said = read_mapping(path)
    known = ("notebook", "preset", "parameters", "grid", "combinations", "join", "hours")
    for name in said:
        if name not in known:
            raise BuildError(f"{path.name}: {name} is no part of a grid; it takes {', '.join(known)}.")
    chapter = chapter_named(root, path, said.get("notebook"))
    parameters = declared(root, chapter)
    for name in OWN:
        if name not in parameters:
            raise BuildError(f"{path.name}: {chapter} has no parameter {name}, so it writes no results to gather.")
    start = preset_parameters(root, chapter, said.get("preset", QUICK))
    fixed = mapping(path, "parameters", said.get("parameters", {}))
    combinations = read_combinations(path, said)
    for name in combinations[0]:
        if name in fixed:
            raise BuildError(f"{path.name}: {name} must stand under parameters or be varied, not both.")
    for values in [fixed, *combinations]:
        check(path.name, chapter, values, parameters, own=OWN)
    join = mapping(path, "join", said.get("join", {}))
    for name, dimension in join.items():
        if name not in said.get("grid", {}) or not isinstance(dimension, str):
            raise BuildError(
                f"{path.name}: join must give a dimension to parameters that grid varies, got {name}: {dimension!r}."
            )
    try:
        hours = Real(above=0, at_most=MOST_HOURS)("hours", said.get("hours", LONG_HOURS))
    except (TypeError, ValueError) as error:
        raise BuildError(f"{path.name}: {error}") from None
    jobs = result_jobs(root, chapter, {**defaults(parameters), **start, **fixed}, combinations)
    where = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    return Plan(f"grid-{path.stem}-{where}", f"the grid {path.name}", jobs, hours, path.resolve(), said)


def read_mapping(path: Path) -> dict[str, Any]:
    """What a YAML file says, which must be names with values."""
    if not path.is_file():
        raise BuildError(f"There is no file {path}; a grid, and each chapter's part of a preset, is a YAML file.")
    try:
        said = read_yaml(path)
    except ValueError as error:
        raise BuildError(str(error)) from None
    return mapping(path, "it", {} if said is None else said)


def mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    """Return the value if it is names with values."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BuildError(f"{path.name}: {name} must be names with values, got {value!r}.")
    return value


def chapter_named(root: Path, path: Path, notebook: Any) -> str:
    """The chapter that a grid names, with or without its folder and ending."""
    there = sorted(p.stem for p in (root / "notebooks").glob("*.ipynb"))
    named = notebook.removeprefix("notebooks/").removesuffix(".ipynb") if isinstance(notebook, str) else notebook
    if named not in there:
        raise BuildError(f"{path.name}: notebook must be one of {', '.join(there)}, got {notebook!r}.")
    return str(named)


def read_combinations(path: Path, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The values that a grid varies, one dictionary for each job."""
    if ("grid" in said) == ("combinations" in said):
        raise BuildError(f"{path.name} must have either grid, parameters with lists of values, or combinations.")
    if "grid" in said:
        values = mapping(path, "grid", said["grid"])
        for name, choices in values.items():
            if not isinstance(choices, list) or not choices or repeated(choices):
                raise BuildError(
                    f"{path.name}: {name} must be a non-empty list of values without repetitions, got {choices!r}."
                )
        combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    else:
        listed = said["combinations"]
        if not isinstance(listed, list) or not listed or repeated(listed):
            raise BuildError(f"{path.name}: combinations must be a non-empty list without repetitions, got {listed!r}.")
        combinations = [mapping(path, f"combinations[{k}]", chosen) for k, chosen in enumerate(listed)]
        for k, chosen in enumerate(combinations):
            if set(chosen) != set(combinations[0]):
                raise BuildError(
                    f"{path.name}: combinations[{k}] must have the parameters of the first one, "
                    f"{', '.join(combinations[0])}, got {', '.join(chosen)}."
                )
    if not combinations[0]:
        raise BuildError(f"{path.name} must vary at least one parameter.")
    return combinations


def repeated(values: Sequence[Any]) -> bool:
    """Whether a value occurs twice."""
    as_text = [json.dumps(value, sort_keys=True, default=str) for value in values]
    return len(set(as_text)) < len(as_text)


def check(
    file: str, chapter: str, given: Mapping[str, Any], known: Mapping[str, Parameter], own: Sequence[str] = ()
) -> None:
    """Refuse names that a notebook does not declare, and values of another type than it declares."""
    free = ", ".join(name for name in known if name not in OWN)
    for name, value in given.items():
        if name in own:
            raise BuildError(f"{file}: {name} is set by every job itself; a grid takes {free}.")
        if name not in known:
            raise BuildError(f"{file}: {name} is not a parameter of {chapter}; it takes {free}.")
        kind = known[name].kind
        try:
            if kind in RULES:
                RULES[kind](name, value)
            elif not isinstance(value, TYPES.get(kind, object)):
                raise TypeError(f"{name} must be of type {kind}, got {value!r} ({type(value).__name__}).")
            json.dumps(value)  # YAML knows dates, notebooks' parameters do not
        except (TypeError, ValueError) as error:
            raise BuildError(f"{file}: {error}") from None


def declared(root: Path, chapter: str) -> dict[str, Parameter]:
    """The parameters a notebook declares, as papermill reads them."""
    import papermill  # not above: half a second that a book which is up to date can do without

    found = papermill.inspect_notebook(execute.as_it_is(execute.notebook_path(root, chapter)))
    parameters = {}
    for name, facts in found.items():
        try:
            default = ast.literal_eval(facts["default"])
        except (ValueError, SyntaxError):
            raise BuildError(
                f"{chapter}: the default of {name} must be a plain value, got {facts['default']}."
            ) from None
        kind = facts["inferred_type_name"].partition("[")[0]
        parameters[name] = Parameter(type(default).__name__ if kind == "None" else kind, default)
    return parameters


def defaults(known: Mapping[str, Parameter]) -> dict[str, Any]:
    """The parameters' own values."""
    return {name: parameter.default for name, parameter in known.items()}
