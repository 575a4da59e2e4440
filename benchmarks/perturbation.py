"""Time the sweep over thresholds beside running the network again for each; ``make bench`` runs this file.

Contenders get the same networks and points, of MNIST's shape, in turns in one process, a network for each core at a
time; a ratio is the median over heads and turns of two times of the same turn. Accuracies are compared as well.
Writes perturbation.json and perturbation.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from peers import limit_threads
from torch import Tensor
from tqdm import tqdm
from training import machine, table

from helpers.files import replacing
from helpers.metrics.sensitivity import sensitivity
from helpers.models.constraints import Constraint, Perturbed, value_span
from helpers.models.ensemble import Ensemble
from helpers.models.heads import HEADS, head
from helpers.seeding import torch_stream

FOLDER = Path(__file__).parent
SIZES = (784, 128, 10)
FRACTIONS = torch.linspace(0, 1, 101)
GOAL, GOAL_DIFFERENCE = 8.0, 1e-6

Sweep = Callable[[Ensemble, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """Networks of one head, with points and classes."""

    ensemble: Ensemble
    x: Tensor
    y: Tensor


def make_task(name: str, n_networks: int, n_points: int) -> Task:
    """Untrained networks on random points: what a sweep costs depends on neither."""
    psi = head(name)
    ensemble = Ensemble(SIZES, [psi.activation] * n_networks, range(n_networks), output=psi.output, output_bias=False)
    stream = torch_stream(0, "points")
    x = torch.randn(n_points, SIZES[0], generator=stream)
    return Task(ensemble, x, torch.randint(0, SIZES[-1], (n_points,), generator=stream))


def constraints() -> list[Constraint]:
    """Every floor, then every cutoff."""
    return [Constraint(**{side: float(f)}) for side in ("floor", "cutoff") for f in FRACTIONS]


def one_by_one(prepare: Callable[[Ensemble, Tensor], Callable[[Constraint], Tensor]]) -> Sweep:
    """A sweep that asks for the logits under one constraint after the other."""

    def sweep(ensemble: Ensemble, x: Tensor, y: Tensor) -> Tensor:
        def one(k: int) -> Tensor:
            with torch.no_grad():
                logits = prepare(ensemble.select([k]), x)
                hits = [(logits(rule)[0].argmax(dim=1) == y).double().mean() for rule in constraints()]
                return torch.stack(hits).view(2, -1)

        with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.stack(list(pool.map(one, range(len(ensemble)))), dim=2)

    return sweep


def run_again(network: Ensemble, x: Tensor) -> Callable[[Constraint], Tensor]:
    """Put the perturbation layer into the network and run the whole network."""
    perturbed = Perturbed(network, value_span(network, network.hidden(x, 0))).eval()

    def logits(rule: Constraint) -> Tensor:
        perturbed.perturbation.constraint = rule
        made: Tensor = perturbed(x)
        return made

    return logits


def keep_hidden(network: Ensemble, x: Tensor) -> Callable[[Constraint], Tensor]:
    """Keep the hidden values and run what comes after them."""
    hidden = network.hidden(x, 0)
    span = value_span(network, hidden)
    return lambda rule: network(rule(hidden, span), first=1)


CONTENDERS: dict[str, tuple[str, Sweep]] = {
    "again": ("(a) the network again for each threshold", one_by_one(run_again)),
    "hidden": ("(b) hidden values kept, one threshold at a time", one_by_one(keep_hidden)),
    "ours": (
        "(c) this project, all thresholds on a few points",
        lambda ensemble, x, y: sensitivity(ensemble, x, y, FRACTIONS).accuracy,
    ),
}


def measure(turns: int, n_networks: int, n_points: int) -> dict[str, Any]:
    """Seconds for each network by head and contender, and the largest difference of an accuracy from (a)'s."""
    found: dict[str, Any] = {}
    with tqdm(total=len(HEADS) * turns * len(CONTENDERS), unit="timing") as bar:
        for name in HEADS:
            task = make_task(name, n_networks, n_points)
            seconds: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
            accuracies: dict[str, Tensor] = {}
            for _ in range(turns):
                for contender, (_, sweep) in CONTENDERS.items():
                    start = time.perf_counter()
                    accuracies[contender] = sweep(task.ensemble, task.x, task.y)
                    seconds[contender].append((time.perf_counter() - start) / n_networks)
                    bar.update()
            difference = float((accuracies["ours"] - accuracies["again"]).abs().max())
            found[name] = {"seconds": seconds, "difference": difference}
    return found


def ratios(found: dict[str, Any], contender: str) -> list[float]:
    """How many times longer than ours a contender takes, in each turn of each head."""
    return [
        slow / fast
        for head_ in found.values()
        for slow, fast in zip(head_["seconds"][contender], head_["seconds"]["ours"], strict=True)
    ]


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    m, found = results["machine"], results["found"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    head_row = ["seconds for each network", *found, "times longer"]
    rows = []
    for contender, (label, _) in CONTENDERS.items():
        times = ratios(found, contender)
        spread = (
            "" if contender == "ours" else f"{statistics.median(times):.3g}× ({min(times):.3g} to {max(times):.3g})"
        )
        medians = [f"{statistics.median(one['seconds'][contender]):.3g}" for one in found.values()]
        rows.append([label, *medians, "" if contender == "ours" else spread])
    faster = statistics.median(ratios(found, "again"))
    difference = max(one["difference"] for one in found.values())
    goals = [
        ["(c) against (a), times faster", f"{faster:.3g}", f"at least {GOAL:g}", met(faster >= GOAL)],
        [
            "largest difference of an accuracy from (a)'s",
            f"{difference:.1e}",
            f"at most {GOAL_DIFFERENCE:g}",
            met(difference <= GOAL_DIFFERENCE),
        ],
    ]
    return "\n\n".join(
        [
            f"Measured on {m['measured']} on {m['cores_used']} of {m['cores']} cores of one machine "
            f"({m['processor']}, {m['system']}; {versions}), {results['turns']} turns, {results['networks']} networks "
            f"of {' – '.join(map(str, SIZES))} neurons and {results['points']:,} points for each head, "
            f"{2 * len(FRACTIONS)} thresholds; medians.",
            table(head_row, rows),
            table(["goal", "found", "wanted", ""], goals),
        ]
    ) + "\n"  # fmt: skip


def met(yes: bool) -> str:
    """A goal's last word."""
    return "met" if yes else "**not met**"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=psutil.cpu_count(), help="use the first so many cores")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for perturbation.json and perturbation.md")
    options = parser.parse_args()
    limit_threads(options.cores)
    results = {
        "found": measure(options.turns, options.networks, options.points),
        "machine": machine(options.cores, ["torch"]),
        "turns": options.turns,
        "networks": options.networks,
        "points": options.points,
    }
    text = report(results)
    for name, content in (("perturbation.json", json.dumps(results, indent=1) + "\n"), ("perturbation.md", text)):
        with replacing("output", options.output / name) as file:
            file.write_text(content)
    sys.stdout.write("\n" + text)


if __name__ == "__main__":
    main()
