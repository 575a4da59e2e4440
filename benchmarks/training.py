"""Time training many networks, side by side with what a reader would otherwise use; ``make bench`` runs this file.

All contenders train the same networks on the same data in one process, in turns; a ratio is the median over the turns
of two times measured in the same turn. Writes training.json and training.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from peers import CONTENDERS, Task, Trainer, limit_threads, make_task
from tqdm import tqdm

from helpers.checks import Integer, ListOf
from helpers.files import replacing

FOLDER = Path(__file__).parent
GOALS = {
    "ours": {"dataloader": 100.0, "tight": 22.0, "jax": 2.5},
    "plain": {"dataloader": 45.0, "tight": 10.0, "jax": 1.2},
}
GOAL_SHARE, GOAL_GROWTH = 0.45, 1.10


def matmul_rate(seconds: float = 0.15) -> float:
    """The machine's rate of multiplying large float32 matrices, floating-point operations a second.

    Each thread multiplies its own, which is quicker than all of them sharing one product.
    """
    n_threads = torch.get_num_threads()

    def work(_: int) -> float:
        a = torch.randn(512, 512)
        out = a @ a
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            torch.mm(a, a, out=out)
            count += 1
        return 2 * 512**3 * count / spent

    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return sum(pool.map(work, range(n_threads)))


def timed(run: Trainer, n_epochs: int) -> float:
    """Seconds that a training takes."""
    start = time.perf_counter()
    run(n_epochs)
    return time.perf_counter() - start


def compare(
    task: Task, names: Sequence[str], *, turns: int, epochs: int, bar: Any, exactly: bool = False
) -> dict[str, Any]:
    """Time contenders on a task in turns.

    Args:
        task: what to train.
        names: of the contenders.
        turns: how many.
        epochs: of each training, at least.
        bar: told of each timing.
        exactly: train for no more epochs, however little time it takes.

    Returns:
        Milliseconds for each network and epoch, in each turn, by contender; their losses; and the rate of matrix
        products measured in each turn.
    """
    runs, counts, losses = {}, {}, {}
    for name in names:
        part = task.first(CONTENDERS[name].most)
        runs[name], counts[name] = CONTENDERS[name].make(part), len(part)
        losses[name] = float(runs[name](epochs).mean())
    times: dict[str, list[float]] = {name: [] for name in names}
    rates = []
    # Few networks take little time; train them for more epochs, until it can be measured.
    n_epochs = {
        name: epochs if exactly else max(epochs, min(60, int(0.3 / (timed(run, 1) + 1e-9))))
        for name, run in runs.items()
    }
    for _ in range(turns):
        rates.append(matmul_rate())
        for name, run in runs.items():
            times[name].append(1e3 * timed(run, n_epochs[name]) / counts[name] / n_epochs[name])
            bar.update()
    return {"milliseconds": times, "loss": losses, "matmul_rate": rates, "flops": task.flops}


@dataclass(frozen=True)
class Spread:
    """What the turns of one timing gave; formatted as ``median [least, most]``, three digits each."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3g} [{min(self.values):.3g}, {max(self.values):.3g}]"


def ratio(result: dict[str, Any], slow: str, fast: str) -> Spread:
    """How many times faster one contender is than another, turn by turn."""
    pairs = zip(result["milliseconds"][slow], result["milliseconds"][fast], strict=True)
    return Spread([a / b for a, b in pairs])


def share_of_matmul(result: dict[str, Any], name: str) -> Spread:
    """Operations of a contender's matrix products as a share of what the machine can do, turn by turn."""
    pairs = zip(result["milliseconds"][name], result["matmul_rate"], strict=True)
    return Spread([result["flops"] / (1e-3 * ms) / rate for ms, rate in pairs])


def measure(turns: int, epochs: int, sizes: Sequence[int]) -> dict[str, Any]:
    """Run all comparisons."""
    growth_of: dict[str, tuple[str, list[dict[str, int]]]] = {
        "networks, ReLU": ("relu", [{"n_networks": n} for n in (1, 10, 120, 300, 1000)]),
        "networks, tanh": ("tanh", [{"n_networks": n} for n in (1, 10, 120, 300, 1000)]),
        "neurons in a layer": ("relu", [{"width": width} for width in (10, 25, 50, 100, 200)]),
        "hidden layers": ("relu", [{"depth": depth} for depth in (1, 2, 5, 10)]),
        "training points": ("relu", [{"n_train": n_train} for n_train in (335, 670, 1340, 2680)]),
    }
    total = turns * 2 * (len(sizes) * len(CONTENDERS) + sum(len(cases) for _, cases in growth_of.values()))
    results: dict[str, Any] = {"by_size": {}, "growth": {}}
    with tqdm(total=total, unit="timing") as bar:
        for n in sizes:
            for activation in ("relu", "tanh"):
                task = make_task(n, activation)
                found = compare(task, list(CONTENDERS), turns=turns, epochs=1 if n >= 1000 else epochs, bar=bar)
                results["by_size"][f"{n} {activation}"] = found
        for axis, (activation, cases) in growth_of.items():
            # The same number of epochs for all, since starting a run also costs something for each network.
            results["growth"][axis] = {
                str(*case.values()): compare(
                    make_task(**{"n_networks": 120, "activation": activation, **case}),
                    ["ours", "plain"],
                    turns=turns,
                    epochs=5,
                    bar=bar,
                    exactly=True,
                )
                for case in cases
            }
    return results


