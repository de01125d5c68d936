"""Data that clients share with the server: gradients or updates, with public metadata."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, SupportsIndex

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from invgrad.clients.forms import Held, Numbers, class_indices, image_shape, in_order, of_channels, real, whole
from invgrad.clients.loss import trainable
from invgrad.clients.settings import Client
from invgrad.results.files import read_tensors, write_tensors
from invgrad.settings import SettingsError

INDEX_TYPES = torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Gradients or updates of several clients, and public metadata; never their images."""

    tensors: tuple[Tensor, ...]
    """One tensor [clients, *parameter.shape] per trainable parameter, in the order of `network.parameters()`."""
    images: int
    """Images per client, n."""
    shape: tuple[int, int, int]
    """Shape of one image: channels, height, width."""
    mean: tuple[float, ...]
    """The data set's mean per channel, of images in [0, 1]."""
    std: tuple[float, ...]
    labels: Tensor | None = None
    """Class indices [clients, n] if the server knows them; otherwise the attack infers them."""
    statistics: tuple[Tensor, ...] = ()
    """Batch-norm statistics [clients, channels] each, if the clients sent them (see `sent_statistics`)."""
    names: tuple[str, ...] = field(default=())
    """A name per client, from which its trials' randomness is derived; by default its position."""

    def __len__(self) -> int:
        """Count the clients."""
        return len(self.tensors[0])

    def name(self, client: int) -> str:
        """Return the name of a client."""
        return self.names[client] if self.names else str(client)

    def norms(self) -> Tensor:
        """Compute the Euclidean norm of all that each client shares, [clients], in double precision."""
        return torch.stack([tensor.double().flatten(1).square().sum(1) for tensor in self.tensors]).sum(0).sqrt()

    @classmethod
    def of(
        cls,
        network: nn.Module,
        gradient: Held,
        *,
        shape: Iterable[int],
        labels: Numbers | None = None,
        images: SupportsIndex | None = None,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        statistics: Sequence[Numbers] = (),
        learning_rate: float | None = None,
    ) -> Self:
        """Take what one client shared, in the form in which it is at hand.

        `gradient` holds tensors or arrays of any precision, on any device: in the order of `network.parameters()`, or
        by name in any order (the names may begin with `module.`). Either way it may leave out parameters that do not
        require a gradient; None stands for the zero gradient of a parameter that is not used. With a `learning_rate` it
        is instead the difference of two state dicts, after local training minus before, and minus this difference by
        the learning rate is attacked: the gradient, if there was one local step. Of a state dict, buffers are ignored.

        `labels`: a class index for each image, if the server knows them. `images`: their number, by default that of the
        labels, or 1. Without `mean` and `std` the network takes images in [0, 1] as they are. Raises `SettingsError` if
        something cannot be used.
        """
        tensors = in_order(network, gradient)
        if learning_rate is not None:
            if not 0 < learning_rate < math.inf:
                raise SettingsError(f"learning_rate: must be positive, got {learning_rate}")
            tensors = [tensor / -learning_rate for tensor in tensors]
        return cls.by_one_client(
            tensors, shape=shape, labels=labels, images=images, mean=mean, std=std, statistics=statistics
        )

    @classmethod
    def by_one_client(
        cls,
        tensors: Iterable[Numbers],
        *,
        shape: Iterable[int],
        labels: Numbers | None = None,
        images: SupportsIndex | None = None,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        statistics: Sequence[Numbers] = (),
    ) -> Self:
        """Take what one client shared, as `of` does, but only in the order of the network's trainable parameters."""
        if isinstance(tensors, Mapping):
            raise SettingsError("gradient: is by name; give Shared.of(network, gradient, …), which puts it in order")
        converted = [real(each, f"gradient: tensor {number}") for number, each in enumerate(tensors)]
        if not any(tensor.any() for tensor in converted):
            raise SettingsError(
                "gradient: is zero everywhere, as of a loss of exactly 0; it shows nothing of the images"
            )
        indices = None if labels is None else class_indices(labels)
        channels, height, width = image_shape(shape)
        return cls(
            tensors=tuple(tensor[None] for tensor in converted),
            images=(1 if indices is None else len(indices)) if images is None else whole(images, "images"),
            shape=(channels, height, width),
            mean=(0,) * channels if mean is None else of_channels(mean, "mean"),
            std=(1,) * channels if std is None else of_channels(std, "std"),
            statistics=tuple(real(each, "statistics")[None] for each in statistics),
            labels=None if indices is None else indices[None],
        )


