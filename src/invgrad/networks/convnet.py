"""The paper's plain convolutional network."""

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import nn

from invgrad.networks.base import NetworkSettings


class ConvNet(NetworkSettings):
    """Eight 3×3 conv–BN–ReLU blocks of widths w·(1,2,2,4,4,4 | 4,4), a 3×3 max-pool after the sixth and the eighth,
    one linear layer (released code: `ConvNet`, whose `ConvNet8/16/32` all build width 64).
    """

    name: Literal["convnet"] = "convnet"
    width: int = Field(default=64, ge=1)
    padding: Literal["zeros", "circular"] = "zeros"

    @property
    def title(self) -> str:
        """With its width."""
        return f"ConvNet, width {self.width}"

    def build(self, *, classes: int, size: int) -> nn.Module:
        """torch's default initialisation; `size` must be at least 9."""
        channels = [3, *(self.width * multiple for multiple in (1, 2, 2, 4, 4, 4, 4, 4))]
        layers: list[nn.Module] = []
        for block, (inputs, outputs) in enumerate(pairwise(channels)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=self.padding),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            if block in (5, 7):
                layers.append(nn.MaxPool2d(3))
        side = size // 3 // 3
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side * side, classes))
