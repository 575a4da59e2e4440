"""Ensemble training is the plain PyTorch loop, once for every member, in compiled code and in plain PyTorch."""

import importlib
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from references import CRITERIA, HAS_KERNEL

from helpers.evidence.intervals import paired_interval
from helpers.models.activations import ACTIVATIONS
from helpers.models.ensemble import Ensemble
from helpers.seeding import torch_stream
from helpers.training import progress, runs
from helpers.training.protocol import Training
from helpers.training.train import train

# The room re-exports the function under the same name.
training_module = importlib.import_module("helpers.training.train")

SIZES = [2, 7, 6, 2]


COMPILED = pytest.param(
    True, id="compiled", marks=pytest.mark.skipif(not HAS_KERNEL, reason="no C++ compiler was found")
)
BOTH = pytest.mark.parametrize("compiled", [COMPILED, pytest.param(False, id="plain")])


def blobs(n, seed, gap=1.0):
    """Two overlapping clouds, as easy as the gap is wide."""
    stream = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    return torch.randn(n, 2, generator=stream) + gap * (2 * y[:, None] - 1), y


def own_blobs(n_networks, n):
    data = [blobs(n, seed) for seed in range(n_networks)]
    return torch.stack([x for x, _ in data]), torch.stack([y for _, y in data])


def plain_loop(network, seed, x, y, training):
    shared = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimiser == "adam":
        optimiser = torch.optim.Adam(network.parameters(), **shared)
    else:
        optimiser = torch.optim.SGD(network.parameters(), momentum=training.momentum, **shared)
    decay = torch.optim.lr_scheduler.StepLR(optimiser, training.rate_every, training.rate_factor)
    criterion = CRITERIA[training.loss]
    stream, losses = torch_stream(seed, "batch order"), []
    for _ in range(training.epochs):
        total = 0.0
        for batch in torch.randperm(len(x), generator=stream).split(training.batch_size):
            loss = criterion(network(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        decay.step()
        losses.append(total / len(x))
    return losses


def distance(first, second):
    assert first.layer_sizes == second.layer_sizes
    return max(
        float((p - q).detach().abs().max()) for p, q in zip(first.parameters(), second.parameters(), strict=True)
    )


@BOTH
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_one_member_is_the_plain_loop(optimiser, name, decay, compiled):
    training = Training(
        epochs=4, batch_size=16, learning_rate=0.01, optimiser=optimiser, momentum=0.8, weight_decay=decay
    )
    x, y = blobs(50, 1)  # the last batch has two points
    start = Ensemble(SIZES, [name], [9])
    network = start.member(0)
    losses = plain_loop(network, 9, x, y, training)
    history = train(start, x, y, training, compiled=compiled)
    found = list(history.final.member(0).parameters())
    for p, q in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)
    torch.testing.assert_close(history.loss[:, 0], torch.tensor(losses), rtol=0, atol=1e-5)
    assert distance(history.final, start) > 0.01


@BOTH
@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_member_of_fifty_is_the_same_seed_alone(name, optimiser, compiled):
    others = [*ACTIVATIONS]
    names = [name if k % 3 == 0 else others[k % len(others)] for k in range(50)]
    seeds = [100 + 3 * k for k in range(50)]
    training = Training(epochs=3, batch_size=10, learning_rate=0.01, optimiser=optimiser)
    x, y = own_blobs(50, 35)
    start = Ensemble(SIZES, names, seeds)
    together = train(start, x, y, training, compiled=compiled)
    assert together.loss.shape == (3, 50)
    assert together.final.seeds == tuple(seeds)
    assert together.final.activations == tuple(names)
    for k in (0, 3, 24, 25, 48):
        alone = train(Ensemble(SIZES, [names[k]], [seeds[k]]), x[k], y[k], training, compiled=compiled)
        assert distance(together.final.select([k]), alone.final) < 1e-4
        torch.testing.assert_close(together.loss[:, k], alone.loss[:, 0], rtol=0, atol=1e-4)
        assert distance(start.select([k]), alone.final) > 0.01


@BOTH
def test_shared_data_are_everyones_own(compiled):
    x, y = blobs(30, 0)
    start = Ensemble(SIZES, ["relu", "tanh", "relu"], [1, 2, 1])
    training = Training(epochs=2, batch_size=7)
    shared = train(start, x, y, training, compiled=compiled).final
    own = train(start, x.expand(3, 30, 2).clone(), y.expand(3, 30).clone(), training, compiled=compiled).final
    assert distance(shared, own) == 0
    torch.testing.assert_close(shared.weights[0][0], shared.weights[0][2], rtol=0, atol=1e-6)


@BOTH
def test_snapshots_are_true(compiled):
    x, y = own_blobs(122, 24)
    names = ["relu", "tanh"] * 61
    start = Ensemble(SIZES, names, range(122))
    protocol = {"batch_size": 8, "learning_rate": 0.01}
    history = train(start, x, y, Training(epochs=5, **protocol), snapshots=[5, 0, 3, 3], compiled=compiled)
    assert history.epochs == (0, 3, 5)
    assert len(history.snapshots) == 3
    assert distance(history.at(0), start) == 0
    assert distance(history.at(0), history.at(3)) > 0.01
    assert distance(history.at(3), history.at(5)) > 0.01
    assert history.final is history.at(5)
    shorter = train(start, x, y, Training(epochs=3, **protocol), compiled=compiled)
    assert distance(history.at(3), shorter.final) == 0
    assert torch.equal(history.loss[:3], shorter.loss)
    addresses = {p.data_ptr() for e in (*history.snapshots, start) for p in e.parameters()}
    assert len(addresses) == 4 * len(list(start.parameters()))


def test_default_keeps_the_last_epoch_only():
    x, y = blobs(10, 0)
    history = train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=2))
    assert history.epochs == (2,)


