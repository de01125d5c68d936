"""Sizes of networks, which a plan needs; computed once and cached. Imports no torch unless one has to be computed."""

import json
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from invgrad.networks.cache import kept
from invgrad.networks.parallelism import NetworkSize
from invgrad.networks.settings import Custom, Network
from invgrad.results.fingerprints import fingerprint, imported_code


def size_of(network: Network, *, classes: int, size: int) -> NetworkSize:
    """Return the size of the network for these images and classes; `SettingsError` if it cannot be built for them.

    The user's own networks are built each time, since their code may change.
    """

    def ask() -> NetworkSize:
        from invgrad.networks.build import outline

        return NetworkSize.of(outline(network, classes=classes, size=size))

    if isinstance(network, Custom):
        return ask()
    key = json.dumps([network.model_dump(mode="json"), classes, size])
    return kept("networks", _origin(), key, TypeAdapter(NetworkSize), ask)


@cache
def _origin() -> dict[str, str]:
    code = fingerprint([__file__, *imported_code(Path(__file__))])
    return {"torch": version("torch"), "torchvision": version("torchvision"), "code": code}
