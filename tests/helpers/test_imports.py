"""The structure of the package: imports go one way, and no global random state is touched."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import helpers

ORDER = (
    ("checks", "files", "seeding"),
    ("datasets", "activations"),
    ("digits",),
    ("models", "losses", "kernel"),
    ("steps",),
    ("runs",),
    ("training",),
    ("metrics", "mappings", "vanishing", "perturbation"),
    ("sweeps", "digit_sweeps", "results", "statistics", "claim_statistics"),
    ("treatment", "spiral_features"),
    ("claims",),
    ("report",),
    ("__main__", "figures"),
    ("perturbation_figures",),
    ("controls",),
    ("explorers",),
    ("perturbation_explorer",),
)
RANK = {module: rank for rank, modules in enumerate(ORDER) for module in modules}
FILES = {path.stem: path for path in sorted(Path(helpers.__file__).parent.rglob("*.py"))}
MODULES = [name for name in FILES if name != "__init__"]


def imported(source):
    """Every module and name that the source imports, dotted, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = ".".join(filter(None, ["helpers", module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def rooms(source):
    """The modules of helpers that the source imports."""
    return {name.split(".")[1] for name in imported(source) if name.startswith("helpers.")}


def wrong_way(name, source):
    return {other for other in rooms(source) if RANK.get(other, len(ORDER)) > RANK[name]}


def test_there_are_modules():
    assert {"checks", "seeding", "datasets", "activations", "models", "training", "metrics"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_module_has_its_place_and_imports_only_earlier_ones(name):
    assert name in RANK
    assert wrong_way(name, FILES[name].read_text()) == set()


def test_no_circle():
    graph = {name: rooms(FILES[name].read_text()) for name in MODULES}
    assert set(TopologicalSorter(graph).static_order()) >= set(MODULES)


def test_package_itself_imports_no_module():
    assert rooms(FILES["__init__"].read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import helpers.metrics",
        "from helpers.metrics import accuracy",
        "from helpers import metrics",
        "from . import metrics",
        "from .metrics import accuracy",
        "def f():\n    from helpers.metrics import accuracy",
    ],
)
def test_wrong_way_is_seen(source):
    assert wrong_way("models", source) == {"metrics"}
    assert wrong_way("figures", source) == set()


@pytest.mark.parametrize("name", list(FILES))
def test_only_controls_and_explorers_import_ipywidgets(name):
    roots = {module.split(".")[0] for module in imported(FILES[name].read_text())}
    assert RANK.get(name, 0) >= RANK["controls"] or "ipywidgets" not in roots


# Random draws of torch that fall back on the global generator unless they are given one.
TORCH_DRAWS = {
    "bernoulli",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "randint",
    "randn",
    "randperm",
    "rand_like",
    "randint_like",
    "randn_like",
}
TENSOR_DRAWS = {
    "bernoulli_",
    "cauchy_",
    "exponential_",
    "geometric_",
    "log_normal_",
    "normal_",
    "random_",
    "uniform_",
}
TORCH_STATE = {
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "manual_seed_all",
    "seed",
    "seed_all",
    "set_rng_state",
}
NUMPY_LOCAL = {"BitGenerator", "Generator", "PCG64", "SeedSequence", "default_rng"}


def global_randomness(source):
    """Uses of a global random state: calls and names, with line numbers."""
    tree = ast.parse(source)
    alias = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                root = name.name.split(".")[0]
                alias[name.asname or root] = name.name if name.asname else root
        elif isinstance(node, ast.ImportFrom) and not node.level:
            alias |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}

    def dotted(node):
        if isinstance(node, ast.Name):
            return alias.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = dotted(node.value)
            return base and f"{base}.{node.attr}"
        return ""

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = names if isinstance(node, ast.Import) else [node.module or ""]
            if "random" in modules:
                found.append((node.lineno, "random"))
        if isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node)
            parts = name.split(".")
            if name.startswith("numpy.random.") and parts[2] not in NUMPY_LOCAL:
                found.append((node.lineno, name))
            if parts[0] == "torch" and parts[-1] in TORCH_STATE | {"fork_rng", "default_generator"}:
                found.append((node.lineno, name))
            if name.startswith("torch.nn.init."):
                found.append((node.lineno, name))
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            draws = (name.startswith("torch.") and name.split(".")[-1] in TORCH_DRAWS) or (method in TENSOR_DRAWS)
            if draws and "generator" not in {keyword.arg for keyword in node.keywords}:
                found.append((node.lineno, name or method))
    return found


@pytest.mark.parametrize("name", list(FILES))
def test_no_global_random_state(name):
    assert global_randomness(FILES[name].read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.manual_seed(0)",
        "from torch import manual_seed as s\ns(0)",
        "import torch as t\nt.cuda.manual_seed_all(0)",
        "import torch\ntorch.random.fork_rng()",
        "import torch\nstate = torch.get_rng_state()",
        "import torch\nx = torch.rand(3)",
        "import torch\nx = torch.empty(3).uniform_(-1, 1)",
        "from torch import nn\nnn.init.xavier_uniform_(w)",
        "import numpy as np\nnp.random.seed(0)",
        "import numpy as np\nx = np.random.rand(3)",
        "from numpy import random\nrandom.shuffle(x)",
        "from numpy.random import shuffle\nshuffle(x)",
        "import numpy.random as r\nr.seed(1)",
        "import random",
        "from random import choice",
    ],
)
def test_global_random_state_is_seen(source):
    assert global_randomness(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ng = torch.Generator().manual_seed(0)\nx = torch.rand(3, generator=g)",
        "import torch\nx = torch.empty(3).uniform_(-1, 1, generator=g)",
        "import numpy as np\nr = np.random.default_rng(0)\nr.shuffle(x)\nr.uniform(size=3)",
        "import numpy as np\nr: np.random.Generator",
    ],
)
def test_own_streams_are_allowed(source):
    assert global_randomness(source) == []
