"""Sizes and costs of networks, which a plan needs; computed once and cached. Imports no torch unless one has to be
computed.
"""

import json
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import NonNegativeFloat, NonNegativeInt, TypeAdapter

from invgrad.networks.cache import kept
from invgrad.networks.parallelism import NetworkSize
from invgrad.networks.settings import Custom, Network
from invgrad.results.fingerprints import fingerprint, imported_code
from invgrad.settings import Settings

if TYPE_CHECKING:
    from torch import nn

Fact = TypeVar("Fact")


class NetworkCost(Settings):
    """Size of a network, and what it takes to compute and to keep."""

    size: NetworkSize
    gigaflops: NonNegativeFloat
    """GFLOP of the forward pass of one image."""
    parameter_bytes: NonNegativeInt
    state_bytes: NonNegativeInt
    """Bytes of the parameters and buffers."""

    @classmethod
    def of(cls, network: "nn.Module", size: int) -> Self:
        """Count what a network costs for images of this size; it may be without values."""
        from invgrad.networks.operations import image_gigaflops

        return cls(
            size=NetworkSize.of(network),
            gigaflops=image_gigaflops(network, size),
            parameter_bytes=sum(each.nbytes for each in network.parameters()),
            state_bytes=sum(each.nbytes for each in network.state_dict().values()),
        )


def size_of(network: Network, *, classes: int, size: int) -> NetworkSize:
    """Return the size of the network for these images and classes; `SettingsError` if it cannot be built for them.

    The user's own networks are built each time, since their code may change.
    """
    return _asked("networks", NetworkSize, network, classes, size, NetworkSize.of)


def cost_of(network: Network, *, classes: int, size: int) -> NetworkCost:
    """Return the cost of the network; raises and builds as `size_of` does."""
    return _asked("costs", NetworkCost, network, classes, size, lambda built: NetworkCost.of(built, size))


def _asked(
    name: str, kind: type[Fact], network: Network, classes: int, size: int, measure: "Callable[[nn.Module], Fact]"
) -> Fact:
    def ask() -> Fact:
        from invgrad.networks.build import check_logits, outline

        built = outline(network, classes=classes, size=size)
        if not isinstance(network, Custom):  # one of the user's own may compute what needs values
            check_logits(network, built, classes, size)
        return measure(built)

    if isinstance(network, Custom):
        return ask()
    key = json.dumps([network.model_dump(mode="json"), classes, size])
    return kept(name, _origin(), key, TypeAdapter(kind), ask)


@cache
def _origin() -> dict[str, str]:
    code = fingerprint([__file__, *imported_code(Path(__file__))])
    return {"torch": version("torch"), "torchvision": version("torchvision"), "code": code}
