"""Victim checkpoints: a network's parameters with all that is needed to build it again."""

from pathlib import Path

import torch
from torch import nn

from invgrad.data import Channels
from invgrad.networks import Network, build
from invgrad.results import read_tensors, write_tensors
from invgrad.settings import Settings, SettingsError, parse


class VictimFile(Settings):
    """What a victim's checkpoint says of it; all of it is public to an attacker."""

    network: Network
    dataset: str
    classes: int
    size: int
    mean: Channels
    std: Channels
    seed: int

    def build(self) -> nn.Module:
        """The untrained network of this seed."""
        return build(self.network, classes=self.classes, size=self.size, seed=self.seed)


def save_victim(path: Path, about: VictimFile, network: nn.Module) -> None:
    """Write the checkpoint."""
    write_tensors(path, network.state_dict(), about.model_dump(mode="json"))


def load_victim(path: Path, device: torch.device) -> tuple[nn.Module, VictimFile]:
    """The network in evaluation mode on `device`, and what is known of it; `SettingsError` if the file does not fit."""
    tensors, content = read_tensors(path)
    about = parse(VictimFile, content, str(path))
    network = about.build()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise SettingsError(f"{path}: does not fit its own description: {' '.join(str(error).split())}") from None
    return network.to(device).eval(), about
