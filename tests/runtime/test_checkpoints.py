"""A job that was stopped, however, ends bit by bit as one that was not."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from examples import share_step, shared_by
from projects import ROOT, invgrad
from torch import Tensor

from invgrad.attack.options import RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import LBFGS, SGD, Attack, AttackStep
from invgrad.clients.settings import FederatedAveraging, GradientClient
from invgrad.data.sources import load
from invgrad.data.splits import save_split
from invgrad.networks.build import build
from invgrad.networks.settings import ConvNet, LeNetZhu, Training, TrainStep
from invgrad.objective.settings import RandomLayers, SquaredEuclidean
from invgrad.results.files import read_tensors
from invgrad.results.origin import Origin
from invgrad.results.provenance import device_name
from invgrad.runtime.checkpoints import Checkpoint, remove_states
from invgrad.runtime.settings import CheckpointInterval
from invgrad.runtime.signals import Interrupted, StopSignal, stoppable
from invgrad.settings import Settings
from invgrad.steps.share import share_shard
from invgrad.steps.train import train_victim

CPU = torch.device("cpu")
INVGRAD = (sys.executable, "-m", "invgrad")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["invgrad.cli.main", "invgrad.steps.train", "invgrad.steps.attack"])


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


class InMemory:
    """Checkpointer that keeps the state after every iteration, and dies after some."""

    def __init__(self, state: Mapping[str, Tensor] | None = None, lives: int = 10**9) -> None:
        self._state = state
        self._lives = lives
        self.states: list[dict[str, Tensor]] = []

    def kept(self) -> Mapping[str, Tensor] | None:
        return self._state

    def due(self) -> bool:
        return True

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        self.states.append({name: tensor.clone() for name, tensor in tensors.items()})
        if len(self.states) == self._lives:
            raise Killed


def same(one: Reconstruction, other: Reconstruction) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(mine.nan_to_num(7), theirs.nan_to_num(7)) for mine, theirs in pairs)


@pytest.mark.parametrize(
    "attack",
    [
        Attack(iterations=4, restarts=2, snapshots=3),
        Attack(iterations=4, optimiser=SGD(), selection="pixel-mean", restarts=2),
        Attack(iterations=3, optimiser=LBFGS(), distance=SquaredEuclidean(), box=False, step_decay=False),
        Attack(iterations=6, layers=RandomLayers(count=3), median_filter_every=2),
        Attack(iterations=6, unknown_labels="optimised"),
        Attack(iterations=6, tolerance=0.1, snapshots=3),
    ],
    ids=["adam", "sgd", "l-bfgs", "random layers", "soft labels", "tolerance"],
)
@pytest.mark.parametrize("memory", [None, 1], ids=["together", "one by one"])
def test_an_attack_resumes_as_if_never_stopped(attack: Attack, memory: int | None) -> None:
    """Wherever it was stopped, also between batches, and several times."""
    network = build(LeNetZhu(), classes=10, size=32, seed=3)
    shared = shared_by(network.double(), clients=2)
    if attack.unknown_labels == "optimised":
        shared = replace(shared, labels=None)
    network = network.float()

    def attacked(checkpoint: InMemory | None) -> Reconstruction:
        return reconstruct(
            network,
            GradientClient(),
            shared,
            attack,
            seed_key="k",
            options=RunOptions(memory=memory, checkpoint=checkpoint),
        )

    whole = attacked(None)
    observed = InMemory()
    assert same(attacked(observed), whole)
    assert len(observed.states) >= 3
    for state in observed.states:
        assert same(attacked(InMemory(state)), whole)
    state, stops = None, 0
    while True:
        checkpoint = InMemory(state, lives=2)
        try:
            assert same(attacked(checkpoint), whole)
            break
        except Killed:
            state, stops = checkpoint.states[-1], stops + 1
    assert stops >= len(observed.states) // 2 - 1


def test_a_state_of_the_other_memory_of_l_bfgs_starts_its_batch_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a GPU, or without compiled code."""
    network = build(LeNetZhu(), classes=10, size=32, seed=3)
    shared = shared_by(network.double(), clients=2)
    attack = Attack(iterations=3, optimiser=LBFGS(), distance=SquaredEuclidean(), box=False, step_decay=False)

    def attacked(checkpoint: InMemory) -> Reconstruction:
        options = RunOptions(checkpoint=checkpoint)
        return reconstruct(network.float(), GradientClient(), shared, attack, seed_key="k", options=options)

    compiled = InMemory()
    attacked(compiled)
    monkeypatch.setattr("invgrad.attack.lbfgs.usable", lambda *_: False)
    whole = attacked(InMemory())
    if "stepper.triangle" not in compiled.states[0]:  # as it is where there is no compiler
        assert same(attacked(InMemory(compiled.states[1])), whole)
        assert capsys.readouterr().out == (
            "the state of this batch was kept by other code; starts it from the beginning\n"
        )


