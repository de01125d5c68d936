"""Victim architectures: a name and numbers, never a name that hides a number."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from invgrad.networks.convnet import ConvNet
from invgrad.networks.lenet import LeNetZhu
from invgrad.networks.mlp import MLP
from invgrad.networks.resnet import ResNet

Network = Annotated[LeNetZhu | ConvNet | ResNet | MLP, Field(discriminator="name")]

NARROW_UP_TO = 1_000_000
"""Parameters of a narrow network, at most."""


def is_narrow(network: nn.Module) -> bool:
    """Whether many trials at once pay: a wider network keeps every core busy with the convolutions of one trial."""
    return sum(parameter.numel() for parameter in network.parameters()) <= NARROW_UP_TO


def build(network: Network, *, classes: int, size: int, seed: int) -> nn.Module:
    """The untrained network for `size`×`size` colour images, in evaluation mode, float32, on the CPU.

    The initial parameters depend on `seed` alone; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network.build(classes=classes, size=size).eval()
