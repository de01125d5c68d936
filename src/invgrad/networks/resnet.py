"""Residual networks for small images."""

from typing import Literal, NamedTuple

from pydantic import Field, model_validator
from torch import Tensor, nn

from invgrad.networks.base import NetworkSettings


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
        """Features [n, inputs, height, width] to [n, planes, height / stride, width / stride]."""
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
        """Features [n, inputs, height, width] to [n, 4 · planes, height / stride, width / stride]."""
        hidden = self.relu(self.bn1(self.conv1(features)))
        hidden = self.relu(self.bn2(self.conv2(hidden)))
        outputs: Tensor = self.bn3(self.conv3(hidden))
        outputs += features if self.downsample is None else self.downsample(features)
        positive: Tensor = self.relu(outputs)
        return positive


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)


class Recipe(NamedTuple):
    """The residual blocks of one depth."""

    block: type[BasicBlock] | type[Bottleneck]
    stages: tuple[int, ...]
    width: int


RECIPES = {
    18: Recipe(BasicBlock, (2, 2, 2, 2), 64),
    20: Recipe(BasicBlock, (3, 3, 3), 16),
    28: Recipe(BasicBlock, (4, 4, 4), 16),
    32: Recipe(BasicBlock, (5, 5, 5), 16),
    34: Recipe(BasicBlock, (3, 4, 6, 3), 64),
    44: Recipe(BasicBlock, (7, 7, 7), 16),
    50: Recipe(Bottleneck, (3, 4, 6, 3), 64),
    56: Recipe(BasicBlock, (9, 9, 9), 16),
    101: Recipe(Bottleneck, (3, 4, 23, 3), 64),
    110: Recipe(BasicBlock, (18, 18, 18), 16),
    152: Recipe(Bottleneck, (3, 8, 36, 3), 64),
}


class ResNet(NetworkSettings):
    """A ResNet with a 3×3 stem and no stem pooling, widths doubling per stage (released code: `ResNet`).

    `width` is the base width, by default the depth's own (16 for three stages, 64 for four): the paper's
    *ResNetN-k* is `depth=N, width=16·k`. `strides` is the stride of each stage, by default 1, 2, 2, (2).
    """

    name: Literal["resnet"] = "resnet"
    depth: Literal[18, 20, 28, 32, 34, 44, 50, 56, 101, 110, 152]
    width: int | None = Field(default=None, ge=1)
    strides: tuple[int, ...] | None = None
    pool: Literal["average", "max"] = "average"

    @model_validator(mode="after")
    def _one_stride_a_stage(self) -> "ResNet":
        stages = len(RECIPES[self.depth].stages)
        if self.strides is not None and (len(self.strides) != stages or min(self.strides) < 1):
            raise ValueError(f"strides {list(self.strides)}: ResNet-{self.depth} needs {stages} positive ones")
        return self

    @property
    def title(self) -> str:
        """As the paper writes it, where *ResNetN-k* has three stages."""
        width = self.width or RECIPES[self.depth].width
        if len(RECIPES[self.depth].stages) == 3 and width % 16 == 0:
            return f"ResNet{self.depth}-{width // 16}"
        return f"ResNet-{self.depth}, base width {width}"

    def build(self, *, classes: int, size: int) -> nn.Module:
        """Convolutions Kaiming-normal (fan out), batch-norm identity, linear layer torch's default; any `size`."""
        recipe = RECIPES[self.depth]
        strides = self.strides or (1,) + (2,) * (len(recipe.stages) - 1)
        return ResidualNetwork(recipe, self.width or recipe.width, strides, self.pool, classes)


class ResidualNetwork(nn.Module):
    """Images [n, 3, height, width] to logits [n, classes]."""

    def __init__(self, recipe: Recipe, width: int, strides: tuple[int, ...], pool: str, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        inputs = width
        self.layers = nn.Sequential()
        for stage, (blocks, stride) in enumerate(zip(recipe.stages, strides, strict=True)):
            planes = width * 2**stage
            self.layers.append(_stage(recipe.block, inputs, planes, blocks, stride))
            inputs = planes * recipe.block.expansion
        self.pool = nn.AdaptiveAvgPool2d(1) if pool == "average" else nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of normalised images [n, 3, height, width]."""
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
