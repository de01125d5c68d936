"""Settings of the attack: its kinds, optimisers and initialisations. Imports no torch, so that a plan needs none."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from invgrad.networks.settings import Custom
from invgrad.objective.settings import AllLayers, Cosine, Distance, Layers, Weighting
from invgrad.settings import File, Precision, Settings


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
    path: File


Start = Annotated[Normal | Uniform | Zeros | FromImage, Field(discriminator="kind")]
"""Initialisation of a trial's candidate images."""


Selection = Literal["matching-cost", "total-variation", "pixel-mean", "pixel-median"]


class AttackSettings(Settings):
    """Settings of an attack of any kind."""

    @abstractmethod
    def steps(self, clients: int) -> int:
        """Return the amount of work for this many clients, in the unit in which progress is shown."""


class Attack(AttackSettings):
    """Settings of the attack by optimisation; the defaults are the paper's proposed one (Sec. 4)."""

    kind: Literal["optimisation"] = "optimisation"
    distance: Distance = Cosine()
    layers: Layers = AllLayers()
    weighting: Weighting = "equal"
    optimiser: Optimiser = Adam()
    step_decay: bool = True
    start: Start = Normal()
    iterations: int = Field(default=4800, ge=1, le=10**9)
    tolerance: float | None = Field(default=None, ge=0)
    """Gradient-matching loss at which a trial stops; None: none does."""
    restarts: int = Field(default=1, ge=1, le=10**6)
    total_variation: float = Field(default=0.01, ge=0)
    batch_statistics: float = Field(default=0, ge=0)
    """Weight of the distance to the batch-norm statistics that a client sent."""
    box: bool = True
    median_filter_every: int | None = Field(default=None, ge=1)
    selection: Selection = "matching-cost"
    unknown_labels: Literal["inferred", "optimised"] = "inferred"
    """Treatment of labels that the server does not know: infer them from the gradient, or optimise a soft label
    per image along with the images, from standard normal values (Zhu et al. 2019).
    """
    precision: Precision = "float32"
    deterministic: bool = False
    snapshots: int = Field(default=0, ge=0, le=10**4)
    """Number of moments, evenly spread from the start to the end, at which the candidates of every trial are kept (see
    `invgrad.attack.state.moments`).
    """

    def steps(self, clients: int) -> int:
        """Return the iterations of all trials."""
        return clients * self.restarts * self.iterations


class Analytic(AttackSettings):
    """Settings of the analytic attack (Prop. 3.1) on networks that begin with a fully connected layer.

    That layer needs a bias, and takes the flattened image.

    It finds the image itself for one image. For n > 1 it finds the n different mixtures of the images that the rows
    with the largest bias gradients show: not the images, unless each of these rows is activated by one of them alone.
    """

    kind: Literal["analytic"] = "analytic"
    precision: Literal["float64", "float32"] = "float32"

    def steps(self, clients: int) -> int:
        """Return one for each client."""
        return clients


def _by_optimisation_unless_said(settings: Any) -> Any:
    return {"kind": "optimisation"} | settings if isinstance(settings, dict) else settings


_Kinds = Annotated[Attack | Analytic, Field(discriminator="kind")]

AnyAttack = Annotated[_Kinds, BeforeValidator(_by_optimisation_unless_said, _Kinds)]
"""Settings of an attack of either kind; without a `kind`, an attack by optimisation."""


class AttackStep(Settings):
    """Settings of the attack step: the attack, and the key from which its initial noise is derived."""

    attack: AnyAttack
    seed_key: str
    custom: Custom | None = None

    def start_file(self) -> Path | None:
        """Return the picture that the attack starts from; None if it starts from none."""
        start = getattr(self.attack, "start", None)
        return start.path if isinstance(start, FromImage) else None