def test_no_epochs_leave_the_start():
    x, y = blobs(10, 0)
    start = Ensemble(SIZES, ["relu"], [0])
    history = train(start, x, y, Training(epochs=0))
    assert distance(history.final, start) == 0
    assert history.loss.shape == (0, 1)


@BOTH
def test_input_is_not_changed(compiled):
    x, y = own_blobs(3, 20)
    start = Ensemble(SIZES, ["relu", "prelu", "tanh"], range(3))
    before = [p.detach().clone() for p in start.parameters()], x.clone(), y.clone()
    state = torch.get_rng_state()
    history = train(start, x, y, Training(epochs=2, batch_size=5), compiled=compiled)
    assert all(torch.equal(p, q) for p, q in zip(start.parameters(), before[0], strict=True))
    assert all(p.grad is None for p in start.parameters())
    assert torch.equal(x, before[1])
    assert torch.equal(y, before[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert distance(history.final, start) > 0


@BOTH
def test_only_slopes_of_prelu_members_learn(compiled):
    x, y = blobs(40, 0)
    start = Ensemble(SIZES, ["relu", "prelu", "tanh"], range(3))
    final = train(start, x, y, Training(epochs=3, learning_rate=0.01), compiled=compiled).final
    for before, after in zip(start.slopes, final.slopes, strict=True):
        assert (before != after).tolist() == [False, True, False]


@BOTH
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_loss_falls_on_easy_data(optimiser, compiled):
    x, y = blobs(80, 0, gap=3.0)
    start = Ensemble(SIZES, list(ACTIVATIONS), range(len(ACTIVATIONS)))
    training = Training(epochs=25, batch_size=10, learning_rate=0.02, optimiser=optimiser)
    history = train(start, x, y, training, compiled=compiled)
    assert (history.loss[-1] < 0.1).all()
    assert (history.loss[0] > 2 * history.loss[-1]).all()


def test_training_in_double_precision_stays_double():
    x, y = blobs(20, 0)
    final = train(Ensemble(SIZES, ["relu"], [0]).double(), x.double(), y, Training(epochs=1)).final
    assert all(p.dtype == torch.float64 for p in final.parameters())


def test_history_names_its_snapshots():
    x, y = blobs(10, 0)
    history = train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=2), snapshots=[0, 2])
    with pytest.raises(ValueError, match=r"epoch must be one with a snapshot, \[0, 2\], got 1"):
        history.at(1)


@pytest.mark.parametrize("snapshots", [[3], [-1], [0, 5]])
def test_snapshots_outside_the_run(snapshots):
    x, y = blobs(10, 0)
    with pytest.raises(ValueError, match="snapshots must be a whole number at least 0 and at most 2"):
        train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=2), snapshots=snapshots)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((2, 10, 2), (2, 10)),
        ((10, 2), (9,)),
        ((3, 10, 2), (3, 9)),
        ((3, 0, 2), (3, 0)),
        ((10,), (10,)),
        ((10, 3), (10,)),
        ((3, 10, 3), (3, 10)),
    ],
)
def test_shapes_that_do_not_fit(x_shape, y_shape):
    start = Ensemble(SIZES, ["relu"] * 3, range(3))
    words = "^x must have shape|^x must hold at least one point|^y must hold classes, int64, of shape"
    with pytest.raises(ValueError, match=words):
        train(start, torch.zeros(x_shape), torch.zeros(y_shape, dtype=torch.int64), Training(epochs=1))


