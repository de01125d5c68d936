"""Victims: build a network, train it if it is to be trained, write its checkpoint.

A training that is stopped goes on from the last state that it wrote, and ends as if it had not been stopped.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import NonNegativeInt, field_validator, model_validator
from torch import nn

from invgrad.data import Split, read_split
from invgrad.networks import Network, source_file
from invgrad.progress import Progress
from invgrad.results import Record, read_tensors, write
from invgrad.settings import Settings, SettingsError
from invgrad.stopping import Stop
from invgrad.training import State, Training, train
from invgrad.unfinished import Keeping, Unfinished, origin_of
from invgrad.victims import VictimFile, save_victim, untrained


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
    every: Keeping | None = None,
    stop: Stop | None = None,
) -> None:
    """Write the victim to `out` and its snapshots beside it as `after` names them, each with its accuracy curve in a
    record.

    Without `validation`, the victim is untrained, for a data set of published mean and std. The state of the training
    is kept in `checkpoint` as often as `every` says, and the snapshots beside that; one that another call left there is
    gone on from, if it is of the same settings, data and code. The last, after all epochs, stays there for whoever may
    lose the result; without a `checkpoint` the state lies beside `out` until all is written. `SettingsError` if the
    files given are not those that the settings need; `Stopped` once `stop` asks for it and the state is kept.
    """
    record = Record(step.model_dump(mode="json"), device)
    shown, data = (_read(path, step.dataset) for path in (validation, training))
    about = _describe(step, shown)
    origin = origin_of("train", step, [validation, training, source_file(step.network)])
    unfinished = Unfinished(checkpoint or out.with_stem(f"{out.stem}-unfinished"), origin, device, every, stop)
    snapshots = Snapshots(unfinished.path, step.snapshots, about)
    if step.epochs:
        if shown is None or data is None:
            raise SettingsError("--data, --validation: a victim that is to be trained needs both splits")
        state = _state(step, about, unfinished, snapshots, device)
        title = f"train {out.parent.name} {out.stem}"
        _train(state, unfinished, snapshots, data, shown, title)
        network, curve = state.network, [epoch.as_row() for epoch in state.curve]
    else:
        if data is not None:
            raise SettingsError("--data: the settings say that this victim is not trained")
        network, curve = about.build(), []
        snapshots.keep(network, 0)
    record.seconds_before, record.devices_before = unfinished.seconds_before, unfinished.devices_before
    for epoch in step.snapshots:
        write(after(out, epoch), partial(shutil.copyfile, snapshots.path(epoch)))
        record.write(after(out, epoch), epoch=epoch, curve=curve[:epoch])
    save_victim(out, about, network)
    record.write(out, resumed=unfinished.resumed, curve=curve)
    if checkpoint is None or not step.epochs:  # what is not trained is made again in a moment
        unfinished.remove()
        snapshots.remove()


def after(path: Path, epoch: int) -> Path:
    """The snapshot after an epoch that belongs to a victim's file."""
    return path.with_stem(f"{path.stem}-epoch{epoch}")


class Snapshots:
    """The network after some epochs, kept beside the unfinished training until all of it is written."""

    def __init__(self, checkpoint: Path, epochs: Sequence[int], about: VictimFile) -> None:
        self._checkpoint = checkpoint
        self._epochs = epochs
        self._about = about

    def path(self, epoch: int) -> Path:
        """Where the network after this epoch is kept."""
        return after(self._checkpoint, epoch)

    def keep(self, network: nn.Module, epoch: int) -> None:
        """Write the network after this epoch, if it is wanted."""
        if epoch in self._epochs:
            save_victim(self.path(epoch), self._about, network)

    def missing(self, epoch: int) -> list[Path]:
        """Those of the epochs up to this one that are not there, or damaged."""
        return [self.path(each) for each in self._epochs if each <= epoch and not self._whole(each)]

    def _whole(self, epoch: int) -> bool:
        try:
            read_tensors(self.path(epoch))
        except SettingsError:
            return False
        return True

    def remove(self) -> None:
        """Leave nothing behind."""
        for epoch in self._epochs:
            self.path(epoch).unlink(missing_ok=True)


def _state(
    step: TrainStep, about: VictimFile, unfinished: Unfinished, snapshots: Snapshots, device: torch.device
) -> State:
    """The training where it was stopped, or before its first epoch."""
    state = State(about.build().to(device), step.training or Training(epochs=0), seed=step.seed)
    kept = unfinished.kept()
    if kept and (missing := snapshots.missing(len(kept["curve"]))):
        unfinished.start_anew(f"{unfinished.path}: lacks its snapshot {missing[0]}")
        kept = None
    if kept:
        state.restore(kept)
        where = f"goes on in epoch {len(state.curve) + 1}" if len(state.curve) < step.epochs else "had come to its end"
        print(f"{unfinished.path}: the training {where}", flush=True)
    else:
        snapshots.keep(state.network, 0)
    return state


def _train(
    state: State, unfinished: Unfinished, snapshots: Snapshots, data: Split, validation: Split, title: str
) -> None:
    """Train from this state to the end, keeping what is to be kept."""

    def keep_if_due() -> None:
        if unfinished.due():
            unfinished.keep(state.tensors())

    with Progress(title, state.training.epochs) as progress:
        for epoch in train(state, data, validation, keep_if_due):
            snapshots.keep(state.network, epoch.epoch)
            progress.show(epoch.epoch, f"validation accuracy {epoch.validation_accuracy:.3f}")
    unfinished.keep(state.tensors())


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
