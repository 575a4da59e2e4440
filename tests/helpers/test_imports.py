"""The structure of the package: imports go one way, and no global random state is touched."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import helpers

# The package says in which order data flows through its rooms; those of one step do not know one another.
FLOW = next(line for line in helpers.__doc__.splitlines() if line.strip().startswith("ground |"))
RANK = {room: rank for rank, step in enumerate(FLOW.split("|")) for room in step.split()}
FOLDER = Path(helpers.__file__).parent
FILES = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in sorted(FOLDER.rglob("*.py"))}
MODULES = [name for name in FILES if name.split(".")[-1] not in ("__init__", "__main__")]


def imported(source):
    """Every module and name that the source imports, dotted, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the module in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def neighbours(source):
    """The modules of helpers that the source imports, dotted from there."""
    names = {name.removeprefix("helpers.") for name in imported(source) if name.startswith("helpers.")}
    return {name if name in FILES else name.rpartition(".")[0] or name for name in names}


def room(module):
    return module.split(".")[0] if "." in module else "ground"


def wrong_way(module, source):
    """Imports from a later room, or from another room of the same step."""
    here = room(module)
    return {other for other in neighbours(source) if here != room(other) and RANK[room(other)] >= RANK[here]}


def test_every_room_has_its_place():
    assert {room(module) for module in MODULES} == set(RANK)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    assert wrong_way(module, FILES[module].read_text()) == set()


def test_no_circle():
    graph = {module: neighbours(FILES[module].read_text()) for module in MODULES}
    assert set(TopologicalSorter(graph).static_order()) >= set(MODULES)


def test_package_itself_imports_no_module():
    assert neighbours(FILES["__init__"].read_text()) == set()


@pytest.mark.parametrize("name", list(FILES))
def test_a_module_is_read_in_one_sitting(name):
    assert len(FILES[name].read_text().splitlines()) <= 330


def defined(source):
    """The public functions, classes and constants that a module defines."""
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def test_no_public_name_has_two_meanings():
    homes = defaultdict(list)
    for module in MODULES:
        for name in set(defined(FILES[module].read_text())):
            homes[name].append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import helpers.metrics.weights",
        "from helpers.metrics.weights import weight_measures",
        "from helpers.metrics import weights",
        "def f():\n    from helpers.metrics.weights import weight_measures",
    ],
)
def test_wrong_way_is_seen(source):
    assert wrong_way("models.ensemble", source) == {"metrics.weights"}
    assert wrong_way("training.train", source) == {"metrics.weights"}
    assert wrong_way("figures.plots", source) == set()


@pytest.mark.parametrize("name", list(FILES))
def test_only_explorers_import_ipywidgets(name):
    roots = {module.split(".")[0] for module in imported(FILES[name].read_text())}
    assert room(name) == "explorers" or "ipywidgets" not in roots


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
