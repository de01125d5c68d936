"""What one client shares with the server: a gradient, or a federated-averaging update.

The attacker simulates the same function on its candidate images, so it lives here once.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.func import functional_call, grad

from invgrad.settings import Settings

Parameters = dict[str, Tensor]
Loss = Callable[[Parameters, Tensor, Tensor], Tensor]


def cross_entropy(network: nn.Module) -> Loss:
    """The client's loss as a function of (parameters, images [n, 3, h, w], labels [n]): mean cross-entropy over the
    images. The network's buffers and mode are taken as they are.
    """

    def loss(parameters: Parameters, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, parameters, (images,)), labels)

    return loss


class ClientSettings(Settings):
    """How a client turns its images into what it shares."""

    @abstractmethod
    def share(self, loss: Loss, parameters: Parameters, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """What the client shares, one tensor per parameter, for images [n, 3, h, w] and labels [n]; differentiable
        with respect to the images.
        """

    @abstractmethod
    def check(self, images: int) -> None:
        """Raise `ValueError` if a client with this many images cannot work so."""


class GradientClient(ClientSettings):
    """Shares the gradient of the mean loss over its images (federated SGD, Sec. 2)."""

    kind: Literal["gradient"] = "gradient"

    def share(self, loss: Loss, parameters: Parameters, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The gradient with respect to every parameter."""
        return tuple(grad(loss)(parameters, images, labels).values())

    def check(self, images: int) -> None:
        """Any number of images will do."""


class FederatedAveraging(ClientSettings):
    """Shares the result of local SGD steps (Sec. 6; released code: `loss_steps`).

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

    def check(self, images: int) -> None:
        """The images must fill whole mini-batches."""
        if self.batch_size is not None and images % self.batch_size:
            divisors = [size for size in range(1, images + 1) if images % size == 0]
            nearest = min(divisors, key=lambda size: abs(size - (self.batch_size or 0)))
            raise ValueError(f"batch_size {self.batch_size} does not divide {images} images; nearest: {nearest}")

    def share(self, loss: Loss, parameters: Parameters, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The parameters after the local steps, or their difference to those before."""
        size = self.batch_size or len(images)
        batches = len(images) // size
        local = parameters
        for step in range(self.steps or (self.epochs or 0) * batches):
            batch = slice(step % batches * size, (step % batches + 1) * size)
            gradient = grad(loss)(local, images[batch], labels[batch])
            local = {name: value - self.learning_rate * gradient[name] for name, value in local.items()}
        if self.shared == "parameters":
            return tuple(local.values())
        return tuple(torch.sub(local[name], before) for name, before in parameters.items())


Client = Annotated[GradientClient | FederatedAveraging, Field(discriminator="kind")]
