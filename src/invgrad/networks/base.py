"""What the settings of every architecture have in common."""

from abc import abstractmethod

from torch import nn

from invgrad.settings import Settings


class NetworkSettings(Settings):
    """The settings of one architecture, which build it."""

    @property
    def title(self) -> str:
        """What readers call it."""
        return type(self).__name__

    @abstractmethod
    def build(self, *, classes: int, size: int) -> nn.Module:
        """The network for images [n, 3, size, size] and logits [n, classes], initialised from the global generator."""

    def load_published(self, network: nn.Module) -> None:
        """Replace the parameters of a `network` built by these settings by published ones, where they name some."""


def one_line(error: BaseException) -> str:
    """The error's message as one line."""
    return " ".join(str(error).split())
