"""What one client shares with the server: a gradient, or a federated-averaging update.

The attacker simulates the same function on its candidate images, so it lives here once.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from math import isqrt
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call, grad, replace_all_batch_norm_modules_
from torch.nn.modules.batchnorm import _BatchNorm

from invgrad.settings import Settings, SettingsError

Parameters = dict[str, Tensor]

Loss = Callable[[Parameters, Tensor, Tensor], Tensor]
"""A scalar of (parameters, images [n, 3, h, w], labels [n] or class probabilities [n, classes])."""

Statistics = Callable[[Parameters, Tensor], tuple[Tensor, ...]]
"""Mean and biased variance [channels] of what each batch-norm layer gets, alternating, in the order of the forward
pass, from (parameters, images [n, 3, h, w]); differentiable with respect to the images.
"""

STEPS_AT_ONCE = 10
"""Local steps whose graph is kept as a whole; of more, parts are made again when they are needed.

Measured with LeNet (20 images at once) and ConvNet (width 16): 100 steps take 1.4 times as long as with the whole
graph, and 1.1 to 1.3 times the memory of 10 steps instead of 10 times. With 5 in place of 10, memory would be about
halved again, but 10 steps would take 1.4 times as long, and 100 steps 1.8 times.
"""


def cross_entropy(network: nn.Module) -> Loss:
    """The client's loss: mean cross-entropy over the images. The network's buffers and mode are taken as they are."""

    def loss(parameters: Parameters, images: Tensor, labels: Tensor) -> Tensor:
        # A copy of the images, since a first layer may work in place.
        return F.cross_entropy(functional_call(network, parameters, (images.clone(),)), labels)

    return loss


def batch_statistics(network: nn.Module) -> Statistics:
    """The statistics of the images themselves, whether the network normalises by them or not."""
    layers = _batch_norm_layers(network)

    def statistics(parameters: Parameters, images: Tensor) -> tuple[Tensor, ...]:
        found: list[Tensor] = []

        def collect(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            others = [dim for dim in range(inputs[0].ndim) if dim != 1]
            variance, mean = torch.var_mean(inputs[0], others, correction=0)
            found.extend((mean, variance))

        with ExitStack() as hooks:
            for layer in layers:
                hooks.enter_context(layer.register_forward_pre_hook(collect))
            functional_call(network, parameters, (images.clone(),))
        return tuple(found)

    return statistics


def normalised_by_batch(network: nn.Module) -> nn.Module:
    """A copy whose batch-norm layers are in training mode and keep no running statistics; all else stays as it is.

    Raises `SettingsError` if there are no such layers, and in the forward pass if one gets a single value per channel.
    """
    copy = replace_all_batch_norm_modules_(deepcopy(network))
    layers = _batch_norm_layers(copy)
    if not layers:
        raise SettingsError("batch_norm: 'training': the network has no batch-norm layers; nearest: 'evaluation'")
    for layer in layers:
        layer.train()
        layer.register_forward_pre_hook(_refuse_single_values)
    return copy


class ClientSettings(Settings):
    """How a client turns its images into what it shares.

    `batch_norm`: whether the client's network normalises by running statistics, as in the paper, or by those of its
    own batch. `statistics`: whether it also sends the latter.
    """

    batch_norm: Literal["evaluation", "training"] = "evaluation"
    statistics: Literal["withheld", "sent"] = "withheld"

    @model_validator(mode="after")
    def _sends_what_it_has(self) -> "ClientSettings":
        if self.statistics == "sent" and self.batch_norm == "evaluation":
            raise ValueError("statistics: 'sent' needs batch_norm: 'training', where a batch has statistics of its own")
        return self

    def loss(self, network: nn.Module) -> Loss:
        """The loss whose gradients this client computes; raises as `normalised_by_batch` does."""
        return cross_entropy(network if self.batch_norm == "evaluation" else normalised_by_batch(network))

    def sent_statistics(self, network: nn.Module) -> Statistics:
        """The statistics that this client sends besides what it shares; none if it withholds them."""
        if self.statistics == "withheld":
            return lambda parameters, images: ()
        return batch_statistics(normalised_by_batch(network))

    @abstractmethod
    def share(self, loss: Loss, parameters: Parameters, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """What the client shares, one tensor per parameter, for images [n, 3, h, w] and labels as for `Loss`;
        differentiable with respect to the images and class probabilities.
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

    @model_validator(mode="after")
    def _withholds_statistics(self) -> "FederatedAveraging":
        if self.statistics == "sent":
            raise ValueError("statistics: 'sent' is for clients that share a gradient; nearest: 'withheld'")
        return self

    def check(self, images: int) -> None:
        """The images must fill whole mini-batches."""
        if self.batch_size is not None and images % self.batch_size:
            divisors = [size for size in range(1, images + 1) if images % size == 0]
            nearest = min(divisors, key=lambda size: abs(size - (self.batch_size or 0)))
            raise ValueError(f"batch_size {self.batch_size} does not divide {images} images; nearest: {nearest}")

    def share(self, loss: Loss, parameters: Parameters, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The parameters after the local steps, or their difference to those before; after more than `STEPS_AT_ONCE`
        steps differentiable once only.
        """

        def after(batches: list[slice], images: Tensor, labels: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            if len(batches) > STEPS_AT_ONCE:
                length = isqrt(len(batches))
                for first in range(0, len(batches), length):
                    part = partial(after, batches[first : first + length])
                    values = _Recomputed.apply(part, images, labels, *values)
                return values
            local = dict(zip(parameters, values, strict=True))
            for batch in batches:
                gradient = grad(loss)(local, images[batch], labels[batch])
                local = {name: value - self.learning_rate * gradient[name] for name, value in local.items()}
            return tuple(local.values())

        before = tuple(parameters.values())
        return self.shared_of(after(self.batches(len(images)), images, labels, *before), before)

    def batches(self, images: int) -> list[slice]:
        """Which of a client's images each local step takes."""
        size = self.batch_size or images
        each = [slice(first, first + size) for first in range(0, images, size)]
        steps = self.steps or (self.epochs or 0) * len(each)
        return [each[step % len(each)] for step in range(steps)]

    def shared_of(self, after: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What is shared, from the parameters after the local steps and before."""
        if self.shared == "parameters":
            return tuple(after)
        return tuple(torch.sub(*each) for each in zip(after, before, strict=True))


Client = Annotated[GradientClient | FederatedAveraging, Field(discriminator="kind")]


class _Recomputed(torch.autograd.Function):
    """`function(*tensors)`, a tuple of tensors: its graph is not kept, but made again by the backward pass.

    It works within torch.func, where torch.utils.checkpoint does not. The function must get every tensor that is
    differentiated as an argument. Second derivatives are not to be had: torch.func would give zeros.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    @once_differentiable  # torch.func would otherwise keep the graph of this pass, for a second derivative
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        def product(*tensors: Tensor) -> Tensor:
            outputs = ctx.function(*tensors)
            return torch.stack([(output * slope).sum() for output, slope in zip(outputs, slopes, strict=True)]).sum()

        wanted = tuple(number for number, needed in enumerate(ctx.needs_input_grad[1:]) if needed)
        # Not torch.func.vjp: it pulls back after its level has ended, where a part within this part cannot follow.
        found = dict(zip(wanted, grad(product, wanted)(*ctx.saved_tensors), strict=True))
        return None, *(found.get(number) for number in range(len(ctx.saved_tensors)))


def _batch_norm_layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


def _refuse_single_values(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    shape = tuple(inputs[0].shape)
    if inputs[0].numel() == shape[1]:
        raise SettingsError(
            f"batch_norm: 'training' needs more than one value per channel, but a layer gets {shape} "
            "(images, channels, pixels); nearest: 'evaluation'"
        )
