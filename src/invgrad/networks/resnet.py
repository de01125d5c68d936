"""Residual networks for small images."""

from torch import Tensor, nn

from invgrad.networks.settings import Recipe, ResNet


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, the stride in the first; torchvision's parameter names."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Map features [n, inputs, height, width] to [n, planes, height / stride, width / stride]."""
        hidden = self.relu(self.bn1(self.conv1(features)))
        outputs: Tensor = self.bn2(self.conv2(hidden))
        outputs += features if self.downsample is None else self.downsample(features)
        positive: Tensor = self.relu(outputs)
        return positive


class Bottleneck(nn.Module):
    """A 3×3 convolution, which has the stride, between two 1×1 ones, beside a shortcut; torchvision's parameter
    names.
    """

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _convolution(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _convolution(planes, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Map features [n, inputs, height, width] to [n, 4 · planes, height / stride, width / stride]."""
        hidden = self.relu(self.bn1(self.conv1(features)))
        hidden = self.relu(self.bn2(self.conv2(hidden)))
        outputs: Tensor = self.bn3(self.conv3(hidden))
        outputs += features if self.downsample is None else self.downsample(features)
        positive: Tensor = self.relu(outputs)
        return positive


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


def resnet(settings: ResNet, *, classes: int, size: int) -> nn.Module:
    """Build the network for any `size`: Kaiming-normal convolutions (fan out), identity batch norm, linear as torch."""
    strides = settings.strides or (1,) + (2,) * (len(settings.recipe.stages) - 1)
    return ResidualNetwork(settings.recipe, strides, settings.pool, classes)


class ResidualNetwork(nn.Module):
    """The ResNet: images [n, 3, height, width] to logits [n, classes]."""

    def __init__(self, recipe: Recipe, strides: tuple[int, ...], pool: str, classes: int) -> None:
        super().__init__()
        block, width = BLOCKS[recipe.block], recipe.width
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        inputs = width
        self.layers = nn.Sequential()
        for stage, (blocks, stride) in enumerate(zip(recipe.stages, strides, strict=True)):
            planes = width * 2**stage
            self.layers.append(_stage(block, inputs, planes, blocks, stride))
            inputs = planes * block.expansion
        self.pool = nn.AdaptiveAvgPool2d(1) if pool == "average" else nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [n, classes] of normalised images [n, 3, height, width]."""
        features = self.layers(self.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(self.pool(features).flatten(1))
        return logits


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, planes: int, blocks: int, stride: int
) -> nn.Sequential:
    outputs = planes * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    first = block(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, planes) for _ in range(blocks - 1)))
