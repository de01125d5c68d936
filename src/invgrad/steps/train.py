"""Victims: build a network, train it if it is to be trained, write its checkpoint.

A training that is stopped goes on from the last state that it wrote, and ends as if it had not been stopped.
"""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt, field_validator, model_validator
from torch import nn

from invgrad.data import Split, read_split
from invgrad.networks import Network, source_file
from invgrad.progress import Progress
from invgrad.results import Record, read_tensors, sha256, write, write_tensors
from invgrad.settings import Settings, SettingsError
from invgrad.training import Epoch, State, Training, train
from invgrad.victims import VictimFile, save_victim, untrained

SECONDS_BETWEEN_WRITES = 5.0
"""Of the state of a training, at least: an epoch can take milliseconds, a write takes longer."""


class TrainStep(Settings):
    """Everything that a victim depends on, besides its data."""

    network: Network
    dataset: str
    training: Training | None
    """None, or one without epochs: the victim stays untrained."""
    seed: int
    snapshots: tuple[NonNegativeInt, ...] = ()
    """Epochs after which the network is kept as well, 0 for before the first."""

    @property
    def epochs(self) -> int:
        """Of the training; 0 if there is none."""
        return self.training.epochs if self.training else 0

    @field_validator("snapshots")
    @classmethod
    def _in_order(cls, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(snapshots)))

    @model_validator(mode="after")
    def _snapshots_are_epochs(self) -> "TrainStep":
        if self.snapshots and self.snapshots[-1] > self.epochs:
            raise ValueError(f"snapshots: the training has no epoch {self.snapshots[-1]}; nearest: {self.epochs}")
        return self


def train_victim(
    step: TrainStep,
    validation: Path | None,
    training: Path | None,
    out: Path,
    checkpoint: Path | None,
    device: torch.device,
) -> None:
    """Write the victim to `out` and its snapshots beside it as `after` names them, each with its accuracy curve in a
    record.

    Without `validation`, the victim is untrained, for a data set of published mean and std. Until all is written, the
    state of the training is kept in `checkpoint` (None: beside `out`) and the snapshots beside that; a state that
    another call left there is gone on from, if it is of the same settings and data. `SettingsError` if the files given
    are not those that the settings need.
    """
    record = Record(step.model_dump(mode="json"), device)
    shown, data = (_read(path, step.dataset) for path in (validation, training))
    about = _describe(step, shown)
    inputs = [validation, training, source_file(step.network)]
    unfinished = Unfinished(checkpoint or out.with_stem(f"{out.stem}-unfinished"), step, about, inputs)
    if step.epochs:
        if shown is None or data is None:
            raise SettingsError("--data, --validation: a victim that is to be trained needs both splits")
        network, curve, resumed_after = _train(unfinished, data, shown, f"train {out.parent.name} {out.stem}", device)
    else:
        if data is not None:
            raise SettingsError("--data: the settings say that this victim is not trained")
        network, curve, resumed_after = about.build(), [], 0
        unfinished.keep_snapshot(network, 0)
    for epoch in step.snapshots:
        write(after(out, epoch), partial(shutil.copyfile, unfinished.snapshot(epoch)))
        record.write(after(out, epoch), epoch=epoch, curve=curve[:epoch])
    save_victim(out, about, network)
    record.write(out, resumed_after=resumed_after, curve=curve)
    unfinished.remove()


def after(path: Path, epoch: int) -> Path:
    """The snapshot after an epoch that belongs to a victim's file."""
    return path.with_stem(f"{path.stem}-epoch{epoch}")


