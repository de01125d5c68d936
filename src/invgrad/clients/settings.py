"""Settings of clients: the protocol that they follow. Imports no torch, so that a plan is made without it."""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from invgrad.data.settings import JpegQuality
from invgrad.defences.settings import Defence
from invgrad.networks.settings import Custom
from invgrad.settings import Settings

STEPS_AT_ONCE = 10
"""Number of local steps whose graph is kept as a whole; for more steps, parts are recomputed when needed.

Measured with LeNet (20 images at once) and ConvNet (width 16): 100 steps take 1.4 times as long as with the whole
graph, and 1.1 to 1.3 times the memory of 10 steps instead of 10 times. With 5 in place of 10, memory would be about
halved again, but 10 steps would take 1.4 times as long, and 100 steps 1.8 times.
"""


MOST_STEPS = 100_000
"""Most local steps of a client."""


class ClientSettings(Settings):
    """Settings of a client's protocol: the computation of what it shares from its images.

    `batch_norm`: whether the client's network normalises by running statistics, as in the paper, or by those of its
    own batch. `statistics`: whether it also sends the latter. `defence`: what it does to its update before sharing it.
    """

    batch_norm: Literal["evaluation", "training"] = "evaluation"
    statistics: Literal["withheld", "sent"] = "withheld"
    defence: Defence | None = Field(default=None, exclude_if=lambda defence: defence is None)

    @model_validator(mode="after")
    def _defends_all_that_it_sends(self) -> "ClientSettings":
        if self.defence and self.statistics == "sent":
            raise ValueError("defence: does not cover batch statistics; nearest: statistics: 'withheld'")
        return self

    @model_validator(mode="after")
    def _sends_what_it_has(self) -> "ClientSettings":
        if self.statistics == "sent" and self.batch_norm == "evaluation":
            raise ValueError("statistics: 'sent' needs batch_norm: 'training', where a batch has statistics of its own")
        return self

    @abstractmethod
    def check(self, images: int) -> None:
        """Raise `ValueError` if a client with this many images cannot follow this protocol."""


class GradientClient(ClientSettings):
    """A client that shares the gradient of the mean loss over its images (federated SGD, Sec. 2)."""

    kind: Literal["gradient"] = "gradient"

    def check(self, images: int) -> None:
        """Accept any number of images."""


class FederatedAveraging(ClientSettings):
    """A client that shares the result of local SGD steps (Sec. 6; released code: `loss_steps`).

    Exactly one of `steps` and `epochs` is given. Mini-batches of `batch_size` (all images if None) are consecutive,
    in order, over and over.
    """

    kind: Literal["federated-averaging"] = "federated-averaging"
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    shared: Literal["difference", "parameters"] = "difference"

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> "FederatedAveraging":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    @model_validator(mode="after")
    def _defends_a_difference(self) -> "FederatedAveraging":
        if self.defence and self.shared == "parameters":
            raise ValueError("defence: is for updates, not parameters; nearest: shared: 'difference'")
        return self

    @model_validator(mode="after")
    def _withholds_statistics(self) -> "FederatedAveraging":
        if self.statistics == "sent":
            raise ValueError("statistics: 'sent' is for clients that share a gradient; nearest: 'withheld'")
        return self

    def check(self, images: int) -> None:
        """Raise `ValueError` if the images do not fill whole mini-batches, or if there are too many of these."""
        size = self.batch_size or images
        if images % size:
            divisors = [divisor for divisor in range(1, images + 1) if images % divisor == 0]
            nearest = min(divisors, key=lambda divisor: abs(divisor - size))
            raise ValueError(f"batch_size {size} does not divide {images} images; nearest: {nearest}")
        if (steps := self.steps or (self.epochs or 0) * images // size) > MOST_STEPS:
            raise ValueError(f"{steps:,} local steps (nearest: {MOST_STEPS:,})")

    def batches(self, images: int) -> list[slice]:
        """List the part of a client's images that each local step takes."""
        size = self.batch_size or images
        each = [slice(first, first + size) for first in range(0, images, size)]
        steps = self.steps or (self.epochs or 0) * len(each)
        return [each[step % len(each)] for step in range(steps)]


Client = Annotated[GradientClient | FederatedAveraging, Field(discriminator="kind")]


class ShareStep(Settings):
    """Settings of the share step: clients `first` to `last` (exclusive), their images, and their protocol."""

    shares: Client
    start: NonNegativeInt = 0
    every: PositiveInt = 1
    indices: tuple[NonNegativeInt, ...] | None = None
    images_per_client: PositiveInt
    distinct_labels: bool
    labels_known: bool
    swapped_rows: bool = False
    jpeg_quality: JpegQuality = None
    custom: Custom | None = None
    first: NonNegativeInt
    last: PositiveInt