@BOTH
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "squared_error"])
@pytest.mark.parametrize("n_out", [1, 3])
def test_losses_of_numbers_are_the_plain_loop(loss, n_out, compiled):
    training = Training(epochs=3, batch_size=16, learning_rate=0.01, loss=loss)
    x, _ = blobs(40, 2)
    y = torch.rand(40, n_out, generator=torch.Generator().manual_seed(0))
    start = Ensemble([2, 17, 33, n_out], ["gelu"], [4])
    network = start.member(0)
    losses = plain_loop(network, 4, x, y, training)
    history = train(start, x, y, training, compiled=compiled)
    for p, q in zip(history.final.member(0).parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)
    torch.testing.assert_close(history.loss[:, 0], torch.tensor(losses), rtol=0, atol=1e-5)


@pytest.mark.skipif(not HAS_KERNEL, reason="no C++ compiler was found")
@pytest.mark.parametrize("sizes", [[1, 1, 2], [3, 16, 2], [2, 50, 50, 2], [5, 70, 9, 40, 11]])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_compiled_code_is_plain_pytorch_for_any_shape(sizes, batch_size):
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(2, 23, sizes[0], generator=stream)
    y = torch.randint(0, sizes[-1], (2, 23), generator=stream)
    start = Ensemble(sizes, ["prelu", "tanh"], [1, 2])
    training = Training(epochs=3, batch_size=batch_size)
    fast, plain = (train(start, x, y, training, compiled=compiled) for compiled in (True, False))
    assert distance(fast.final, plain.final) < 2e-5
    torch.testing.assert_close(fast.loss, plain.loss, rtol=1e-4, atol=1e-5)
    assert distance(start, fast.final) > 1e-4


@BOTH
@pytest.mark.parametrize("output", ["activated", "negated"])
@pytest.mark.parametrize("output_bias", [True, False])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_every_output_is_the_plain_loop(output, output_bias, optimiser, compiled):
    x, y = blobs(61, seed=4)
    training = Training(epochs=4, batch_size=17, optimiser=optimiser, learning_rate=0.01, weight_decay=0.01)
    names = list(ACTIVATIONS)
    start = Ensemble(SIZES, names, range(len(names)), output=output, output_bias=output_bias)
    history = train(start, x, y, training, compiled=compiled)
    assert (history.final.output, history.final.output_bias) == (output, output_bias)
    for k in range(len(names)):
        network = start.member(k)
        losses = plain_loop(network, k, x, y, training)
        torch.testing.assert_close(history.loss[:, k], torch.tensor(losses), rtol=0, atol=2e-5)
        for p, q in zip(history.final.member(k).parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=2e-5)
    if not output_bias:
        assert not history.final.biases[-1].any()


@pytest.mark.parametrize("size", [1, 10_000])
def test_points_put_in_order_bit_by_bit_are_the_same(size, monkeypatch):
    x, y = blobs(50, seed=0)
    start, training = Ensemble(SIZES, ["relu", "tanh"], [1, 2]), Training(epochs=3, batch_size=7)
    at_once = train(start, x, y, training, compiled=False)
    monkeypatch.setattr(runs, "GATHERED_BYTES", size)
    assert distance(train(start, x, y, training, compiled=False).final, at_once.final) == 0


@BOTH
def test_full_batches_are_the_plain_loop(compiled):
    x, y = blobs(40, seed=1)
    training = Training(epochs=5, batch_size=100, optimiser="sgd", momentum=0.0, learning_rate=0.1)
    start = Ensemble(SIZES, ["relu"], [3])
    network = start.member(0)
    losses = plain_loop(network, 3, x, y, training)
    history = train(start, x, y, training, compiled=compiled)
    torch.testing.assert_close(history.loss[:, 0], torch.tensor(losses), rtol=0, atol=1e-5)