def machine(n_threads: int, packages: Sequence[str] = ("torch", "jax", "scikit-learn", "numpy")) -> dict[str, Any]:
    """What this was measured on, with the versions of packages."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return {
        "processor": name,
        "cores": psutil.cpu_count(),
        "cores_used": n_threads,
        "system": platform.system(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def goals(results: dict[str, Any], sizes: Sequence[int]) -> list[tuple[str, Spread, str, bool]]:
    """Each goal: in words, what was found, what was wanted, and whether the median meets it."""
    rows = []
    if 120 in sizes:
        for activation in ("relu", "tanh"):
            found = results["by_size"][f"120 {activation}"]
            for fast, wanted in GOALS.items():
                for slow, least in wanted.items():
                    times = ratio(found, slow, fast)
                    words = f"{activation}: {CONTENDERS[fast].label} against {CONTENDERS[slow].label}, times faster"
                    rows.append((words, times, f"{least:g}", times.median >= least))
        share = share_of_matmul(results["by_size"]["120 relu"], "ours")
        rows.append(("relu: share of the matmul rate", share, f"{GOAL_SHARE:g}", share.median >= GOAL_SHARE))
    for axis, cases in results["growth"].items():
        if axis.startswith("networks"):
            few = statistics.median(cases["120"]["milliseconds"]["ours"])
            for n in ("300", "1000"):
                cost = Spread([ms / few for ms in cases[n]["milliseconds"]["ours"]])
                words = f"{axis}: time for each of {n} over that for each of 120"
                rows.append((words, cost, f"at most {GOAL_GROWTH:g}", cost.median <= GOAL_GROWTH))
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first aligned to the right."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def report(results: dict[str, Any], sizes: Sequence[int]) -> str:
    """The results as Markdown."""
    m = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    parts = [
        f"Measured on {m['measured']} on {m['cores_used']} of {m['cores']} cores of one machine "
        f"({m['processor']}, {m['system']}; {versions}), "
        f"{results['turns']} turns of at least {results['epochs']} epochs (one for N ≥ 1000): median [least, most]."
    ]
    for activation in ("relu", "tanh"):
        rows = []
        for name, contender in CONTENDERS.items():
            row = [contender.label]
            for n in sizes:
                found = results["by_size"][f"{n} {activation}"]
                times = "" if name == "ours" else f", {ratio(found, name, 'ours').median:.3g}×"
                row.append(f"{Spread(found['milliseconds'][name])}{times}")
            rows.append(row)
        head = [f"{activation}: milliseconds", *(f"N = {n}" for n in sizes)]
        parts.append(table(head, rows))
    parts.append(
        "How the time for each network and epoch grows (120 networks of five layers of fifty but for what varies):"
    )
    for axis, cases in results["growth"].items():
        rows = [
            [
                case,
                *(str(Spread(found["milliseconds"][name])) for name in ("ours", "plain")),
                str(share_of_matmul(found, "ours")),
            ]
            for case, found in cases.items()
        ]
        parts.append(table([axis, "compiled, ms", "plain PyTorch, ms", "compiled, share of the matmul rate"], rows))
    rows = [
        [words, str(found), wanted, "met" if met else "**not met**"]
        for words, found, wanted, met in goals(results, sizes)
    ]
    parts.append(table(["goal", "found", "wanted", ""], rows))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 120, 1000])
    parser.add_argument("--cores", type=int, default=psutil.cpu_count(), help="use the first so many cores")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for training.json and training.md")
    options = parser.parse_args()
    for name in ("turns", "epochs", "cores"):
        Integer(at_least=1)(name, getattr(options, name))
    ListOf(Integer(at_least=1))("sizes", options.sizes)
    if not options.output.is_dir():  # known before the measuring, which takes minutes
        parser.error(f"output must be an existing folder, got {str(options.output)!r}.")
    limit_threads(options.cores)
    results = measure(options.turns, options.epochs, options.sizes)
    results |= {"machine": machine(options.cores), "turns": options.turns, "epochs": options.epochs}
    text = report(results, options.sizes)
    for name, content in (("training.json", json.dumps(results, indent=1) + "\n"), ("training.md", text)):
        with replacing("output", options.output / name) as temporary:
            temporary.write_text(content)
    sys.stdout.write("\n" + text)


if __name__ == "__main__":
    main()