def test_the_general_path_resumes_too() -> None:
    network, client = build(ConvNet(width=2), classes=10, size=32, seed=3), FederatedAveraging(steps=1)
    shared, attack = shared_by(network.double(), clients=2), Attack(iterations=3)
    whole = reconstruct(network, client, shared, attack, seed_key="k")
    observed = InMemory()
    reconstruct(network, client, shared, attack, seed_key="k", options=RunOptions(checkpoint=observed))
    for state in observed.states:
        assert same(
            reconstruct(network, client, shared, attack, seed_key="k", options=RunOptions(checkpoint=InMemory(state))),
            whole,
        )


def ready(folder: Path, every: CheckpointInterval, stop: StopSignal | None = None) -> Checkpoint:
    return Checkpoint(folder / "state.safetensors", Origin("attack", {"settings": 1}, "code", {}), CPU, every, stop)


def test_a_state_is_kept_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 60 s or 3 iterations, whichever comes first, but never for more than a twentieth of the time."""
    now = [0.0]
    monkeypatch.setattr("invgrad.runtime.checkpoints.time", SimpleNamespace(monotonic=lambda: now[0]))
    unfinished = ready(tmp_path, CheckpointInterval(seconds=60, iterations=3))

    def due_after(seconds: float) -> bool:
        now[0] += seconds
        return unfinished.due()

    assert [due_after(1) for _ in range(3)] == [False, False, True]
    unfinished.keep({"a": torch.zeros(1)})
    assert [due_after(59), due_after(1)] == [False, True]

    def slow(*_: object) -> None:
        now[0] += 10

    monkeypatch.setattr("invgrad.runtime.checkpoints.write_tensors", slow)
    unfinished.keep({})
    assert [due_after(70), due_after(70), due_after(50), due_after(10)] == [False, False, False, True]


def test_what_was_kept_comes_back_with_its_time(tmp_path: Path) -> None:
    first = ready(tmp_path, CheckpointInterval())
    assert first.kept() is None
    first.keep({"a": torch.arange(3)})
    second = ready(tmp_path, CheckpointInterval())
    kept = second.kept()
    assert kept is not None
    assert kept["a"].tolist() == [0, 1, 2]
    assert second.resumed == 1
    assert second.seconds_before > 0
    assert second.devices_before == [device_name(CPU)]
    second.remove()
    assert list(tmp_path.iterdir()) == []


def test_states_go_with_their_results(tmp_path: Path) -> None:
    """Once these are there; with the halves that a killed process left."""
    states, results = tmp_path / "results/unfinished", tmp_path / "results"
    for path in ("a/0.safetensors", "a/.0.4194305.safetensors", "a/1.safetensors"):
        (states / path).parent.mkdir(parents=True, exist_ok=True)
        (states / path).touch()
    (results / "a").mkdir()
    (results / "a/0.safetensors").touch()
    remove_states(states, results)
    assert [path.name for path in states.rglob("*.safetensors")] == ["1.safetensors"]


def test_a_full_disk_does_not_end_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless it was asked to stop: then it must not pretend that its state is kept."""
    unfinished = ready(tmp_path, CheckpointInterval(), stop := StopSignal())
    unfinished.keep({"a": torch.arange(3)})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("invgrad.runtime.checkpoints.write_tensors", full)
    unfinished.keep({"a": torch.arange(4)})
    assert "the state could not be kept: [Errno 28] No space left on device" in capsys.readouterr().out
    stop.signal = signal.SIGTERM
    with pytest.raises(OSError, match="No space left"):
        unfinished.keep({"a": torch.arange(5)})
    kept = ready(tmp_path, CheckpointInterval()).kept()
    assert kept is not None
    assert kept["a"].tolist() == [0, 1, 2]


def test_a_request_to_stop_is_kept_first(tmp_path: Path) -> None:
    with stoppable() as stop:
        unfinished = ready(tmp_path, CheckpointInterval(), stop)
        assert not unfinished.due()
        os.kill(os.getpid(), signal.SIGTERM)
        assert unfinished.due()
        with pytest.raises(Interrupted, match=r"stopped by SIGTERM; .*state\.safetensors is kept") as stopped:
            unfinished.keep({"a": torch.zeros(1)})
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert read_tensors(tmp_path / "state.safetensors")[0]["a"].tolist() == [0]


