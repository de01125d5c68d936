"""Victim of a command that attacks a network of the user's choice, and the images that this takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invgrad.data.registry import describe
from invgrad.metrics.image_quality import SSIM_WINDOW
from invgrad.networks.build import build
from invgrad.networks.checkpoint import VictimFile, load_state, load_victim, untrained
from invgrad.networks.settings import Custom, Network
from invgrad.results.files import is_ours
from invgrad.settings import SettingsError
from invgrad.steps.settings import AttackOnNetwork


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A network under attack, and the images that it takes."""

    network: Network
    dataset: str | None
    classes: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    build: Callable[[], nn.Module]
    """Builds the network on the device, which may download parameters or run the user's code."""

    @classmethod
    def of(cls, about: VictimFile, build: Callable[[], nn.Module]) -> "Victim":
        """Take the facts of a checkpoint, or of an untrained network for a data set."""
        return cls(
            network=about.network,
            dataset=about.dataset,
            classes=about.classes,
            size=about.size,
            mean=about.mean,
            std=about.std,
            build=build,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of an image: channels, height, width."""
        return len(self.mean), self.size, self.size

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, if the data set has them."""
        return describe(self.dataset).class_names if self.dataset else ()

    @property
    def resize(self) -> int | None:
        """Return the shorter side to which images of another size are resized; None: that of the network's images."""
        return describe(self.dataset).resize if self.dataset else None

    def record(self) -> dict[str, Any]:
        """Return the facts for a result's record."""
        facts = {name: getattr(self, name) for name in ("dataset", "classes", "size", "mean", "std")}
        return {"network": self.network.model_dump(mode="json"), **facts}


def victim_of(
    step: AttackOnNetwork, checkpoint: Path | None, device: torch.device, otherwise: str | None = None
) -> Victim:
    """Find the victim; `SettingsError` if the settings and the checkpoint do not make one.

    `otherwise`: the data set of a network of whose images nothing is said.
    """
    if step.attack.snapshots:
        raise SettingsError("--set snapshots: images on the way are kept in the pipeline only; nearest: 0")
    own = [name for name in ("classes", "size", "channels", "mean", "std") if getattr(step, name) not in (None, ())]
    if checkpoint and is_ours(checkpoint):
        return _of_checkpoint(step, own, checkpoint, device)
    if step.network is None:
        raise SettingsError("--network: name one, or a checkpoint of ours, which says what it is of")
    dataset = step.dataset or (None if own else otherwise)
    if dataset is None:
        return _of_images(step, checkpoint, device)
    if own:
        raise SettingsError(f"--{own[0]}: data set {dataset} says it; leave it out, or --dataset")
    try:
        about = untrained(step.network, dataset, step.seed)
    except SettingsError as error:
        raise SettingsError(
            f"--dataset: {error}; or give a checkpoint, or --classes, --size, --mean and --std"
        ) from None
    return Victim.of(about, lambda: _ready(about.build(), checkpoint, device))


@torch.no_grad()
def predicted(network: nn.Module, images: Tensor) -> Tensor:
    """Return the class of each normalised image that the network predicts, [n], on the CPU."""
    classes: Tensor = network(images).argmax(1).cpu()
    return classes


def _of_checkpoint(step: AttackOnNetwork, own: list[str], checkpoint: Path, device: torch.device) -> Victim:
    if own:
        raise SettingsError(f"--{own[0]}: {checkpoint} says it; leave it out")
    custom = step.network if isinstance(step.network, Custom) else None
    network, about = load_victim(checkpoint, device, custom=custom)
    for option, given, found in (("network", step.network, about.network), ("dataset", step.dataset, about.dataset)):
        if given not in (None, found):
            raise SettingsError(f"--{option}: {checkpoint} has {found!r}, not {given!r}; leave it out")
    return Victim.of(about, lambda: network)


def _of_images(step: AttackOnNetwork, checkpoint: Path | None, device: torch.device) -> Victim:
    network, classes, size, channels = step.network, step.classes, step.size, step.channels or 3
    if network is None or classes is None or size is None:
        missing = "classes" if classes is None else "size"
        raise SettingsError(f"--{missing}: say how the network's images are: --classes and --size, or --dataset")
    if size < SSIM_WINDOW:
        raise SettingsError(f"--size: the structural similarity takes at least {SSIM_WINDOW} pixels, got {size}")
    for name, values in (("mean", step.mean), ("std", step.std)):
        if len(values) not in (0, channels):
            raise SettingsError(f"--{name}: {len(values)} values for {channels} channels; give one for each, or none")
    return Victim(
        network=network,
        dataset=None,
        classes=classes,
        size=size,
        mean=step.mean or (0.0,) * channels,
        std=step.std or (1.0,) * channels,
        build=lambda: _ready(
            build(network, classes=classes, size=size, seed=step.seed, channels=channels), checkpoint, device
        ),
    )


def _ready(network: nn.Module, checkpoint: Path | None, device: torch.device) -> nn.Module:
    if checkpoint:
        load_state(network, checkpoint)
    return network.to(device)
