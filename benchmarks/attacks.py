"""Time attacks on many networks beside an established library looped over them; ``make bench`` runs this file.

Both take the same networks, points, steps and random starts (the library is given ours), in turns in one process; a
ratio is the median over the turns of two times measured in the same turn. Writes attacks.json and attacks.md beside
this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import foolbox
import psutil
import torch
from peers import limit_threads
from torch import Tensor
from tqdm import tqdm
from training import machine, table

from helpers.attacks.gradient import pgd
from helpers.experiments.sweeps import spiral_sweep
from helpers.models.ensemble import Ensemble
from helpers.training.protocol import Training

FOLDER = Path(__file__).parent
SIZES = {(20, 660): 3.0, (200, 60): 8.0}
"""Networks and points of each, with how many times faster than the library the attack is to be."""
ENTANGLEMENT, EPSILON, STEPS, STEP = 8.0, 1.0, 50, 0.1
ATTACK = pgd(STEPS, STEP, loss="cross_entropy")


@dataclass(frozen=True)
class Task:
    """Trained networks with test points of their own."""

    ensemble: Ensemble
    x: Tensor
    y: Tensor

    @property
    def starts(self) -> Tensor:
        """The random starts that our attack will draw."""
        first = replace(ATTACK, record=True)(self.ensemble, self.x, self.y, EPSILON).path
        assert first is not None
        return first[0]


def make_task(n_networks: int, n_points: int, activation: str) -> Task:
    """Networks of five layers of fifty, trained on the spirals of so many seeds."""
    sweep = spiral_sweep(
        activations=[activation], entanglements=[ENTANGLEMENT], seeds=range(n_networks), training=Training(epochs=60)
    )
    x, y = sweep.data("test", n_points)
    return Task(sweep.history.final, x.contiguous(), y.contiguous())


def looped_library(task: Task) -> Callable[[], Tensor]:
    """foolbox's PGD, one network after the other: returns the share of points that survive."""

    class FromStart(foolbox.attacks.LinfProjectedGradientDescentAttack):
        def __init__(self, start: Tensor) -> None:
            super().__init__(rel_stepsize=STEP, steps=STEPS, random_start=True)
            self.start = start

        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)(self.start)

    models = [
        foolbox.PyTorchModel(task.ensemble.member(k).eval(), bounds=(-1e3, 1e3), device="cpu")
        for k in range(len(task.ensemble))
    ]
    starts = task.starts

    def run() -> Tensor:
        shares = []
        for model, start, x, y in zip(models, starts, task.x, task.y, strict=True):
            criterion = foolbox.criteria.Misclassification(y)
            _, _, lost = FromStart(start)(model, x, criterion, epsilons=EPSILON)
            shares.append(1 - lost.double().mean())
        return torch.stack(shares)

    return run


def ours(task: Task, *, compiled: bool = True, safe: Tensor | None = None) -> Callable[[], Tensor]:
    """This project's attack; it leaves lost points, and those known to be safe, alone."""
    attack = replace(ATTACK, compiled=compiled)
    return lambda: attack(task.ensemble, task.x, task.y, EPSILON, safe=safe).robust_accuracy


def every_step(task: Task) -> Callable[[], Tensor]:
    """The same with every step taken at every point, as the library does."""
    attack = replace(ATTACK, last=True)
    return lambda: attack(task.ensemble, task.x, task.y, EPSILON).robust_accuracy


CONTENDERS = {
    "library": "foolbox, network by network",
    "every step": "this project, every step at every point",
    "plain": "this project, without a compiler",
    "ours": "this project",
}


def compare(task: Task, turns: int, bar: Any) -> dict[str, Any]:
    """Seconds of each contender in each turn, and the robust accuracy each ends with."""
    runs = {
        "library": looped_library(task),
        "every step": every_step(task),
        "plain": ours(task, compiled=False),
        "ours": ours(task),
    }
    accuracy = {name: float(run().mean()) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
            bar.update()
    return {"seconds": seconds, "robust_accuracy": accuracy}


def times_faster(result: dict[str, Any], name: str) -> float:
    """How many times faster than the library, median over the turns."""
    pairs = zip(result["seconds"]["library"], result["seconds"][name], strict=True)
    return statistics.median(library / other for library, other in pairs)


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    m = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    parts = [
        f"PGD with {STEPS} steps of {STEP:g} ε and ε = {EPSILON:g}, on trained networks of five hidden layers of fifty "
        f"and their own test points. Measured on {m['measured']} on {m['cores_used']} of {m['cores']} cores of one "
        f"machine ({m['processor']}, {m['system']}; {versions}), {results['turns']} turns; medians. In brackets: how "
        "many times faster than the library; then the robust accuracy each reports."
    ]
    for activation, by_size in results["by_activation"].items():
        rows = [
            [
                label,
                *(
                    f"{statistics.median(found['seconds'][name]):.3g} ({times_faster(found, name):.3g}×), "
                    f"{found['robust_accuracy'][name]:.2%}"
                    for found in by_size.values()
                ),
            ]
            for name, label in CONTENDERS.items()
        ]
        parts.append(table([f"{activation}: seconds", *by_size], rows))
    rows = []
    for activation, by_size in results["by_activation"].items():
        for (size, found), wanted in zip(by_size.items(), SIZES.values(), strict=True):
            times = times_faster(found, "ours")
            verdict = "met" if times >= wanted else "**not met**"
            rows.append(
                [f"{activation}, {size}: times faster than the library", f"{times:.3g}", f"{wanted:g}", verdict]
            )
    parts.append(table(["goal", "found", "wanted", ""], rows))
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cores", type=int, default=psutil.cpu_count(), help="use the first so many cores")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for attacks.json and attacks.md")
    options = parser.parse_args(arguments)
    limit_threads(options.cores)
    results: dict[str, Any] = {"by_activation": {}, "turns": options.turns}
    with tqdm(total=2 * len(SIZES) * len(CONTENDERS) * options.turns, unit="timing") as bar:
        for activation in ("relu", "tanh"):
            results["by_activation"][activation] = {
                f"{n} networks × {p} points": compare(make_task(n, p, activation), options.turns, bar) for n, p in SIZES
            }
    results["machine"] = machine(options.cores, ("torch", "foolbox", "numpy"))
    text = report(results)
    (options.output / "attacks.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "attacks.md").write_text(text)
    sys.stdout.write("\n" + text)


if __name__ == "__main__":
    main()
