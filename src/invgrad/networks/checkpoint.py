"""Victim checkpoints: a network's parameters with all that is needed to build it again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invgrad.data.registry import Channels, Classes, Side, Spreads, describe
from invgrad.networks.build import build, initial, outline
from invgrad.networks.settings import Custom, Network
from invgrad.results.arrays import read_arrays
from invgrad.results.files import read_tensors, write_tensors
from invgrad.settings import Settings, SettingsError, one_line, parse

STATES = ("state_dict", "model_state_dict", "model", "network", "net")
"""Names under which training frameworks and scripts save the state of a network among other things."""


class VictimFile(Settings):
    """Metadata of a victim's checkpoint; all of it is public to an attacker."""

    network: Network
    dataset: str
    classes: Classes
    size: Side
    mean: Channels
    std: Spreads
    seed: int

    def build(self) -> nn.Module:
        """Build the untrained network of this seed; published parameters may be downloaded."""
        return build(self.network, classes=self.classes, size=self.size, seed=self.seed)


def untrained(network: Network, dataset: str, seed: int) -> VictimFile:
    """Describe an untrained victim for a data set of published mean and std; `SettingsError` for any other."""
    data = describe(dataset)
    if data.statistics is None:
        raise SettingsError(f"{dataset} has no published mean and std")
    mean, std = data.statistics.mean, data.statistics.std
    return VictimFile(
        network=network, dataset=dataset, classes=data.classes, size=data.size, mean=mean, std=std, seed=seed
    )


def save_victim(path: Path, about: VictimFile, network: nn.Module) -> None:
    """Write the checkpoint."""
    write_tensors(path, copied_state(network), about.model_dump(mode="json"))


def copied_state(network: nn.Module) -> dict[str, Tensor]:
    """Copy parameters and buffers, by name; safetensors takes none that share memory, as those of tied layers do."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def restore_state(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a `copied_state` into the network; `RuntimeError` in one line if a name or a shape differs."""
    state = network.state_dict()  # also holds the version of every layer, which the file does not and some layers need
    _refuse_others(state, tensors)
    state.update(tensors)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RuntimeError(one_line(error)) from None


def _refuse_others(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise `RuntimeError` in one line if a name or a shape differs."""
    if strangers := sorted(expected.keys() ^ found.keys()):
        raise RuntimeError(f"'{strangers[0]}' is in one of them only")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise RuntimeError(f"'{name}' is {list(found[name].shape)} instead of {list(tensor.shape)}")


def load_victim(path: Path, device: torch.device, *, custom: Custom | None = None) -> tuple[nn.Module, VictimFile]:
    """Load the network in evaluation mode on `device`, and its metadata; nothing is downloaded.

    A file executes no code: it may name a custom network only if the caller's own settings name the same one,
    `custom`. Nor does it take more memory than its tensors do: the network that it names is compared with them before
    it is built. Raises `SettingsError` if the file names another custom network, if its tensors do not fit, or if one
    holds what is not a finite number.
    """
    tensors, content = read_tensors(path)
    about = parse(VictimFile, content, str(path))
    if isinstance(about.network, Custom) and about.network != custom:
        raise SettingsError(
            f"{path}: names the code {about.network.factory} with {about.network.arguments}, "
            f"which runs only if the settings name it too; they name {custom.factory if custom else 'none'}"
        )
    _refuse_other_images(about, path)
    try:
        _refuse_others(outline(about.network, classes=about.classes, size=about.size).state_dict(), tensors)
        network = initial(about.network, classes=about.classes, size=about.size, seed=about.seed)
        restore_state(network, tensors)
    except (RuntimeError, SettingsError) as error:
        raise SettingsError(f"{path}: does not fit its own description: {error}") from None
    _refuse_not_finite(network, path)
    return network.to(device).eval(), about


def load_state(network: nn.Module, path: Path) -> None:
    """Load the parameters and buffers of a file of the user's own into the network; see `read_arrays`.

    They may lie one level down, as training frameworks save them, and their names may have a prefix. Raises
    `SettingsError` if it is not such a file, if it does not fit, or if it holds what is not a finite number.
    """
    found = read_arrays(path)
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: holds a {type(found).__name__}; save network.state_dict()")
    try:
        network.load_state_dict(_without_prefix(_one_level_down(found), list(network.state_dict())))
    except (AttributeError, RuntimeError, TypeError) as error:  # not only for what is no tensor
        raise SettingsError(f"{path}: does not fit the network: {error}") from None
    _refuse_not_finite(network, path)


def _one_level_down(found: dict[str, Any]) -> dict[str, Any]:
    """Look up what frameworks call the state of the network; what is found itself, if there is no such entry."""
    return next((found[name] for name in STATES if isinstance(found.get(name), dict)), found)


def _without_prefix(state: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Take what is behind a prefix, such as `module.`, out of a state that has all these names there; or all of it."""
    first = names[0] if names else ""
    ends = (each.removesuffix(first) for each in map(str, state) if each.endswith(first))
    prefix = next((each for each in ends if all(each + name in state for name in names)), "")
    return {str(name).removeprefix(prefix): each for name, each in state.items() if str(name).startswith(prefix)}


def _refuse_not_finite(network: nn.Module, path: Path) -> None:
    if broken := next((name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()), None):
        raise SettingsError(f"{path}: '{broken}' holds what is not a finite number")


def _refuse_other_images(about: VictimFile, path: Path) -> None:
    """Raise `SettingsError` if the data set of a checkpoint has other images or classes than it says.

    Most networks have the same parameters for images of any size, which decides what memory they take.
    """
    try:
        data = describe(about.dataset)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    for name, said, known in (("size", about.size, data.size), ("classes", about.classes, data.classes)):
        if said != known:
            raise SettingsError(f"{path}: {name} is {said}, but {about.dataset} has {known}")