def write_settings(path: Path, step: Settings) -> Path:
    path.write_text(json.dumps(step.model_dump(mode="json")))
    return path


class Job(NamedTuple):
    """A training or an attack of some seconds."""

    command: list[str | Path]
    """Of `invgrad`, without `--out` and `--checkpoint`."""
    results: dict[str, bytes]
    """What it comes to if nothing stops it."""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("training")
    recipe = Training(epochs=6, batch_size=16)
    step = TrainStep(network=LeNetZhu(), dataset="photos10", training=recipe, seed=0, snapshots=(3,))
    splits = [folder / f"{split}.safetensors" for split in ("validation", "train")]
    for split in splits:
        save_split(load("photos10", split.stem, "packaged", None, limit=2000), split)
    return as_job("train", folder, step, "--validation", splits[0], "--data", splits[1])


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("attack")
    victim, shared, data = (folder / f"{name}.safetensors" for name in ("victim", "shared", "data"))
    save_split(load("cifar10", "validation", "packaged", None), data)
    train_victim(TrainStep(network=LeNetZhu(), dataset="cifar10", training=None, seed=0), None, None, victim, None, CPU)
    share_shard(share_step(last=4), victim, data, shared, folder / "truth.safetensors", CPU)
    step = AttackStep(attack=Attack(iterations=800, snapshots=5), seed_key="k")
    return as_job("attack", folder, step, "--victim", victim, "--shared", shared)


def as_job(kind: str, folder: Path, step: Settings, *files: str | Path) -> Job:
    settings = write_settings(folder / "settings.json", step)
    command = [kind, "--settings", settings, *files, "--threads", "1", "--device", "cpu", "--every-seconds", "0.2"]
    ended(forked([*command, "--out", folder / "whole/out.safetensors"]))
    return Job(command, results(folder / "whole"))


def forked(command: list[str | Path]) -> BaseProcess:
    """Start a command in a process forked from one that has already imported what commands import."""
    process = FORKS.Process(target=invgrad, args=command)
    process.start()
    return process


def ended(process: BaseProcess) -> None:
    """Wait for a command that must succeed."""
    process.join()
    assert process.exitcode == 0


def changed(file: Path) -> int:
    """When it was last written; 0 for none."""
    return file.stat().st_mtime_ns if file.exists() else 0


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Job:
    """The one that the parameter names."""
    found: Job = request.getfixturevalue(request.param)
    return found


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.night)])
@pytest.mark.parametrize("job", ["training", "attack"], indirect=True)
def test_kill_9_at_random_times_changes_no_byte(job: Job, times: int, tmp_path: Path) -> None:
    """With forks, so that the kills hit their work and not their imports."""
    moment = random.Random(1)
    out, state = tmp_path / "killed/out.safetensors", tmp_path / "unfinished/state.safetensors"
    command = [*job.command, "--out", out, "--checkpoint", state]
    kills = 0
    while kills < times or not state.exists():
        process, kept = forked(command), changed(state)
        while process.is_alive() and changed(state) == kept:  # however long it takes where other tests take the cores
            process.join(0.02)
        process.join(moment.uniform(0, 1))
        if process.is_alive():
            process.kill()
            kills += 1
        else:
            state.unlink(missing_ok=True)
        process.join()
        out.unlink(missing_ok=True)  # as Snakemake does with what a killed job left
    ended(forked(command))
    assert results(out.parent) == job.results
    assert json.loads(out.with_suffix(".json").read_text())["resumed"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "number"),
    [
        ("training", signal.SIGTERM),
        ("attack", signal.SIGINT),
        pytest.param("attack", signal.SIGTERM, marks=pytest.mark.night),
    ],
    indirect=["job"],
)
def test_a_signal_ends_a_job_soon_and_safely(job: Job, number: signal.Signals, tmp_path: Path) -> None:
    """Even where nobody reads what it says any more."""
    out, state = tmp_path / "out/out.safetensors", tmp_path / "unfinished/state.safetensors"
    command = [*job.command, "--out", out, "--checkpoint", state]
    read, written = os.pipe()
    process = subprocess.Popen([*INVGRAD, *command], cwd=ROOT, stdout=written, stderr=written)
    os.close(written)
    while not state.exists():
        time.sleep(0.05)
    os.close(read)
    process.send_signal(number)
    asked = time.monotonic()
    assert process.wait() == 128 + number
    assert time.monotonic() - asked < 30, "soon, also where other tests take the cores"
    assert not out.exists()
    ended(forked(command))
    assert json.loads(out.with_suffix(".json").read_text())["resumed"] == 1
    assert results(out.parent) == job.results
