"""A fully connected network."""

from itertools import pairwise

from torch import nn

from invgrad.networks.settings import MLP


def mlp(settings: MLP, *, classes: int, size: int) -> nn.Module:
    """Build the network with torch's default initialisation."""
    sizes = [3 * size * size, *settings.widths, classes]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
