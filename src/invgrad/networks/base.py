"""What the settings of every architecture have in common."""

from abc import abstractmethod

from torch import nn

from invgrad.settings import Settings


class NetworkSettings(Settings):
    """The settings of one architecture, which build it."""

    @abstractmethod
    def build(self, *, classes: int, size: int) -> nn.Module:
        """The network for images [n, 3, size, size] and logits [n, classes], initialised from the global generator."""
