"""What `pip install` brings: the module whole, what it imports, and nothing else."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import helpers

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Where the name to install is not the name to import.
DISTRIBUTIONS = {"IPython": "ipython", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "PyYAML"}
# xarray imports it for us, where we name it as the engine.
ENGINES = {'engine="netcdf4"': "netCDF4"}
SHORT_NAMES = """\
from helpers.attacks import fgsm, bim, bim_as_coded, pgd
from helpers.datasets import spirals, load_digits, multivariate, LabelNoise
from helpers.models import Ensemble, ACTIVATIONS
from helpers.training import Training, train
from helpers.metrics import accuracy, weight_measures, collapsed_class
from helpers.robustness import verify, certified
from helpers.experiments import spiral_sweep
from helpers.evidence import claims, results, interval
"""


def names(requirements):
    """The distributions that requirements name, without versions."""
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}


def imported(source):
    """The distributions that a module needs, standard library and `helpers` aside."""
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
    needed = {DISTRIBUTIONS.get(root, root) for root in roots - set(sys.stdlib_module_names) - {"helpers"}}
    return needed | {distribution for text, distribution in ENGINES.items() if text in source}


def test_dependencies_are_what_the_module_imports():
    needed = set().union(*(imported(path.read_text()) for path in (ROOT / "helpers").rglob("*.py")))
    assert needed == names(PROJECT["dependencies"])


@pytest.mark.parametrize(
    ("source", "needed"),
    [
        ("import yaml", {"PyYAML"}),
        ("def f():\n    from sklearn.datasets import load_digits", {"scikit-learn"}),
        ("import json\nfrom helpers import checks", set()),
        ('table.to_netcdf(path, engine="netcdf4")', {"netCDF4"}),
    ],
)
def test_import_is_seen_wherever_it_is(source, needed):
    assert imported(source) == needed


def pins(file):
    """The releases that a file names, each exactly, without a word on where they come from."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    lines = [line for line in lines if line and line != "-c constraints.txt"]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    return names(lines)


def test_requirements_pin_the_module_and_its_extras():
    extras = PROJECT["optional-dependencies"]
    # make env installs a compiler only where there is none
    fresh = [extra for name, extra in extras.items() if name != "compiler"]
    assert pins("requirements.txt") == names(PROJECT["dependencies"]).union(*map(names, fresh))
    assert pins("constraints.txt").isdisjoint(pins("requirements.txt"))
    assert pins("constraints.txt") >= names(extras["compiler"])


def test_every_dependency_has_its_reason():
    reasons = (ROOT / "CONTRIBUTING.md").read_text().partition("**Dependencies**")[2]
    named = names(PROJECT["dependencies"]).union(*map(names, PROJECT["optional-dependencies"].values()))
    assert {name for name in named if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", reasons)} == set()


def test_citation_names_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == helpers.__version__


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what the wheel installs, built without a network by the setuptools that is here."""
    source, wheels, folder = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "installed"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "helpers", "tests", "workflow"):
        os.symlink(ROOT / name, source / name)
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, wheels], cwd=source, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def python(folder, *arguments):
    """Run Python in an empty folder with what was installed, and no checkout in sight."""
    nowhere = folder / "nowhere"
    nowhere.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=nowhere, env=environment, capture_output=True, text=True)


def test_wheel_holds_the_module_and_its_data_and_nothing_else(installed):
    files = {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()}
    wanted = {p.relative_to(ROOT) for p in (ROOT / "helpers").rglob("*") if p.suffix in (".py", ".cpp", ".yaml")}
    module = {file for file in files if file.parts[0] == "helpers"}
    assert module == wanted | {Path("helpers/py.typed")}
    (metadata,) = {file.parts[0] for file in files - module}
    assert metadata == f"activation_book-{helpers.__version__}.dist-info"


def test_short_names_work_from_an_empty_folder(installed):
    run = python(installed, "-c", f"{SHORT_NAMES}\nimport helpers\nprint(helpers.__file__, len(claims.load_claims()))")
    file, n_claims = run.stdout.split()
    assert Path(file) == installed / "helpers/__init__.py", run.stderr
    assert int(n_claims) > 10


def test_claims_ask_for_results_where_there_are_none(installed):
    run = python(installed, "-m", "helpers", "claims")
    assert run.returncode == 2
    assert "--results must be given" in run.stderr.splitlines()[-1]
    told = python(installed, "-m", "helpers", "claims", "--results", str(ROOT / "results"))
    assert told.returncode == 0, told.stderr
    assert "T01" in told.stdout
