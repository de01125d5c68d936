"""Decision whether many trials run together, by the size of the network. Imports no torch by itself."""

from typing import TYPE_CHECKING, Self

from pydantic import NonNegativeInt

from invgrad.settings import Settings

if TYPE_CHECKING:  # a plan asks for sizes that are known already, without torch
    from torch import nn

SMALL_UP_TO = 1_000_000
"""Largest number of parameters of a small network."""

NARROW_UP_TO = 16
"""Largest number of channels of a narrow network's convolutions. Measured per trial of 16, on one core: all at once,
LeNet (12 channels) is 24 times as fast and a ResNet-20 of 4 to 16 is 12 times, a ConvNet of 8 to 32 only 1.3 times; but
a single trial takes as long as 16, which is ten times its own time where the network is wide.
"""


class NetworkSize(Settings):
    """Size of a network, as far as it decides whether trials run together."""

    parameters: NonNegativeInt
    channels: NonNegativeInt
    """Output channels of its widest convolution; 0 without any."""

    @classmethod
    def of(cls, network: "nn.Module") -> Self:
        """Count the parameters and channels of a network."""
        from torch.nn.modules.conv import _ConvNd

        convolutions = (module for module in network.modules() if isinstance(module, _ConvNd))
        return cls(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            channels=max((each.out_channels for each in convolutions), default=0),
        )

    @property
    def is_small(self) -> bool:
        """True if an attack is short (a minute, not an hour): a second core is better used by a second job than as a
        second thread.
        """
        return self.parameters <= SMALL_UP_TO

    @property
    def is_narrow(self) -> bool:
        """True if the convolutions of one trial leave a core idle, so that many trials at once pay on a CPU."""
        return self.is_small and self.channels <= NARROW_UP_TO

    def runs_together(self, *, on_gpu: bool) -> bool:
        """Decide whether many trials at once pay; on a CPU, one trial of a wide network keeps every core busy."""
        return on_gpu or self.is_narrow


def runs_together(network: "nn.Module") -> bool:
    """Decide whether many trials of a network at once pay, on the device where it is."""
    return NetworkSize.of(network).runs_together(on_gpu=next(network.parameters()).device.type != "cpu")
