"""A fully connected network."""

from itertools import pairwise
from typing import Literal

from pydantic import Field, PositiveInt
from torch import nn

from invgrad.networks.base import NetworkSettings


class MLP(NetworkSettings):
    """Linear layers with biases and ReLUs between them (released code: `MLP`, widths 1024, 1024, 1024)."""

    name: Literal["mlp"] = "mlp"
    widths: tuple[PositiveInt, ...] = Field(default=(1024, 1024, 1024))

    @property
    def title(self) -> str:
        """With its widths."""
        return f"MLP, widths {', '.join(map(str, self.widths)) or 'none'}"

    def build(self, *, classes: int, size: int) -> nn.Module:
        """torch's default initialisation."""
        sizes = [3 * size * size, *self.widths, classes]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
