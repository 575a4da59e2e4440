"""Read what to compute, a preset or a user's grid, into a list of jobs; refuse nonsense before anything runs.

A grid is one YAML file. It names a notebook and gives its parameters values:

    notebook: 01_weight_norms
    preset: quick                         # optional: where parameters start from; else the notebook's own defaults
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import execute
import make
import yaml
from execute import BuildError

from helpers.checks import Flag, Integer, Real, Rule

OWN = ("save_results", "results_folder")
"""Parameters that every job sets itself; a notebook that lacks one of them writes no results."""

BY_TYPE: Mapping[type, Rule] = {bool: Flag(), int: Integer(), float: Real()}
LONGEST = 24 * 28.0


@dataclass(frozen=True)
class Job:
    """One execution of a notebook.

    Attributes:
        chapter: name of the notebook without its ending.
        parameters: all parameters but those of `OWN`.
        chosen: those that a grid varies, in its order.
        key: hash of everything the result depends on.
    """

    chapter: str
    parameters: Mapping[str, Any]
    chosen: Mapping[str, Any]
    key: str

    @property
    def name(self) -> str:
        """Unique among all jobs, and fit for a file."""
        return f"{self.chapter}-{self.key[:16]}"

    @property
    def title(self) -> str:
        """The job in words: its notebook, and the parameters that tell it from the others."""
        return ", ".join([self.chapter, *(f"{name} = {json.dumps(value)}" for name, value in self.chosen.items())])


@dataclass(frozen=True)
class Plan:
    """All jobs of one run.

    Attributes:
        name: of the preset or grid, fit for a folder.
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


def preset_plan(root: Path, preset: str) -> Plan:
    """One job for each chapter that can save results, with the parameters of a preset.

    Raises:
        BuildError: there is no such preset.
    """
    jobs = []
    for chapter in make.chapter_names(root):
        defaults = declared(root, chapter)
        values = read_yaml(execute.parameter_file(root, chapter, preset), root)
        if set(OWN) <= set(defaults):
            jobs.append(make_job(root, chapter, {**defaults, **values}, {"preset": preset}))
    return Plan(f"preset-{preset}", f"the preset {preset}", jobs, make.LONG_LIMIT / 3600)


def grid_plan(root: Path, path: Path) -> Plan:
    """One job for each combination of the values of a grid file.

    Raises:
        BuildError: the file is no sound grid; the text is one sentence that names what is wrong and what is allowed.
    """
    if not path.is_file():
        raise BuildError(f"There is no grid {path}; GRID must be the path of a YAML file.")
    said = read_yaml(path, path.parent)
    known = ("notebook", "preset", "parameters", "grid", "combinations", "join", "hours")
    if unknown := [name for name in said if name not in known]:
        raise BuildError(f"{path.name}: {unknown[0]} is no part of a grid; it takes {', '.join(known)}.")
    chapter = chapter_named(root, path, said.get("notebook"))
    defaults = declared(root, chapter)
    if missing := [name for name in OWN if name not in defaults]:
        raise BuildError(f"{path.name}: {chapter} has no parameter {missing[0]}, so it writes no results to gather.")
    rules = declared_rules(root, chapter)
    start = read_yaml(execute.parameter_file(root, chapter, said["preset"]), root) if "preset" in said else {}
    fixed = mapping(path, "parameters", said.get("parameters", {}))
    combinations = read_combinations(path, said)
    for name, value in [*fixed.items(), *(item for one in combinations for item in one.items())]:
        check(path, chapter, name, value, defaults, rules)
    if doubled := [name for name in combinations[0] if name in fixed]:
        raise BuildError(f"{path.name}: {doubled[0]} must stand under parameters or be varied, not both.")
    join = mapping(path, "join", said.get("join", {}))
    for name, dimension in join.items():
        if name not in said.get("grid", {}) or not isinstance(dimension, str):
            raise BuildError(
                f"{path.name}: join must give a dimension to parameters that grid varies, got {name}: {dimension!r}."
            )
    try:
        hours = Real(above=0, at_most=LONGEST)("hours", said.get("hours", make.LONG_LIMIT / 3600))
    except (TypeError, ValueError) as error:
        raise BuildError(f"{path.name}: {error}") from None
    jobs = [make_job(root, chapter, {**defaults, **start, **fixed, **one}, one) for one in combinations]
    where = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    return Plan(f"grid-{path.stem}-{where}", f"the grid {path.name}", jobs, hours, path.resolve(), said)


