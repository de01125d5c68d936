"""Step `train`: a victim, untrained, trained, or taken from an earlier training, as a checkpoint.

A training that is stopped resumes from the last state that it wrote, and gives the same result.
"""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invgrad.data.settings import registry_digest
from invgrad.data.splits import Split, read_split
from invgrad.networks.checkpoint import VictimFile, save_victim, untrained
from invgrad.networks.settings import Training, TrainStep, source_files
from invgrad.networks.training import State, train
from invgrad.results.files import read_tensors, sha256, write
from invgrad.results.origin import Origin, numbered
from invgrad.results.provenance import Record, read_record
from invgrad.runtime.checkpoints import Checkpoint
from invgrad.runtime.progress import ProgressBar
from invgrad.runtime.settings import CheckpointInterval
from invgrad.runtime.signals import StopSignal
from invgrad.settings import SettingsError


def train_victim(
    step: TrainStep,
    validation: Path | None,
    training: Path | None,
    out: Path,
    checkpoint: Path | None,
    device: torch.device,
    every: CheckpointInterval | None = None,
    stop: StopSignal | None = None,
) -> None:
    """Write the victim to `out` and its snapshots beside it (see `after`), each with its accuracy curve in a record.

    Without `validation`, the victim is untrained, and the mean and std of its data set are published. The state of the
    training is written to `checkpoint` as often as `every` says, and snapshots beside that. A state that an earlier
    call left there is resumed if it is of the same settings, data and code. The state after all epochs stays there, in
    case that the result is lost. Without a `checkpoint` the state lies beside `out` until all is written.

    Raises `SettingsError` if the files are not those that the settings need, and `Interrupted` if `stop` was requested,
    after writing the state.
    """
    inputs = {"validation": validation, "data": training}
    origin = Origin.of("train", settings_of_victim(step), inputs, source_files(step.network))
    record = Record(origin, device)
    shown, data = (_read(path, step.dataset) for path in (validation, training))
    _refuse_other_splits(step, shown, data)
    about = _describe(step, shown)
    path = checkpoint or out.with_stem(f"{out.stem}-unfinished")
    job = _Job(step, about, Checkpoint(path, origin, device, every, stop))
    state = job.start(device)
    if shown and data:  # as is the case if it is to be trained
        job.train(state, data, shown, ProgressBar(f"train {out.parent.name} {out.stem}", step.epochs))
    job.write(out, state, record, trained_on=data.source if data else None)
    if checkpoint is None or not step.epochs:  # what is not trained is made again in a moment
        job.remove()


def take_trained(step: TrainStep, trained: Path, out: Path) -> None:
    """Write the victim to `out` and its snapshots beside it from checkpoints of the same training.

    Beside `trained` lie the same snapshots; the record of each lies beside it, and is kept in that of the copy. Raises
    `SettingsError`, before anything is written, if a file is not the one that its record is about, or is of another
    training.
    """
    pairs = [(trained, out), *((after(trained, epoch), after(out, epoch)) for epoch in step.snapshots)]
    records = [_record_of(step, source) for source, _ in pairs]
    given = numbered("checkpoint", (source for source, _ in pairs))
    record = Record(Origin.of("train", settings_of_victim(step), given, source_files(step.network)))
    for (source, copy), earlier in zip(pairs, records, strict=True):
        write(copy, partial(shutil.copyfile, source))
        record.write(copy, curve=earlier["curve"], trained=earlier)


def settings_of_victim(step: TrainStep) -> dict[str, Any]:
    """All that a victim depends on besides files: its settings, and what the registry says of its data set."""
    return step.model_dump(mode="json") | {"registry": registry_digest(step.dataset)}


def _record_of(step: TrainStep, source: Path) -> dict[str, Any]:
    """Read the record of a checkpoint; `SettingsError` if it is not about this file, or is of another training."""
    record = read_record(source)
    if lacking := {"sha256", "settings", "curve"} - record.keys():
        raise SettingsError(f"{source.with_suffix('.json')}: not the record of a training: lacks '{min(lacking)}'")
    if sha256(source) != record["sha256"]:
        raise SettingsError(f"{source}: is not the file that its record is about")
    settings = record["settings"] if isinstance(record["settings"], dict) else {}
    for name, wanted in step.model_dump(mode="json", exclude={"snapshots"}).items():
        if (was := settings.get(name)) != wanted:
            raise SettingsError(f"{source}: was trained with {name} {json.dumps(was)}, not {json.dumps(wanted)}")
    return record


