"""Data that clients share with the server: gradients or updates, with public metadata."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter
from torch import Tensor, nn

from invgrad.clients.loss import Gradient
from invgrad.clients.settings import Client
from invgrad.results.files import read_tensors
from invgrad.settings import SettingsError


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Gradients or updates of several clients, and public metadata; never their images."""

    tensors: tuple[Tensor, ...]
    """One tensor [clients, *parameter.shape] per parameter, in the order of `network.parameters()`."""
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

    @classmethod
    def by_one_client(
        cls,
        tensors: Gradient,
        *,
        shape: tuple[int, int, int],
        labels: Tensor | None = None,
        images: int = 1,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        statistics: Sequence[Tensor] = (),
    ) -> Self:
        """Wrap what one client shared, e.g. the gradient from `torch.autograd.grad(loss, network.parameters())`.

        Without `mean` and `std` the network takes images in [0, 1] as they are.
        """
        return cls(
            tensors=tuple(tensor.detach()[None] for tensor in tensors),
            images=images,
            shape=shape,
            mean=mean or (0,) * shape[0],
            std=std or (1,) * shape[0],
            statistics=tuple(tensor.detach()[None] for tensor in statistics),
            labels=None if labels is None else labels[None],
        )


def check(network: nn.Module, client: Client, shared: Shared) -> None:
    """Raise `SettingsError` if the tensors do not fit the network or each other."""
    training = [name or "the network" for name, module in network.named_modules() if module.training]
    if training:
        raise SettingsError(f"network: {training[0]} is in training mode; call network.eval() (batch-norm: see client)")
    try:
        client.check(shared.images)
    except ValueError as error:
        raise SettingsError(f"client: {error}") from None
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    if len(shared.tensors) != len(shapes):
        raise SettingsError(f"shared: {len(shared.tensors)} tensors, but the network has {len(shapes)} parameters")
    for (name, shape), tensor in zip(shapes.items(), shared.tensors, strict=True):
        if tuple(tensor.shape) != (len(shared), *shape):
            raise SettingsError(f"shared: {name} is {list(tensor.shape)} instead of {[len(shared), *shape]}")
    if shared.labels is not None and tuple(shared.labels.shape) != (len(shared), shared.images):
        raise SettingsError(f"labels: {list(shared.labels.shape)} instead of {[len(shared), shared.images]}")
    if len(shared.mean) != shared.shape[0] or len(shared.std) != shared.shape[0]:
        raise SettingsError(f"shared: mean and std must have {shared.shape[0]} values, one for each channel")


CLIENT: TypeAdapter[Client] = TypeAdapter(Client)


def read_shared(path: Path, network: nn.Module) -> tuple[Client, Shared]:
    """Read the file of a shard: the protocol that its clients follow, and what they shared."""
    tensors, about = read_tensors(path)
    names = [f"shared.{name}" for name, _ in network.named_parameters()]
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
