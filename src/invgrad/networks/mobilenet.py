"""MobileNetV2 for small images."""

from typing import Literal

from torch import nn

from invgrad.networks.base import NetworkSettings

STAGES = [
    # expansion, channels, blocks, stride of the first
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


class MobileNet(NetworkSettings):
    """torchvision's MobileNetV2 with stride 1 in the stem and in the second stage (released code: `MobileNet`)."""

    name: Literal["mobilenet"] = "mobilenet"

    def build(self, *, classes: int, size: int) -> nn.Module:
        """torchvision's initialisation, but the stem torch's default, as in the released code; any `size`."""
        # imported here because it takes seconds, which every job would pay
        from torchvision.models import MobileNetV2
        from torchvision.ops import Conv2dNormActivation

        mobilenet = MobileNetV2(num_classes=classes, inverted_residual_setting=STAGES)
        mobilenet.features[0] = Conv2dNormActivation(3, 32, activation_layer=nn.ReLU6)
        network: nn.Module = mobilenet
        return network