def make_job(root: Path, chapter: str, parameters: Mapping[str, Any], chosen: Mapping[str, Any]) -> Job:
    """A job with its key."""
    values = {name: value for name, value in parameters.items() if name not in OWN}
    return Job(chapter, values, chosen, execute.content_key(root, chapter, values, whole=False))


def read_yaml(path: Path, root: Path) -> dict[str, Any]:
    """What a YAML file says, which must be names with values."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise BuildError(f"{path.relative_to(root)} must be YAML, but cannot be read: {reason}.") from None
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
        found = [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]
    else:
        listed = said["combinations"]
        if not isinstance(listed, list) or not listed or repeated(listed):
            raise BuildError(f"{path.name}: combinations must be a non-empty list without repetitions, got {listed!r}.")
        found = [mapping(path, f"combinations[{k}]", one) for k, one in enumerate(listed)]
        for k, one in enumerate(found):
            if set(one) != set(found[0]):
                raise BuildError(
                    f"{path.name}: combinations[{k}] must have the parameters of the first one, "
                    f"{', '.join(found[0])}, got {', '.join(one)}."
                )
    if not found[0]:
        raise BuildError(f"{path.name} must vary at least one parameter.")
    return found


def repeated(values: Sequence[Any]) -> bool:
    """Whether a value occurs twice."""
    as_text = [json.dumps(value, sort_keys=True, default=str) for value in values]
    return len(set(as_text)) < len(as_text)


def check(
    path: Path, chapter: str, name: str, value: Any, defaults: Mapping[str, Any], rules: Mapping[str, Rule]
) -> None:
    """Refuse a value that the notebook would refuse, in the notebook's own words."""
    free = [other for other in defaults if other not in OWN]
    if name in OWN:
        raise BuildError(f"{path.name}: {name} is set by every job itself; a grid takes {', '.join(free)}.")
    if name not in defaults:
        raise BuildError(f"{path.name}: {name} is not a parameter of {chapter}; it takes {', '.join(free)}.")
    kind = type(defaults[name])
    rule = rules.get(name) or BY_TYPE.get(kind)
    try:
        if rule:
            rule(name, value)
        elif not isinstance(value, kind):
            raise TypeError(f"{name} must be of type {kind.__name__}, got {value!r} ({type(value).__name__}).")
    except (TypeError, ValueError) as error:
        raise BuildError(f"{path.name}: {error}") from None


def code_cells(root: Path, chapter: str) -> list[Any]:
    """The code cells of a notebook."""
    return [c for c in execute.read_notebook(root / "notebooks" / f"{chapter}.ipynb").cells if c.cell_type == "code"]


def declared(root: Path, chapter: str) -> dict[str, Any]:
    """The parameters a notebook declares, with their default values."""
    tagged = [c.source for c in code_cells(root, chapter) if "parameters" in c.metadata.get("tags", [])]
    pairs = make.assigned(tagged[0]) if tagged else {}
    return {name: ast.literal_eval(code) for name, code in pairs.items()}


def declared_rules(root: Path, chapter: str) -> dict[str, Rule]:
    """The rules that a notebook hands to ``check_parameters``; none where they are made of more than imported names."""
    imports: list[ast.stmt] = []
    for cell in code_cells(root, chapter):
        try:
            body = ast.parse(cell.source).body
        except SyntaxError:  # a cell with a magic command
            continue
        imports += [node for node in body if isinstance(node, ast.ImportFrom) and not node.level]
        for node in body:
            match node:
                case ast.Expr(value=ast.Call(func=ast.Name(id="check_parameters"), keywords=given)):
                    return evaluated(imports, {k.arg: k.value for k in given if k.arg})
    return {}


def evaluated(imports: Sequence[ast.stmt], expressions: Mapping[str, ast.expr]) -> dict[str, Rule]:
    """Evaluate expressions after those imports that give them their names."""
    names = {n.id for e in expressions.values() for n in ast.walk(e) if isinstance(n, ast.Name)}
    needed = [i for i in imports if isinstance(i, ast.ImportFrom) and names & {a.asname or a.name for a in i.names}]
    space: dict[str, Any] = {}
    try:
        exec(compile(ast.Module([*needed], []), "imports", "exec"), space)
        return {name: eval(compile(ast.Expression(e), name, "eval"), space) for name, e in expressions.items()}
    except (NameError, ImportError):
        return {}