def test_estimated_seconds_grow_with_the_epochs(monkeypatch):
    seen, clock = [], iter([10.0, 13.0])
    monkeypatch.setattr(training_module, "train", lambda *a, **_: seen.append(a[3].epochs))
    monkeypatch.setattr(training_module.time, "perf_counter", lambda: next(clock))
    found = training_module.training_seconds(None, None, None, Training(epochs=100), n_epochs=3)
    assert seen == [1, 3]
    assert found == pytest.approx(100.0)


@BOTH
def test_learning_rates_of_their_own(compiled):
    x, y = blobs(30, 0)
    start = Ensemble(SIZES, ["relu"] * 3, [5, 5, 5])
    rates = [0.001, 0.02, 0.001]
    together = train(start, x, y, Training(epochs=3, learning_rate=rates), compiled=compiled).final
    assert distance(together.select([0]), together.select([2])) == 0
    for k, rate in enumerate(rates):
        alone = train(start.select([k]), x, y, Training(epochs=3, learning_rate=rate), compiled=compiled).final
        assert distance(together.select([k]), alone) < 1e-6
    with pytest.raises(ValueError, match="learning_rate must be one number, or one for each of 3 members, got 2"):
        train(start, x, y, Training(epochs=3, learning_rate=[0.1, 0.2]))
    with pytest.raises(ValueError, match=r"learning_rate\[1\] must be a finite number above 0"):
        Training(learning_rate=[0.1, 0.0])


@BOTH
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_diverging_member_is_frozen_flagged_and_alone(optimiser, compiled):
    x, y = own_blobs(5, 40)
    x[3, 7] = torch.inf  # the third member's loss is not finite in the first epoch
    start = Ensemble(SIZES, ["relu", "tanh", "gelu", "silu", "relu"], range(5))
    training = Training(epochs=2 * training_module.LEG + 3, batch_size=8, optimiser=optimiser)
    with pytest.warns(RuntimeWarning, match="The loss of 1 of 5 members .* frozen: 3 in epoch 1"):
        history = train(start, x, y, training, snapshots=[0, 1, training.epochs], compiled=compiled)
    assert history.diverged == {3: 0}
    assert history.loss[:, 3].isnan().all()
    assert all(p[3].isfinite().all() for p in history.final.parameters())
    assert distance(history.at(1).select([3]), history.final.select([3])) == 0
    healthy = [0, 1, 2, 4]
    alone = train(start.select(healthy), x[healthy], y[healthy], training, compiled=compiled)
    assert alone.diverged == {}
    torch.testing.assert_close(history.loss[:, healthy], alone.loss, rtol=1e-5, atol=1e-6)
    assert distance(history.final.select(healthy), alone.final) < 1e-4


@BOTH
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_divergence_shows_through_every_activation(bad, compiled):
    x, y = own_blobs(len(ACTIVATIONS), 10)
    x[:, 2] = bad
    start = Ensemble(SIZES, list(ACTIVATIONS), range(len(ACTIVATIONS)))
    with pytest.warns(RuntimeWarning, match="frozen"):
        history = train(start, x, y, Training(epochs=3, batch_size=5), compiled=compiled)
    assert set(history.diverged) == set(range(len(ACTIVATIONS)))


@BOTH
def test_divergence_is_noticed_when_it_happens(compiled):
    x, y = blobs(40, 0)
    training = Training(epochs=30, batch_size=40, learning_rate=[1e30, 0.01], optimiser="sgd")
    start = Ensemble(SIZES, ["relu", "relu"], [0, 1])
    with pytest.warns(RuntimeWarning, match="1 of 2 members"):
        history = train(start, x, y, training, compiled=compiled)
    (epoch,) = history.diverged.values()
    assert 1 <= epoch < 10
    assert history.loss[:epoch, 0].isfinite().all()
    assert history.loss[epoch:, 0].isnan().all()
    assert history.loss[:, 1].isfinite().all()


class Interruption(Exception):
    """Stands for a pulled plug."""


