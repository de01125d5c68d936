"""Victim architectures: a name and numbers, never a name that hides a number."""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invgrad.networks.base import one_line
from invgrad.networks.convnet import ConvNet
from invgrad.networks.custom import Custom
from invgrad.networks.densenet import DenseNet
from invgrad.networks.irevnet import IRevNet
from invgrad.networks.lenet import LeNetZhu
from invgrad.networks.mlp import MLP
from invgrad.networks.mobilenet import MobileNet
from invgrad.networks.resnet import ResNet
from invgrad.networks.torchvision_zoo import Torchvision
from invgrad.settings import SettingsError

Network = Annotated[
    LeNetZhu | ConvNet | ResNet | MLP | DenseNet | MobileNet | IRevNet | Torchvision | Custom,
    Field(discriminator="name"),
]

SMALL_UP_TO = 1_000_000
"""Parameters of a small network, at most."""

NARROW_UP_TO = 16
"""Channels of a narrow network's convolutions, at most. Measured per trial of 16, on one core: all at once, LeNet (12
channels) is 4 times as fast, a ResNet-20 of 4 to 16 is 6 times, but a ConvNet of 8 to 32 is 1.6 times as slow.
"""


def is_small(network: nn.Module) -> bool:
    """Whether a second job gains more from a second core than a second thread of the same job."""
    return sum(parameter.numel() for parameter in network.parameters()) <= SMALL_UP_TO


def is_narrow(network: nn.Module) -> bool:
    """Whether many trials at once pay on a CPU: the convolutions of one trial of a wider network keep a core busy."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.modules.conv._ConvNd))
    return is_small(network) and all(each.out_channels <= NARROW_UP_TO for each in convolutions)


def build(network: Network, *, classes: int, size: int, seed: int) -> nn.Module:
    """The network before any training here, for `size`×`size` colour images: as `initial`, but with the published
    parameters if its settings name some, which may download them.
    """
    built = initial(network, classes=classes, size=size, seed=seed)
    network.load_published(built)
    return built


def initial(network: Network, *, classes: int, size: int, seed: int) -> nn.Module:
    """The network with its initial parameters, in evaluation mode, float32, on the CPU.

    They depend on `seed` alone; the global random state is left as it was. Raises `SettingsError` if the network
    cannot be built, or does not map images [1, 3, size, size] to logits [1, classes].
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        built = network.build(classes=classes, size=size).eval()
        _check_logits(network, built, classes, size)
    return built


def outline(network: Network, *, classes: int, size: int) -> nn.Module:
    """The network's modules and the shapes of its parameters, whose values mean nothing."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return network.build(classes=classes, size=size)
        except RuntimeError:  # some architectures compute with tensors while they are built
            return network.build(classes=classes, size=size)


def source_file(network: Network) -> Path | None:
    """The file outside this package that defines the network; None if there is none."""
    return network.source_file() if isinstance(network, Custom) else None


@torch.no_grad()
def _check_logits(network: Network, built: nn.Module, classes: int, size: int) -> None:
    try:
        logits = built(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{network!r}: takes no {size}×{size} images: {one_line(error)}") from error
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise SettingsError(f"{network!r}: its output for one image is {got} instead of logits [1, {classes}]")
