"""Cases that `invgrad bench` times, and the passes of each. Imports no torch, so that a plan's cost needs none."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.networks.settings import ConvNet, EfficientNetLite, LeNetZhu, Network, ResNet, Torchvision
from invgrad.settings import SettingsError, unknown

LOCAL_STEPS = 5

LBFGS_GRADIENTS = 20
"""Largest number of gradients in one step of L-BFGS."""

TANGENT_PASSES = 7
"""Forward passes that an exact gradient of the objective takes per image, for a client that shares a gradient."""

LOCAL_STEP_PASSES = 9
"""Forward passes that it takes per image and local SGD step of federated averaging, but for one less in all: the first
step's parameters do not depend on the images.

The number is nominal: that of automatic differentiation, by torch's counter of floating-point operations. The
hand-written passes take about 11 per step, recomputed ones included.
"""

TRAINING_PASSES = 3
"""Forward passes per image of a training step: the forward pass itself and the gradients for parameters and
activations.
"""

Bound = Literal["matrix products", "memory"]
"""Limit of a machine that a step meets first: the rate of matrix products or the bandwidth of the memory."""


def passes(local_steps: int) -> int:
    """Forward passes per image that the objective's gradient takes; nominal for `local_steps` > 0.

    0 stands for a client that shares a gradient.
    """
    if not local_steps:
        return TANGENT_PASSES
    return LOCAL_STEP_PASSES * local_steps - 1


@dataclass(frozen=True)
class Case:
    """One benchmark: a network, an image size, the number of trials at once and of images in each."""

    name: str
    network: Network
    trials: int = 1
    images: int = 1
    size: int = 32
    classes: int = 10
    step: Literal["gradient", "l-bfgs", "local-steps", "training"] = "gradient"
    """Kind of iteration.

    It is the objective's gradient, a step of L-BFGS (20 gradients) for the squared Euclidean distance, the objective's
    gradient for a client that takes `LOCAL_STEPS`, or a step of a victim's training.
    """

    @property
    def client(self) -> Client:
        """The client whose gradient or update is matched."""
        return FederatedAveraging(steps=LOCAL_STEPS) if self.step == "local-steps" else GradientClient()

    @property
    def gradients(self) -> int:
        """Gradients that an iteration takes for each trial."""
        return LBFGS_GRADIENTS if self.step == "l-bfgs" else 1

    @property
    def passes(self) -> int:
        """Forward passes per image that an iteration takes; nominal for local steps."""
        if self.step == "training":
            return TRAINING_PASSES
        return self.gradients * passes(LOCAL_STEPS if self.step == "local-steps" else 0)


TRAINED: dict[str, Network] = {"LeNet (Zhu)": LeNetZhu(), "ResNet-20, width 64": ResNet(depth=20, width=64)}
RESNET18 = Torchvision.model_construct(model="resnet18")  # not validated, which needs torchvision
CASES = (
    *(Case("LeNet (Zhu)", LeNetZhu(), trials) for trials in (1, 20, 32, 100)),
    Case("LeNet (Zhu)", LeNetZhu(), 32, images=4),
    Case("LeNet (Zhu), L-BFGS", LeNetZhu(), 32, step="l-bfgs"),
    *(Case("ConvNet, width 64", ConvNet(), images=n) for n in (1, 4)),
    *(Case(f"ConvNet, width 64, {LOCAL_STEPS} local steps", ConvNet(), n, step="local-steps") for n in (1, 4)),
    *(Case("ResNet-20, width 64", ResNet(depth=20, width=64), images=n) for n in (1, 4)),
    Case("ResNet-20, width 64", ResNet(depth=20, width=64), trials=10),
    *(Case("ResNet-20, width 16", ResNet(depth=20, width=16), trials) for trials in (1, 12, 16)),
    *(Case(f"{name}, training", network, images=128, step="training") for name, network in TRAINED.items()),
    *(Case("ResNet-18, width 16", ResNet(depth=18, width=16), trials) for trials in (1, 12, 16)),
    Case("ResNet-18, width 32", ResNet(depth=18, width=32)),
    *(Case("ResNet-18, width 64", ResNet(depth=18), images=n) for n in (1, 4)),
    *(Case("ResNet-18 of ImageNet, 224×224", RESNET18, trials, size=224, classes=1000) for trials in (1, 8)),
    *(Case(f"EfficientNet-Lite0, {n}×{n}", EfficientNetLite(), size=n, classes=1000) for n in (64, 224)),
)


def named(parts: Iterable[str]) -> tuple[Case, ...]:
    """The cases whose name contains one of these, in upper or lower case; all if there are none.

    Raises `SettingsError` for one that no name contains.
    """
    chosen = {part: [case for case in CASES if part.lower() in case.name.lower()] for part in parts}
    for part, cases in chosen.items():
        if not cases:
            raise SettingsError(f"--network: {unknown('network', part, {case.name for case in CASES})}")
    return tuple(case for case in CASES if not chosen or any(case in cases for cases in chosen.values()))