@BOTH
@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_interrupted_run_ends_as_if_it_was_not(stop_at, compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training_module, "LEG", 2)
    x, y = own_blobs(3, 20)
    x[2, 0] = torch.inf
    start = Ensemble(SIZES, ["tanh", "prelu", "relu"], range(3))
    protocol, options = Training(epochs=9, batch_size=8), {"snapshots": [0, 3, 5, 9], "compiled": compiled}
    with pytest.warns(RuntimeWarning, match="frozen"):
        whole = train(start, x, y, protocol, **options)
    path, saves, save = tmp_path / "run.pt", [], runs.Run.save

    def save_then_fail(run, to):
        save(run, to)
        saves.append(run.epoch)
        if len(saves) == stop_at:
            raise Interruption

    monkeypatch.setattr(runs.Run, "save", save_then_fail)
    with pytest.raises(Interruption):
        train(start, x, y, protocol, **options, checkpoint=path)
    monkeypatch.setattr(runs.Run, "save", save)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    with pytest.warns(RuntimeWarning, match="frozen"):
        resumed = train(start, x, y, protocol, **options, checkpoint=path)
    assert not path.exists()
    assert resumed.epochs == whole.epochs
    assert resumed.diverged == whole.diverged
    assert torch.equal(resumed.loss.nan_to_num(-1), whole.loss.nan_to_num(-1))
    for one, other in zip(resumed.snapshots, whole.snapshots, strict=True):
        assert distance(one, other) == 0


KILLED = """
import sys, torch
from helpers import training
from helpers.models import Ensemble
module = sys.modules["helpers.training.train"]
module.CHECKPOINT_SECONDS, module.LEG = 0.0, 1
x = torch.linspace(-1, 1, 40).view(20, 2)
ensemble = Ensemble([2, 7, 2], ["tanh"] * 3, range(3))
protocol = training.Training(epochs=int(sys.argv[2]))
history = training.train(ensemble, x, (x[:, 0] > 0).long(), protocol, checkpoint=sys.argv[1])
torch.save(history.final.flatten(), sys.argv[1] + ".done")
"""


def test_killed_process_is_taken_up_by_the_next(tmp_path):
    killed, whole = tmp_path / "killed.pt", tmp_path / "whole.pt"
    command = [sys.executable, "-c", KILLED]
    process = subprocess.Popen([*command, str(killed), "600"])
    deadline = time.monotonic() + 120
    while not killed.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() != 0, "it finished before it could be killed"
    assert killed.is_file()
    for path in (killed, whole):
        subprocess.run([*command, str(path), "600"], check=True, timeout=300)
    assert not killed.exists()
    assert torch.equal(*(torch.load(f"{path}.done") for path in (killed, whole)))


def interrupted(path, monkeypatch, start, x, y, protocol):
    monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training_module, "LEG", 1)
    save = runs.Run.save

    def save_then_fail(run, to):
        save(run, to)
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save", save_then_fail)
        with pytest.raises(Interruption):
            train(start, x, y, protocol, checkpoint=path)


@pytest.mark.parametrize("change", ["seed", "data", "protocol", "cut", "text"])
def test_checkpoint_of_another_run_is_refused(change, tmp_path, monkeypatch):
    x, y = blobs(20, 0)
    start, protocol, path = Ensemble(SIZES, ["relu"], [0]), Training(epochs=4), tmp_path / "run.pt"
    interrupted(path, monkeypatch, start, x, y, protocol)
    reason = "checkpoint must belong to this run"
    if change == "seed":
        start = Ensemble(SIZES, ["relu"], [1])
    elif change == "data":
        x = x + 1
    elif change == "protocol":
        protocol = Training(epochs=4, learning_rate=0.01)
    else:
        reason = "checkpoint must be a whole file"
        path.write_bytes(path.read_bytes()[:1000] if change == "cut" else b"no checkpoint")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=reason):
        train(start, x, y, protocol, checkpoint=path)
    assert path.read_bytes() == before


def test_checkpoint_needs_its_folder(tmp_path):
    x, y = blobs(20, 0)
    with pytest.raises(FileNotFoundError, match="checkpoint must lie in an existing folder"):
        train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=1), checkpoint=tmp_path / "no" / "run.pt")


