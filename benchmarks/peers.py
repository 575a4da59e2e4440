"""What a reader would otherwise train many small networks with, each written as its own documentation teaches it.

Every contender is a function that takes a task and returns a function: called with a number of epochs it trains fresh
networks for so long and returns the mean loss of each in the last epoch. What it does before it returns (building
networks, compiling) is not timed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from helpers.datasets.spirals import spirals
from helpers.models.ensemble import Ensemble
from helpers.training.protocol import Training
from helpers.training.train import train

Trainer = Callable[[int], "np.ndarray[tuple[int], np.dtype[np.float64]]"]
RATE = 1e-3


@dataclass(frozen=True)
class Task:
    """Networks to train.

    Attributes:
        activation: of all networks.
        layer_sizes: of all networks.
        x: points, ``[n_networks, n_points, n_in]``, float32.
        y: classes, ``[n_networks, n_points]``, int64.
        batch_size: points a step.
    """

    activation: str
    layer_sizes: tuple[int, ...]
    x: Tensor
    y: Tensor
    batch_size: int = 50

    def __len__(self) -> int:
        return len(self.x)

    def first(self, n: int) -> Task:
        """The same task with its first n networks only."""
        return replace(self, x=self.x[:n], y=self.y[:n])

    def ensemble(self) -> Ensemble:
        """Untrained networks."""
        return Ensemble(self.layer_sizes, [self.activation] * len(self), range(len(self)))

    @property
    def flops(self) -> float:
        """Floating-point operations of the matrix products of one network and epoch.

        Forward, gradient by the weights, gradient by the layer's input (not needed in the first layer): two for each
        weight and point.
        """
        sizes = list(zip(self.layer_sizes, self.layer_sizes[1:], strict=False))
        weights = sum(n_in * n_out for n_in, n_out in sizes)
        return 2.0 * (3 * weights - sizes[0][0] * sizes[0][1]) * self.x.shape[1]


def make_task(n_networks: int, activation: str, *, width: int = 50, depth: int = 5, n_train: int = 1340) -> Task:
    """Networks of ``depth`` hidden layers on spirals of entanglements 2 to 10, n_train points each."""
    parts = []
    for k in range(min(n_networks, 100)):
        data = spirals(2.0 + 2 * (k % 5), n_per_class=n_train // 2 + 10, seed=k)
        chosen = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(k))[:n_train]
        parts.append((data.x[chosen], data.y[chosen]))
    repeated = [parts[k % len(parts)] for k in range(n_networks)]
    x, y = (torch.stack([part[side] for part in repeated]) for side in (0, 1))
    return Task(activation, (2, *[width] * depth, 2), x, y)


def ours(task: Task, *, compiled: bool = True) -> Trainer:
    """This project, in compiled code or in plain PyTorch."""
    start = task.ensemble()

    def run(n_epochs: int) -> np.ndarray:
        training = Training(epochs=n_epochs, batch_size=task.batch_size, learning_rate=RATE)
        return train(start, task.x, task.y, training, compiled=compiled, memory_gib=8, device="cpu").loss[-1].numpy()

    run(1)
    return run


def dataloader_loop(task: Task) -> Trainer:
    """One network after the other, batches from a shuffling ``DataLoader``: what most tutorials teach."""

    def run(n_epochs: int) -> np.ndarray:
        losses = []
        for k, network in enumerate(fresh_networks(task)):
            data = torch.utils.data.TensorDataset(task.x[k], task.y[k])
            loader = torch.utils.data.DataLoader(data, batch_size=task.batch_size, shuffle=True)
            optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
            criterion = nn.CrossEntropyLoss()
            for _ in range(n_epochs):
                total = 0.0
                for x, y in loader:
                    optimiser.zero_grad()
                    loss = criterion(network(x), y)
                    loss.backward()
                    optimiser.step()
                    total += loss.item() * len(x)
            losses.append(total / len(task.x[k]))
        return np.asarray(losses)

    return run


def tight_loop(task: Task) -> Trainer:
    """One network after the other, without ``DataLoader``: one permutation an epoch, slices, a fused Adam.

    In one thread, which is quicker than several for matrices this small.
    """

    def run(n_epochs: int) -> np.ndarray:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return loop(n_epochs)
        finally:
            torch.set_num_threads(threads)

    def loop(n_epochs: int) -> np.ndarray:
        losses = []
        for k, network in enumerate(fresh_networks(task)):
            optimiser = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
            for _ in range(n_epochs):
                order = torch.randperm(task.x.shape[1])
                batches = zip(
                    task.x[k][order].split(task.batch_size), task.y[k][order].split(task.batch_size), strict=True
                )
                total = torch.zeros(())
                for x, y in batches:
                    loss = nn.functional.cross_entropy(network(x), y)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total += loss.detach() * len(x)
            losses.append(float(total) / task.x.shape[1])
        return np.asarray(losses)

    return run


def fresh_networks(task: Task) -> list[nn.Sequential]:
    """The task's untrained networks as ordinary modules."""
    ensemble = task.ensemble()
    return [ensemble.member(k) for k in range(len(task))]


