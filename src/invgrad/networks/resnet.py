"""Residual networks for small images."""

from typing import Literal, NamedTuple

from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from invgrad.networks.base import NetworkSettings


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
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    first = block(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, planes) for _ in range(blocks - 1)))