def test_a_failing_save_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    x, y = blobs(20, 0)
    start, protocol, path = Ensemble(SIZES, ["relu"], [0]), Training(epochs=4), tmp_path / "run.pt"
    interrupted(path, monkeypatch, start, x, y, protocol)
    before = path.read_bytes()

    def fail(content, to):
        with open(to, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        train(start, x, y, protocol, checkpoint=path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_snapshots_that_need_too_much_memory_are_refused_beforehand():
    start = Ensemble([2, 50, 50, 2], ["relu"], [0])
    x, y = blobs(20, 0)
    with pytest.raises(ValueError, match=r"snapshots must fit into memory_gib = 0\.001, got 101 of 1 networks of 2804"):
        train(start, x, y, Training(epochs=100), snapshots=range(101), memory_gib=0.001)
    assert len(train(start, x, y, Training(epochs=2), snapshots=range(3), memory_gib=0.001).snapshots) == 3


@pytest.mark.parametrize(("shown", "lines"), [(True, True), (False, False), (None, False)])
def test_progress_is_shown_to_those_who_wait(shown, lines, capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    bar = progress.tqdm
    monkeypatch.setattr(progress, "tqdm", lambda **options: bar(**options | {"delay": 0, "mininterval": 0}))
    x, y = blobs(20, 0)
    train(Ensemble(SIZES, ["relu"] * 3, range(3)), x, y, Training(epochs=30), progress=shown)
    error = capsys.readouterr().err
    assert ("3 networks" in error and "/30" in error) == lines
    assert bool(error) == lines


def test_progress_is_shown_in_jupyterlab(capsys, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "chapter.ipynb")
    assert not progress.progress_bar(1, "", "", None).disable
    assert progress.progress_bar(1, "", "", False).disable


def test_several_ensembles_have_one_history():
    sizes, names, seeds = (
        [[2, 7, 6, 2], [2, 5, 2], [3, 5, 2]],
        [["relu", "gelu"], ["tanh"], ["relu", "abs"]],
        [[3, 4], [1], [1, 5]],
    )
    starts = [Ensemble(*each) for each in zip(sizes, names, seeds, strict=True)]
    x = [torch.randn(20 + k, s[0], generator=torch.Generator().manual_seed(k)) for k, s in enumerate(sizes)]
    y = [torch.arange(20 + k) % 2 for k in range(3)]
    rates = [0.001, 0.002, 0.003, 0.004, 0.005]
    history = train(starts, x, y, Training(epochs=3, learning_rate=rates), snapshots=[0, 3])
    assert history.epochs == (0, 3)
    assert history.loss.shape == (3, 5)
    first = 0
    for k, start in enumerate(starts):
        members = range(first, first := first + len(start))
        protocol = Training(epochs=3, learning_rate=[rates[number] for number in members])
        alone = train(start, x[k], y[k], protocol)
        assert distance(history.final[k], alone.final) == 0
        assert distance(history.at(0)[k], start) == 0
        assert torch.equal(history.loss[:, members], alone.loss)


def test_members_of_several_ensembles_are_counted_through():
    x, y = blobs(40, 0)
    starts = [Ensemble([2, 5, 2], ["relu"] * 2, [0, 1]), Ensemble([2, 4, 4, 2], ["relu"] * 2, [0, 1])]
    protocol = Training(epochs=30, batch_size=40, learning_rate=[0.01, 0.01, 0.01, 1e30], optimiser="sgd")
    with pytest.warns(RuntimeWarning, match="The loss of 1 of 4 members .* frozen: 3 in epoch"):
        history = train(starts, x, y, protocol)  # the same points for all
    assert list(history.diverged) == [3]
    assert history.loss[-1].isnan().tolist() == [False, False, False, True]


@BOTH
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_falling_rate_is_that_of_pytorch(optimiser, compiled):
    x, y = blobs(40, 1)
    rates = [0.01, 0.03]
    protocol = {"epochs": 25, "batch_size": 16, "optimiser": optimiser, "rate_factor": 0.5, "rate_every": 3}
    start = Ensemble(SIZES, ["tanh", "relu"], [3, 4])
    options = {"compiled": compiled, "snapshots": [7, 25]}
    history = train(start, x, y, Training(learning_rate=rates, **protocol), **options)
    for k, rate in enumerate(rates):
        network = start.member(k)
        losses = plain_loop(network, start.seeds[k], x, y, Training(learning_rate=rate, **protocol))
        torch.testing.assert_close(history.loss[:, k], torch.tensor(losses), rtol=0, atol=2e-5)
        for p, q in zip(history.final.member(k).parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=2e-5)
    steady = train(start, x, y, Training(learning_rate=rates, **protocol | {"rate_factor": 1.0}), **options)
    assert distance(history.final, steady.final) > 0.01


def test_device_that_is_not_there():
    x, y = blobs(10, 0)
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda"):
        train(Ensemble(SIZES, ["relu"], [0]), x, y, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device must be one that is there"):
            train(Ensemble(SIZES, ["relu"], [0]), x, y, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
@pytest.mark.parametrize("output", ["linear", "negated"])
@pytest.mark.parametrize("batch_size", [8, 40])
def test_gpu_trains_the_same_networks(output, batch_size):
    x, y = own_blobs(4, 40)
    start = Ensemble(SIZES, ["relu", "tanh", "prelu", "gelu"], range(4), output=output)
    training = Training(epochs=5, batch_size=batch_size)
    there, here = (train(start, x, y, training, device=device) for device in ("cuda", "cpu"))
    assert distance(there.final, here.final) < 1e-3
    torch.testing.assert_close(there.loss, here.loss, rtol=1e-3, atol=1e-4)


@BOTH
def test_trained_networks_are_as_good_as_those_of_the_plain_loop(compiled):
    training = Training(epochs=12, batch_size=20, learning_rate=0.01)
    n = 50
    start = Ensemble([2, 16, 16, 2], ["tanh", "relu"] * (n // 2), range(n))
    x, y = own_blobs(n, 100)
    x_test, y_test = own_blobs(n, 200)
    history = train(start, x, y, training, compiled=compiled)
    loss, accuracy = [], []
    for k in range(n):
        network = start.member(k)
        # Another order of the batches: as good, not the same.
        loss.append(plain_loop(network, k + 1000, x[k], y[k], training)[-1])
        accuracy.append(float((network(x_test[k]).argmax(1) == y_test[k]).double().mean()))
    ours = (history.final(x_test).argmax(2) == y_test).double().mean(1)
    for found, expected in ((history.loss[-1], loss), (ours, accuracy)):
        interval = paired_interval(np.asarray(found), np.asarray(expected))
        assert interval.low <= 0 <= interval.high
        assert interval.high - interval.low < 0.05


@pytest.mark.parametrize("name", ["compiled", "progress", "memory_gib"])
def test_options_that_are_none(name):
    x, y = blobs(10, 0)
    with pytest.raises(TypeError, match=f"^{name} must be"):
        train(Ensemble(SIZES, ["relu"], [0]), x, y, Training(epochs=1), **{name: "no"})


def observe(k, network):
    return {}


@pytest.mark.parametrize(
    ("networks", "option", "words"),
    [
        ("one", {"seeds": [0]}, "seeds must be left out for an ensemble"),
        ("one", {"observe": observe}, "observe must be left out for ensembles"),
        ("two", {"seeds": [0, 1]}, "seeds must be left out for ensembles"),
        ("two", {"observe": observe}, "observe must be left out for ensembles"),
        ("two", {"checkpoint": "run.pt"}, "checkpoint must be left out for several ensembles"),
        ("modules", {"checkpoint": "run.pt"}, "checkpoint must be left out for modules"),
        ("modules", {"objective": observe}, "objective must be left out for modules"),
        ("two", {"x": [torch.zeros(10, 2)]}, "x must be one tensor, or one for each of 2 networks, got 1"),
        ("modules", {"y": []}, "y must be one tensor, or one for each of 1 networks, got 0"),
    ],
)
def test_options_that_such_networks_have_no_use_for(networks, option, words):
    one = Ensemble(SIZES, ["relu"], [0])
    start = {"one": one, "two": [one, one], "modules": [one.member(0)]}[networks]
    seeds = {"seeds": [0]} if networks == "modules" else {}
    data = dict(zip("xy", blobs(10, 0), strict=True))
    with pytest.raises(ValueError, match=words):
        train(start, training=Training(epochs=1), **(data | seeds | option))


def test_networks_that_are_none():
    one, (x, y) = Ensemble(SIZES, ["relu"], [0]), blobs(10, 0)
    with pytest.raises(TypeError, match="networks must be an Ensemble, or a list, got one Sequential"):
        train(one.member(0), x, y, seeds=[0])
    with pytest.raises(TypeError, match="networks must be ensembles or modules, got some of each"):
        train([one, one.member(0)], x, y)
    with pytest.raises(TypeError, match="x and y must be tensors for an ensemble, got list and Tensor"):
        train(one, [x], y)
    with pytest.raises(ValueError, match="at least one member, got 0"):
        train([], x, y)


@pytest.mark.parametrize("networks", [5, [1, 2], torch.nn.Linear(2, 2), [torch.nn.Linear(2, 2), "tanh"]])
def test_what_is_no_network_is_refused_in_a_sentence(networks):
    with pytest.raises(TypeError, match=r"^networks must be .* got .*\.$"):
        train(networks, torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64), seeds=[0, 1])
