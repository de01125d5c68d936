"""The paper's plain convolutional network."""

from itertools import pairwise

from torch import nn

from invgrad.networks.settings import ConvNet


def convnet(settings: ConvNet, *, classes: int, size: int) -> nn.Module:
    """Build the network with torch's default initialisation; `size` must be at least 9."""
    channels = [3, *(settings.width * multiple for multiple in (1, 2, 2, 4, 4, 4, 4, 4))]
    layers: list[nn.Module] = []
    for block, (inputs, outputs) in enumerate(pairwise(channels)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=settings.padding),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        if block in (5, 7):
            layers.append(nn.MaxPool2d(3))
    side = size // 3 // 3
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side * side, classes))
