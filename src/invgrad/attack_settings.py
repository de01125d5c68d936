"""Settings of the attack's optimiser and of its initialisation. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from invgrad.settings import Settings


class OptimiserSettings(Settings):
    """Settings of an optimiser; `step_size` is in normalised image coordinates."""

    step_size: float = Field(gt=0)


class Adam(OptimiserSettings):
    """Adam with torch's defaults; `signed` replaces the images' gradient by its sign, as proposed (Sec. 4)."""

    kind: Literal["adam"] = "adam"
    step_size: float = Field(default=0.1, gt=0)
    signed: bool = True


class SGD(OptimiserSettings):
    """SGD with Nesterov momentum 0.9 (the released code ignores its configured step and takes 0.01)."""

    kind: Literal["sgd"] = "sgd"
    step_size: float = Field(default=0.01, gt=0)
    signed: bool = False


class LBFGS(OptimiserSettings):
    """torch's L-BFGS without line search, 20 inner iterations a step (Zhu et al. 2019; released code's baseline)."""

    kind: Literal["lbfgs"] = "lbfgs"
    step_size: float = Field(default=1.0, gt=0)


Optimiser = Annotated[Adam | SGD | LBFGS, Field(discriminator="kind")]


class Normal(Settings):
    """Independent standard normal values in normalised coordinates."""

    kind: Literal["normal"] = "normal"


class Uniform(Settings):
    """Independent values uniform in [−1, 1) in normalised coordinates (released code: `rand`)."""

    kind: Literal["uniform"] = "uniform"


class Zeros(Settings):
    """Zeros, the data set's mean colour."""

    kind: Literal["zeros"] = "zeros"


class FromImage(Settings):
    """An image file, of the size of the clients' images, for every image of every trial."""

    kind: Literal["picture"] = "picture"
    path: Path


Start = Annotated[Normal | Uniform | Zeros | FromImage, Field(discriminator="kind")]
"""Initialisation of a trial's candidate images."""
