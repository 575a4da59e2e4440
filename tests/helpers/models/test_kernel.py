"""The kernel is built once, found again, and done without where it cannot be built."""

import importlib
import shlex
import sys
import warnings
from importlib.util import find_spec
from typing import get_args

import pytest
import torch

from helpers.models import kernel
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import OUTPUTS, Ensemble
from helpers.models.losses import LOSSES
from helpers.training.protocol import OptimiserName, Training
from helpers.training.train import train


def compiler():
    try:
        return list(kernel._compiler())
    except FileNotFoundError:
        return None


COMPILER = compiler()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler was found")


def one_run(**options):
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    return train(Ensemble([2, 5, 2], ["tanh"], [0]), x, (x[:, 0] > 0).long(), Training(epochs=2), **options)


def test_names_are_those_of_the_registries():
    assert set(kernel.ACTIVATION_CODES) == set(ACTIVATIONS)
    assert set(kernel.LOSS_CODES) == set(LOSSES)
    assert kernel.OUTPUT_CODES == OUTPUTS
    assert get_args(OptimiserName) == kernel.OPTIMISER_CODES


def test_names_are_in_the_order_of_the_source():
    source = kernel.SOURCE.read_text()
    for enumeration, names in (
        ("Activation", kernel.ACTIVATION_CODES),
        ("Loss", kernel.LOSS_CODES),
        ("Optimiser", kernel.OPTIMISER_CODES),
        ("Output", kernel.OUTPUT_CODES),
    ):
        listed = source.split(f"enum {enumeration} {{")[1].split("}")[0]
        assert [name.strip().lower() for name in listed.split(",")] == list(names)


@needs_compiler
def test_kernel_is_built_once_and_kept(fresh, monkeypatch):
    assert kernel.library() is not None
    (built,) = fresh.iterdir()
    made = built.stat().st_mtime_ns
    kernel.library.cache_clear()
    commands = []
    run = kernel._run
    monkeypatch.setattr(kernel, "_run", lambda *command: commands.append(command) or run(*command))
    assert kernel.library() is not None
    assert [built] == list(fresh.iterdir())
    assert built.stat().st_mtime_ns == made
    assert not any("-o" in command for command in commands)


@needs_compiler
def test_compiler_may_be_a_command_of_several_words(fresh, tmp_path_factory, monkeypatch):
    called = tmp_path_factory.mktemp("compiler") / "called with spaces.py"
    called.write_text(f"import os, sys; os.execvp({COMPILER[0]!r}, {COMPILER} + sys.argv[1:])")
    assert kernel.library() is not None
    kernel.library.cache_clear()
    monkeypatch.setenv("CXX", shlex.join([sys.executable, str(called)]))
    assert kernel.library() is not None
    assert len(list(fresh.iterdir())) == 2


def test_zig_is_the_compiler_where_there_is_no_other(tmp_path, monkeypatch):
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delenv("CXX", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(kernel.shutil, "which", lambda name: name)
        assert kernel._compiler() == ["c++"]
    monkeypatch.setattr(kernel, "COMPILERS", ())
    assert kernel._compiler() == kernel.ZIG


@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang is not installed, a compiler for those without")
def test_zig_builds_a_kernel_that_trains_the_same(fresh, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(kernel, "COMPILERS", ())
    assert kernel.library() is not None
    assert torch.allclose(one_run().loss, one_run(compiled=False).loss, rtol=1e-5)


@needs_compiler
def test_changed_source_is_built_anew(fresh, tmp_path_factory, monkeypatch):
    assert kernel.library() is not None
    other = tmp_path_factory.mktemp("source") / "kernel.cpp"
    other.write_text(kernel.SOURCE.read_text() + "\n// changed\n")
    monkeypatch.setattr(kernel, "SOURCE", other)
    kernel.library.cache_clear()
    assert kernel.library() is not None
    assert len(list(fresh.iterdir())) == 2


def test_no_compiler_is_said_once(fresh, monkeypatch):
    monkeypatch.setattr(kernel.shutil, "which", lambda _: None)
    monkeypatch.setattr(kernel, "find_spec", lambda _: None)
    with pytest.warns(RuntimeWarning, match=r"plain PyTorch.*no C\+\+ compiler was found"):
        first = one_run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = one_run()
    assert torch.equal(first.loss, second.loss)


@needs_compiler
def test_source_that_does_not_compile_is_said(fresh, tmp_path_factory, monkeypatch):
    broken = tmp_path_factory.mktemp("source") / "kernel.cpp"
    broken.write_text("this is not C++")
    monkeypatch.setattr(kernel, "SOURCE", broken)
    with pytest.warns(RuntimeWarning, match="plain PyTorch.*error"):
        assert kernel.library() is None
    assert list(fresh.iterdir()) == []


@needs_compiler
def test_compiled_code_is_used_where_it_may_be(monkeypatch):
    calls = []
    inner = kernel.train_network
    monkeypatch.setattr(kernel, "train_network", lambda *a: calls.append(a) or inner(*a))
    one_run()
    assert calls
    calls.clear()
    one_run(compiled=False)
    x = torch.zeros(4, 2).double()
    train(Ensemble([2, 5, 2], ["tanh"], [0]).double(), x, torch.zeros(4, dtype=torch.int64), Training(epochs=1))
    assert not calls