class Unfinished:
    """What a training leaves behind until its victim is written: its state in one file, and the snapshots so far."""

    def __init__(self, checkpoint: Path, step: TrainStep, about: VictimFile, inputs: list[Path | None]) -> None:
        self._checkpoint = checkpoint
        self._step = step
        self._about = about
        self._origin = {
            "settings": step.model_dump(mode="json"),
            "inputs": [path and sha256(path) for path in inputs],
        }
        self._written = time.monotonic()

    def snapshot(self, epoch: int) -> Path:
        """Where the network after this epoch is kept."""
        return after(self._checkpoint, epoch)

    def keep(self, state: State) -> None:
        """Write what is to be kept of a training that has just come to this state."""
        self.keep_snapshot(state.network, len(state.curve))
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            curve = [epoch.as_row() for epoch in state.curve]
            write_tensors(self._checkpoint, state.tensors(), {"origin": self._origin, "curve": curve})
            self._written = time.monotonic()

    def keep_snapshot(self, network: nn.Module, epoch: int) -> None:
        """Write the network after this epoch, if the settings ask for it."""
        if epoch in self._step.snapshots:
            save_victim(self.snapshot(epoch), self._about, network)

    def state(self, device: torch.device) -> State:
        """The training where it was stopped, or before its first epoch; says so if there is a file it cannot use."""
        state = self._fresh(device)
        if not self._checkpoint.exists():
            self.keep(state)
            return state
        try:
            self._restore(state)
        except SettingsError as error:
            print(f"{' '.join(str(error).split())}; the training starts anew", flush=True)
            self._checkpoint.unlink()  # its snapshots are about to be replaced
            return self.state(device)
        print(f"{self._checkpoint}: the training goes on after epoch {len(state.curve)}", flush=True)
        return state

    def remove(self) -> None:
        """Leave nothing behind."""
        for file in [self._checkpoint, *map(self.snapshot, self._step.snapshots)]:
            file.unlink(missing_ok=True)

    def _fresh(self, device: torch.device) -> State:
        training = self._step.training or Training(epochs=0)
        return State(self._about.build().to(device), training, seed=self._step.seed)

    def _restore(self, state: State) -> None:
        """Bring a fresh state to that of the file; `SettingsError` if this cannot be, or must not."""
        tensors, content = read_tensors(self._checkpoint)
        if content.get("origin") != self._origin:
            raise SettingsError(f"{self._checkpoint}: is of other settings or other data")
        try:
            state.restore(tensors, [Epoch(**row) for row in content["curve"]])
        except (KeyError, TypeError, RuntimeError) as error:
            raise SettingsError(f"{self._checkpoint}: does not fit its own description: {error}") from None
        files = [self.snapshot(epoch) for epoch in self._step.snapshots if epoch <= len(state.curve)]
        if missing := [file for file in files if not file.exists()]:
            raise SettingsError(f"{self._checkpoint}: lacks its snapshot {missing[0]}")


def _train(
    unfinished: Unfinished, data: Split, validation: Split, title: str, device: torch.device
) -> tuple[nn.Module, list[dict[str, Any]], int]:
    """The trained network, a row for every epoch, and after how many of them this call took over."""
    state = unfinished.state(device)
    resumed_after = len(state.curve)
    with Progress(title, state.training.epochs) as progress:
        for epoch in train(state, data, validation):
            unfinished.keep(state)
            progress.show(epoch.epoch, f"validation accuracy {epoch.validation_accuracy:.3f}")
    return state.network, [epoch.as_row() for epoch in state.curve], resumed_after


def _read(path: Path | None, dataset: str) -> Split | None:
    split = read_split(path) if path else None
    if split and split.dataset != dataset:
        raise SettingsError(f"{path}: holds {split.dataset}, but the settings are for {dataset}")
    return split


def _describe(step: TrainStep, shown: Split | None) -> VictimFile:
    """What there is to say of the victim, from the images it is shown, or without any from the registry."""
    if shown is None:
        try:
            return untrained(step.network, step.dataset, step.seed)
        except SettingsError as error:
            raise SettingsError(f"--validation: give this split, since {error}") from None
    return VictimFile(
        network=step.network,
        dataset=step.dataset,
        classes=shown.classes,
        size=shown.images.shape[-1],
        mean=shown.mean,
        std=shown.std,
        seed=step.seed,
    )