def after(path: Path, epoch: int) -> Path:
    """The path of the snapshot after an epoch, beside a victim's file."""
    return path.with_stem(f"{path.stem}-epoch{epoch}")


class _Job:
    """Job that makes one victim, with its checkpoint and, beside that, the snapshots until all is written."""

    def __init__(self, step: TrainStep, about: VictimFile, checkpoint: Checkpoint) -> None:
        self._step = step
        self._about = about
        self._checkpoint = checkpoint

    def start(self, device: torch.device) -> State:
        """Return the state that an earlier process left, or that before the first epoch."""
        state = State(self._about.build().to(device), self._step.training or Training(epochs=0), seed=self._step.seed)
        if kept := self._kept():
            state.restore(kept)
            done, epochs = len(state.curve), self._step.epochs
            where = f"resumes in epoch {done + 1}" if done < epochs else "was complete"
            print(f"{self._checkpoint.path}: the training {where}", flush=True)
        else:
            self._keep_snapshot(state)
        return state

    def train(self, state: State, data: Split, validation: Split, progress: ProgressBar) -> None:
        """Train from this state to the end, and write snapshots and states."""
        with progress:
            for epoch in train(state, data, validation, partial(self._keep_if_due, state)):
                self._keep_snapshot(state)
                progress.show(epoch.epoch, f"validation accuracy {epoch.validation_accuracy:.3f}")
        self._checkpoint.keep(state.tensors())

    def write(self, out: Path, state: State, record: Record, trained_on: str | None) -> None:
        """Write the victim and its snapshots, each with its record, which says where the training images are from."""
        curve = [epoch.as_row() for epoch in state.curve]
        record.seconds_before, record.devices_before = self._checkpoint.seconds_before, self._checkpoint.devices_before
        for epoch in self._step.snapshots:
            write(after(out, epoch), partial(shutil.copyfile, self._snapshot(epoch)))
            record.write(after(out, epoch), epoch=epoch, curve=curve[:epoch], trained_on=trained_on)
        save_victim(out, self._about, state.network)
        record.write(out, resumed=self._checkpoint.resumed, curve=curve, trained_on=trained_on)

    def remove(self) -> None:
        """Delete the checkpoint and the snapshots beside it."""
        self._checkpoint.remove()
        for epoch in self._step.snapshots:
            self._snapshot(epoch).unlink(missing_ok=True)

    def _kept(self) -> Mapping[str, Tensor] | None:
        """The state that an earlier process left, if every snapshot up to there can be read; else None."""
        kept = self._checkpoint.kept()
        epochs = [epoch for epoch in self._step.snapshots if kept and epoch <= len(kept["curve"])]
        lacking = [path for path in map(self._snapshot, epochs) if not _is_whole(path)]
        if lacking:
            self._checkpoint.discard(f"{self._checkpoint.path}: lacks its snapshot {lacking[0]}")
            return None
        return kept

    def _keep_if_due(self, state: State) -> None:
        if self._checkpoint.due():
            self._checkpoint.keep(state.tensors())

    def _keep_snapshot(self, state: State) -> None:
        epoch = len(state.curve)
        if epoch in self._step.snapshots:
            save_victim(self._snapshot(epoch), self._about, state.network)

    def _snapshot(self, epoch: int) -> Path:
        return after(self._checkpoint.path, epoch)


def _is_whole(path: Path) -> bool:
    try:
        read_tensors(path)
    except SettingsError:
        return False
    return True


def _refuse_other_splits(step: TrainStep, validation: Split | None, training: Split | None) -> None:
    """Raise an error if the splits given are not those that the settings need."""
    if step.epochs and not (validation and training):
        raise SettingsError("--data, --validation: a victim that is to be trained needs both splits")
    if training and not step.epochs:
        raise SettingsError("--data: the settings say that this victim is not trained")


def _read(path: Path | None, dataset: str) -> Split | None:
    split = read_split(path) if path else None
    if split and split.dataset != dataset:
        raise SettingsError(f"{path}: holds {split.dataset}, but the settings are for {dataset}")
    return split


def _describe(step: TrainStep, shown: Split | None) -> VictimFile:
    """Describe the victim by its validation split, or by the registry if there is none."""
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
