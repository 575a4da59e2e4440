"""The compiled way to train and to differentiate by inputs: kernel.cpp, built once for this machine and kept.

A machine without a C++ compiler does both in plain PyTorch (`helpers.training.steps`, `helpers.models.gradients`); the
package `ziglang` is such a compiler, too, for those who have no other.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from helpers.files import replacing

SOURCE = Path(__file__).with_name("kernel.cpp")
COMPILERS = ("c++", "g++", "clang++")
ZIG = (sys.executable, "-m", "ziglang", "c++")
# No flag that changes results: -ffast-math would reorder sums and forget about NaN, which marks divergence.
NATIVE = "-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native"
SUFFIX = {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")
FLAGS = ("-std=c++17", "-O3", NATIVE, "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")

# Names in the order of the enumerations in kernel.cpp, so that a name's place is its number there.
ACTIVATION_CODES = ("tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "softsign", "sigmoid", "abs")
LOSS_CODES = ("cross_entropy", "binary_cross_entropy", "squared_error", "margin")
OPTIMISER_CODES = ("adam", "sgd")
OUTPUT_CODES = ("linear", "activated", "negated")


class TrainingProtocol(ctypes.Structure):
    """How to train one network; the same fields in the same order as in kernel.cpp."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("activation", "loss", "optimiser", "output", "output_bias")),
        *(
            (name, ctypes.c_float)
            for name in ("learning_rate", "momentum", "second_momentum", "epsilon", "weight_decay")
        ),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernel, building it where it is not there yet; None, after a warning, where it can't be.

    The environment variable ``CXX`` may name the compiler. The first build by ``ziglang`` takes about a minute, because
    it builds the C++ library as well.
    """
    try:
        loaded = ctypes.CDLL(str(_build()))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        warnings.warn(
            f"Training and attacks run in plain PyTorch, at a fraction of the speed: {reason}", RuntimeWarning, 2
        )
        return None
    loaded.train_network.restype = ctypes.c_int64
    loaded.differentiate_inputs.restype = None
    return loaded


def _compiler() -> Sequence[str]:
    for command in (os.environ.get("CXX", ""), *COMPILERS):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    if find_spec("ziglang"):
        return ZIG
    raise FileNotFoundError("no C++ compiler was found (pip install ziglang brings one).")


def _build() -> Path:
    compiler = _compiler()
    # The macros tell the compiler's version and the processor's instructions, so that a cache shared by different
    # machines never hands out code that one of them cannot run.
    macros = _run(*compiler, *FLAGS, "-dM", "-E", "-x", "c++", os.devnull)
    made_from = [*compiler, *FLAGS, macros, SOURCE.read_text(encoding="utf-8")]
    key = hashlib.sha256("\0".join(made_from).encode()).hexdigest()
    built = user_cache_path("activation-book", ensure_exists=True) / f"kernel-{key[:16]}{SUFFIX}"
    if not built.is_file():
        with replacing("built", built) as fresh:
            _run(*compiler, *FLAGS, "-o", str(fresh), str(SOURCE))
    return built


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def train_network(
    protocol: TrainingProtocol,
    layer_sizes: Sequence[int],
    x: Tensor,
    y: Tensor,
    order: Tensor,
    batch_size: int,
    step: int,
    state: tuple[Tensor, Tensor, Tensor],
    loss: Tensor,
) -> int:
    """Train one network for some epochs, in place.

    Other threads run on meanwhile: calls into C leave Python's lock.

    Args:
        protocol: how to train.
        layer_sizes: neurons in each layer.
        x: points, ``[n_points, n_in]``, float32 as all but the order.
        y: targets, ``[n_points, n_targets]``; classes in one column.
        order: of the points in each epoch, ``[n_epochs, n_points]``, int64.
        batch_size: points a step.
        step: steps taken before.
        state: the network's numbers and their first and second moments, each ``[n_parameters]``.
        loss: filled with the mean loss of each finished epoch, ``[n_epochs]``.

    Returns:
        The number of epochs finished with finite losses.
    """
    for tensor in (x, y, order, *state, loss):
        assert tensor.is_contiguous()
        assert tensor.dtype == (torch.int64 if tensor is order else torch.float32)
    kernel = library()
    assert kernel is not None
    sizes = (ctypes.c_int64 * len(layer_sizes))(*layer_sizes)
    numbers = [ctypes.c_int64(n) for n in (len(layer_sizes) - 1, len(x), y.shape[1], len(order), batch_size, step)]
    n_layers, n_points, n_targets, n_epochs, batch, steps = numbers
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, y, order, *state, loss)]
    return int(
        kernel.train_network(
            ctypes.byref(protocol), n_layers, sizes, n_points, n_targets, *pointers[:2], n_epochs, pointers[2],
            batch, steps, *pointers[3:],
        )
    )  # fmt: skip


def differentiate_inputs(
    loss: str,
    output: str,
    activations: Sequence[str],
    layer_sizes: Sequence[int],
    parameters: Tensor,
    starts: Tensor,
    x: Tensor,
    y: Tensor,
    margins: Tensor,
    gradients: Tensor | None,
) -> None:
    """Compute margins, and gradients of a loss by the points, for the points of several networks of one shape.

    Other threads run on meanwhile.

    Args:
        loss: one of classes.
        output: what the logits are, see `models.Ensemble`.
        activations: of each network.
        layer_sizes: neurons in each layer.
        parameters: as `models.Ensemble.flatten` returns them, float32 as all but the starts.
        starts: the points of network k are ``starts[k]`` to ``starts[k + 1]``, ``[n_networks + 1]``, int64.
        x: points, ``[n, n_in]``.
        y: their classes, ``[n]``.
        margins: filled with the logit of each point's class less the largest other, ``[n]``.
        gradients: filled with the gradient of each point's loss by the point, ``[n, n_in]``; None to do without.
    """
    for tensor in (parameters, starts, x, y, margins, *([] if gradients is None else [gradients])):
        assert tensor.is_contiguous()
        assert tensor.dtype == (torch.int64 if tensor is starts else torch.float32)
    kernel = library()
    assert kernel is not None
    names = (ctypes.c_int32 * len(activations))(*map(ACTIVATION_CODES.index, activations))
    sizes = (ctypes.c_int64 * len(layer_sizes))(*layer_sizes)
    numbers = [ctypes.c_int64(n) for n in (len(activations), len(layer_sizes) - 1, parameters.shape[1])]
    pointers = [
        ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (parameters, starts, x, y, margins, gradients)
    ]
    kernel.differentiate_inputs(
        ctypes.c_int32(LOSS_CODES.index(loss)),
        ctypes.c_int32(OUTPUT_CODES.index(output)),
        numbers[0],
        names,
        numbers[1],
        sizes,
        numbers[2],
        *pointers,
    )