def functional_vmap(task: Task) -> Trainer:
    """``torch.func``: stacked module states, one ``vmap`` of the gradient over all networks, a fused Adam."""
    networks = fresh_networks(task)

    def loss_of(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(networks[0], parameters, (x,)), y)

    step = torch.func.vmap(torch.func.grad_and_value(loss_of))

    def run(n_epochs: int) -> np.ndarray:
        parameters, _ = torch.func.stack_module_state(networks)
        optimiser = torch.optim.Adam(list(parameters.values()), lr=RATE, fused=True)
        rows = torch.arange(len(task))[:, None]
        total = torch.zeros(len(task))
        for _ in range(n_epochs):
            order = torch.rand(task.y.shape).argsort(dim=1)
            x, y = task.x[rows, order], task.y[rows, order]
            total = torch.zeros(len(task))
            for x_batch, y_batch in zip(x.split(task.batch_size, 1), y.split(task.batch_size, 1), strict=True):
                gradients, losses = step({k: p.detach() for k, p in parameters.items()}, x_batch, y_batch)
                for name, parameter in parameters.items():
                    parameter.grad = gradients[name]
                optimiser.step()
                total += losses * x_batch.shape[1]
        return (total / task.x.shape[1]).numpy()

    return run


def jax_scan(task: Task) -> Trainer:
    """JAX: ``jit(vmap(scan))``, one compiled call for each epoch of all networks."""
    import jax
    import jax.numpy as jnp

    psi = {"tanh": jnp.tanh, "relu": jax.nn.relu}[task.activation]
    n_points, batch = task.x.shape[1], task.batch_size
    n_full = n_points // batch

    def loss_of(parameters, x, y):
        for weight, bias in parameters[:-1]:
            x = psi(x @ weight + bias)
        logits = x @ parameters[-1][0] + parameters[-1][1]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

    def step(state, data):
        parameters, first, second, count = state
        loss, gradient = jax.value_and_grad(loss_of)(parameters, *data)
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
        pace, root = RATE / (1 - 0.9**count), 1 / jnp.sqrt(1 - 0.999**count)
        parameters = jax.tree.map(lambda w, m, v: w - pace * m / (jnp.sqrt(v) * root + 1e-8), parameters, first, second)
        return (parameters, first, second, count), loss * len(data[1])

    def epoch(state, x, y, order):
        x, y = x[order], y[order]
        full = (x[: n_full * batch].reshape(n_full, batch, -1), y[: n_full * batch].reshape(n_full, batch))
        state, losses = jax.lax.scan(step, state, full)
        total = losses.sum()
        if n_points % batch:
            state, rest = step(state, (x[n_full * batch :], y[n_full * batch :]))
            total = total + rest
        return state, total / n_points

    run_epoch = jax.jit(jax.vmap(epoch))
    ensemble, n = task.ensemble(), len(task)
    start = [
        (jnp.asarray(w.detach().transpose(1, 2).contiguous().numpy()), jnp.asarray(b.detach().contiguous().numpy()))
        for w, b in zip(ensemble.weights, ensemble.biases, strict=True)
    ]
    x, y = jnp.asarray(task.x.contiguous().numpy()), jnp.asarray(task.y.contiguous().numpy())
    random = np.random.default_rng(0)

    def run(n_epochs: int) -> np.ndarray:
        zeros = jax.tree.map(jnp.zeros_like, start)
        state, losses = (start, zeros, zeros, jnp.zeros(n)), jnp.zeros(n)
        for _ in range(n_epochs):
            order = random.permuted(np.tile(np.arange(n_points), (n, 1)), axis=1)
            state, losses = run_epoch(state, x, y, order)
        return np.asarray(losses)

    run(1)
    return run


def scikit_learn(task: Task) -> Trainer:
    """scikit-learn's ``MLPClassifier``, one network after the other."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    def run(n_epochs: int) -> np.ndarray:
        losses = []
        for k in range(len(task)):
            network = MLPClassifier(
                task.layer_sizes[1:-1], activation=task.activation, alpha=0.0, batch_size=task.batch_size,
                learning_rate_init=RATE, max_iter=n_epochs, tol=0.0, n_iter_no_change=n_epochs + 1, random_state=k,
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                network.fit(task.x[k].numpy(), task.y[k].numpy())
            losses.append(network.loss_)
        return np.asarray(losses)

    return run


@dataclass(frozen=True)
class Contender:
    """A way to train.

    Attributes:
        label: for tables.
        make: see the head of this file.
        most: networks it is timed on; its time per network does not depend on their number if it takes one after
            the other.
    """

    label: str
    make: Callable[[Task], Trainer]
    most: int = 10**9


CONTENDERS = {
    "dataloader": Contender("(a) PyTorch loop with DataLoader", dataloader_loop, most=1),
    "tight": Contender("(b) tight PyTorch loop", tight_loop, most=2),
    "vmap": Contender("(c) torch.func, vmap", functional_vmap),
    "jax": Contender("(d) JAX, jit(vmap(scan))", jax_scan),
    "sklearn": Contender("(e) scikit-learn MLPClassifier", scikit_learn, most=2),
    "ours": Contender("(f) this project", ours),
    "plain": Contender("(g) this project, without a compiler", lambda task: ours(task, compiled=False)),
}


def limit_threads(n: int) -> None:
    """Keep this process, JAX and BLAS included, on its first n cores; call before any of them has started threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
    torch.set_num_threads(n)
