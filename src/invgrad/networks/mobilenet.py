"""MobileNetV2 for small images."""

from torch import nn

from invgrad.networks.settings import MobileNet

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


def mobilenet(_: MobileNet, *, classes: int, size: int) -> nn.Module:
    """Build the network for any `size` with torchvision's initialisation, the stem with torch's, as released."""
    # imported here because it takes seconds, which every job would pay
    from torchvision.models import MobileNetV2
    from torchvision.ops import Conv2dNormActivation

    network = MobileNetV2(num_classes=classes, inverted_residual_setting=STAGES)
    network.features[0] = Conv2dNormActivation(3, 32, activation_layer=nn.ReLU6)
    built: nn.Module = network
    return built
