"""Invertible residual networks for small images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invgrad.networks.settings import IRevNet


def irevnet(settings: IRevNet, *, classes: int, size: int) -> nn.Module:
    """Build the network with torch's default initialisation.

    `size` must be divisible by 2 for every stage after the first.
    """
    return ReversibleNetwork(settings.blocks, settings.width, classes)


class ReversibleNetwork(nn.Module):
    """The i-RevNet: images [n, 3, height, width] to logits [n, classes]."""

    def __init__(self, blocks: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.padding = 2 * width - 3
        self.blocks = nn.ModuleList()
        channels = width
        for stage, count in enumerate(blocks):
            for number in range(count):
                shrinks = stage > 0 and number == 0
                channels *= 4 if shrinks else 1
                self.blocks.append(ReversibleBlock(channels, shrinks=shrinks, first=stage == number == 0))
        self.norm = nn.BatchNorm2d(2 * channels, momentum=0.9)
        self.fc = nn.Linear(2 * channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [n, classes] of normalised images [n, 3, height, width], padded with channels of zeros."""
        halves = F.pad(images, (0, 0, 0, 0, 0, self.padding)).chunk(2, dim=1)
        for block in self.blocks:
            halves = block(*halves)
        features = F.relu(self.norm(torch.cat(halves, dim=1)))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


class ReversibleBlock(nn.Module):
    """Reversible block: halves (a, b) of `channels` each to (b, a + change(b)); a quarter of them if it shrinks."""

    def __init__(self, channels: int, *, shrinks: bool, first: bool) -> None:
        super().__init__()
        inputs, hidden = (channels // 4 if shrinks else channels), channels // 4
        self.shrinks = shrinks
        self.change = nn.Sequential(
            *([] if first else [nn.BatchNorm2d(inputs), nn.ReLU()]),
            nn.Conv2d(inputs, hidden, 3, stride=2 if shrinks else 1, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False),
            nn.Dropout(0.1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1, bias=False),
        )

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new halves, [n, channels, height, width] each."""
        change = self.change(b)
        if self.shrinks:
            a, b = _pixels_to_channels(a), _pixels_to_channels(b)
        return b, a + change


def _pixels_to_channels(features: Tensor) -> Tensor:
    """Turn each 2×2 pixels into one with four times the channels: those of the first pixel, its right neighbour, …"""
    count, channels, height, width = features.shape
    squares = features.reshape(count, channels, height // 2, 2, width // 2, 2)
    return squares.permute(0, 3, 5, 1, 2, 4).reshape(count, 4 * channels, height // 2, width // 2)
