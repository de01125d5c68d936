"""Densely connected networks for small images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invgrad.networks.settings import DenseNet

BOTTLENECK = 4
"""Channels between the two convolutions of a layer, in multiples of the growth."""


def densenet(settings: DenseNet, *, classes: int, size: int) -> nn.Module:
    """Build the network with torch's default initialisation.

    `size` must be at least 4, doubled for every block after the first.
    """
    channels, side = 2 * settings.growth, size
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for number, count in enumerate(settings.blocks):
        if number:
            layers.append(_transition(channels))
            channels, side = channels // 2, side // 2
        for _ in range(count):
            layers.append(DenseLayer(channels, settings.growth))
            channels += settings.growth
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels * (side // 4) ** 2, classes))


class DenseLayer(nn.Module):
    """Bottleneck layer: features [n, inputs, height, width] to [n, growth + inputs, height, width], new ones first."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Put the layer's own features before its inputs."""
        hidden = self.conv1(F.relu(self.norm1(features)))
        return torch.cat([self.conv2(F.relu(self.norm2(hidden))), features], dim=1)


def _transition(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels // 2, 1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), convolution, nn.AvgPool2d(2))
