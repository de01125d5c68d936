"""Victims: build a network, train it if it is to be trained, write its checkpoint."""

from pathlib import Path

import torch

from invgrad.data import read_split
from invgrad.networks import Network
from invgrad.progress import Progress
from invgrad.results import Record
from invgrad.settings import Settings, SettingsError
from invgrad.training import Training, train
from invgrad.victims import VictimFile, save_victim


class TrainStep(Settings):
    """Everything that a victim depends on, besides its data."""

    network: Network
    training: Training | None
    seed: int


def train_victim(
    step: TrainStep, validation_path: Path, training_path: Path | None, out: Path, device: torch.device
) -> None:
    """Write the victim's checkpoint to `out`, with its accuracy curve in the record beside it."""
    record = Record(step.model_dump(mode="json"), device)
    validation = read_split(validation_path)
    about = VictimFile(
        network=step.network,
        dataset=validation.dataset,
        classes=validation.classes,
        size=validation.images.shape[-1],
        mean=validation.mean,
        std=validation.std,
        seed=step.seed,
    )
    network = about.build().to(device)
    if training_path and not step.training:
        raise SettingsError("--data: the settings say that this victim is not trained")
    curve = []
    if step.training:
        if training_path is None:
            raise SettingsError("--data: a victim that is to be trained needs the training split")
        data = read_split(training_path)
        if data.dataset != validation.dataset:
            raise SettingsError(f"{training_path}: holds {data.dataset}, but {validation_path} {validation.dataset}")
        with Progress(f"train {out.stem}", step.training.epochs) as progress:
            for epoch in train(network, step.training, data, validation, seed=step.seed):
                curve.append(epoch.as_row())
                progress.show(epoch.epoch, f"validation accuracy {epoch.validation_accuracy:.3f}")
    save_victim(out, about, network)
    record.write(out, curve=curve)