def check(network: nn.Module, client: Client, shared: Shared) -> None:
    """Raise `SettingsError` if the tensors do not fit the network or each other."""
    training = [name or "the network" for name, module in network.named_modules() if module.training]
    if training:
        raise SettingsError(f"network: {training[0]} is in training mode; call network.eval() (batch-norm: see client)")
    if not isinstance(shared.images, int) or shared.images < 1:
        raise SettingsError(f"images: {shared.images} (nearest: 1)")
    try:
        client.check(shared.images)
    except ValueError as error:
        raise SettingsError(f"client: {error}") from None
    shapes = {name: tuple(parameter.shape) for name, parameter in trainable(network).items()}
    if len(shared.tensors) != len(shapes):
        raise SettingsError(
            f"shared: {len(shared.tensors)} tensors, but the network has {len(shapes)} parameters to train"
        )
    for (name, shape), tensor in zip(shapes.items(), shared.tensors, strict=True):
        if tuple(tensor.shape) != (len(shared), *shape):
            raise SettingsError(
                f"shared: {name} is {list(tensor.shape)} instead of {[len(shared), *shape]} (clients first)"
            )
    if shared.labels is not None and tuple(shared.labels.shape) != (len(shared), shared.images):
        raise SettingsError(
            f"labels: {list(shared.labels.shape)} instead of {[len(shared), shared.images]} (clients, images of each)"
        )
    if shared.labels is not None and shared.labels.dtype not in INDEX_TYPES:
        raise SettingsError(f"labels: are {shared.labels.dtype}, not class indices (nearest: labels.long())")
    if any(len(each) != len(shared) for each in shared.statistics):
        raise SettingsError(f"statistics: not of {len(shared)} clients, as the tensors are (clients first)")
    if len(shared.names) not in (0, len(shared)):
        raise SettingsError(f"names: {len(shared.names)} of {len(shared)} clients")
    if len(shared.mean) != shared.shape[0] or len(shared.std) != shared.shape[0]:
        raise SettingsError(f"shared: mean and std must have {shared.shape[0]} values, one for each channel")
    if not (all(map(math.isfinite, shared.mean)) and all(0 < each < math.inf for each in shared.std)):
        raise SettingsError(f"shared: mean {shared.mean} and std {shared.std} must be finite, and std positive")


CLIENT: TypeAdapter[Client] = TypeAdapter(Client)


def write_shared(path: Path, network: nn.Module, client: Client, shared: Shared) -> None:
    """Write the file of a shard: the protocol that its clients follow, and what they shared."""
    tensors = {} if shared.labels is None else {"labels": shared.labels}
    tensors |= {f"shared.{name}": each for name, each in zip(trainable(network), shared.tensors, strict=True)}
    tensors |= {f"statistics.{number:04d}": each for number, each in enumerate(shared.statistics)}
    about = {name: getattr(shared, name) for name in ("images", "shape", "mean", "std", "names")}
    write_tensors(path, tensors, {"shares": client.model_dump(mode="json"), **about})


def read_shared(path: Path, network: nn.Module) -> tuple[Client, Shared]:
    """Read the file that `write_shared` wrote."""
    tensors, about = read_tensors(path)
    names = [f"shared.{name}" for name in trainable(network)]
    if missing := [name for name in names if name not in tensors]:
        raise SettingsError(f"{path}: was shared by clients of another network: it has no '{missing[0]}'")
    shared = Shared(
        tensors=tuple(tensors[name] for name in names),
        images=about["images"],
        shape=tuple(about["shape"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        labels=tensors.get("labels"),
        statistics=tuple(tensors[name] for name in sorted(tensors) if name.startswith("statistics.")),
        names=tuple(about["names"]),
    )
    return CLIENT.validate_python(about["shares"]), shared
