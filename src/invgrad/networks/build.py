"""Construction of networks from their settings.

A new architecture is a settings class (and its place in `Network`), a function that builds it, and a line here.
"""

from collections.abc import Callable

import torch
from torch import nn

from invgrad.networks.convnet import convnet
from invgrad.networks.custom import custom
from invgrad.networks.densenet import densenet
from invgrad.networks.efficientnet_lite import efficientnet_lite, load_packaged
from invgrad.networks.irevnet import irevnet
from invgrad.networks.lenet import lenet_zhu
from invgrad.networks.logits import logits_of
from invgrad.networks.mlp import mlp
from invgrad.networks.mobilenet import mobilenet
from invgrad.networks.resnet import resnet
from invgrad.networks.settings import (
    MLP,
    ConvNet,
    Custom,
    DenseNet,
    EfficientNetLite,
    IRevNet,
    LeNetZhu,
    MobileNet,
    Network,
    NetworkSettings,
    ResNet,
    Torchvision,
)
from invgrad.networks.torchvision_zoo import load_published, of_torchvision
from invgrad.settings import SettingsError, one_line

BUILDERS: dict[type[NetworkSettings], Callable[..., nn.Module]] = {
    LeNetZhu: lenet_zhu,
    ConvNet: convnet,
    ResNet: resnet,
    MLP: mlp,
    DenseNet: densenet,
    MobileNet: mobilenet,
    IRevNet: irevnet,
    EfficientNetLite: efficientnet_lite,
    Torchvision: of_torchvision,
    Custom: custom,
}
"""Builder of each architecture, by settings class: it takes such settings, `classes` and `size`, and returns a network
from images [n, 3, size, size] to logits [n, classes], initialised from torch's global generator. That of `Custom` also
takes the number of channels.
"""


PUBLISHED: dict[type[NetworkSettings], Callable[..., None]] = {
    Torchvision: load_published,
    EfficientNetLite: load_packaged,
}
"""Function that puts published parameters into a network, if its settings name some, by settings class."""

MOST_PARAMETERS = 2**32
"""Most parameters of a network: 16 GiB of them, and as much again for each gradient."""


def build(network: Network, *, classes: int, size: int, seed: int, channels: int = 3) -> nn.Module:
    """Build the untrained network for images of this many channels and `size`×`size` pixels.

    It is that of `initial`, but with published parameters if its settings name some; these may be downloaded.
    """
    built = initial(network, classes=classes, size=size, seed=seed, channels=channels)
    if load := PUBLISHED.get(type(network)):
        load(network, built)
    return built


def initial(network: Network, *, classes: int, size: int, seed: int, channels: int = 3) -> nn.Module:
    """Build the network with its initial parameters, in evaluation mode, float32, on the CPU.

    They depend on `seed` alone; the global random state is left as it was. Raises `SettingsError` if the network
    cannot be built, or does not map images [1, channels, size, size] to logits [1, classes].
    """
    with torch.random.fork_rng(devices=[]):
        if isinstance(network, Custom):
            network.module()  # which may draw random numbers when it is imported, once
        torch.default_generator.manual_seed(seed)
        built = _built(network, classes, size, channels).eval()
        check_logits(network, built, classes, size, channels)
    return built


def outline(network: Network, *, classes: int, size: int) -> nn.Module:
    """Build the network's modules, in evaluation mode, with parameters of the right shapes and arbitrary values.

    Most take no memory for them. Raises `SettingsError` for a network that cannot be built, or has more than
    `MOST_PARAMETERS`.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                built = _built(network, classes, size).eval()
        except RuntimeError as error:
            if not isinstance(network, Torchvision | Custom):
                raise SettingsError(f"{network!r}: cannot be built: {one_line(error)}") from None
            built = _built(
                network, classes, size
            ).eval()  # some architectures compute with tensors while they are built
    if (count := sum(each.numel() for each in built.parameters())) > MOST_PARAMETERS:
        raise SettingsError(f"{network!r}: has {count:,} parameters (nearest: {MOST_PARAMETERS:,})")
    return built


def _built(network: Network, classes: int, size: int, channels: int = 3) -> nn.Module:
    if isinstance(network, Custom):
        return custom(network, classes=classes, size=size, channels=channels)
    if channels != 3:
        raise SettingsError(f"{network.title} takes images of 3 channels, not of {channels}; a factory's network may")
    return BUILDERS[type(network)](network, classes=classes, size=size)


def check_logits(network: Network, built: nn.Module, classes: int, size: int, channels: int = 3) -> None:
    """Raise `SettingsError` unless the network maps images [1, channels, size, size] to logits [1, classes]."""
    device = next((each.device for each in built.parameters()), None)
    logits_of(built, torch.zeros(1, channels, size, size, device=device), name=repr(network), classes=classes)
