"""Analytic leak: which fully connected layers of a network give their inputs away, and how exactly (Prop. 3.1)."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from invgrad.attack.analytic import first_layer, recover_inputs
from invgrad.clients.loss import normalised_by_batch, trainable
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.settings import SettingsError


@dataclass(frozen=True, kw_only=True)
class LayerLeak:
    """Inputs of a fully connected layer that follow from what the clients shared."""

    layer: str
    """Name of the layer in the network; empty if it is the network."""
    inputs: int
    of_pixels: bool
    """True if its input is the image itself."""
    found: Tensor
    """Inputs that `recover_inputs` finds of each client, [clients, n, inputs]; for n > 1 they may be mixtures."""
    errors: Tensor
    """Relative error ‖found − input‖ / ‖input‖ of the nearest of these to each image's input, [clients, n]."""


@torch.no_grad()
def layer_leaks(network: nn.Module, client: Client, shared: Shared, images: Tensor) -> list[LayerLeak]:
    """Recover the inputs of every fully connected layer from what clients shared, and compare them with the true ones.

    `images` [clients, n, channels, h, w] are the clients' own, normalised: only the errors are made from them. Left out
    are layers without a bias, frozen ones, those that are called other than once, and those that get more than one
    vector for each image. After several local steps the inputs are those before the first.
    """
    update = dict(zip(trainable(network), _updates(network, client, shared), strict=True))
    seen = network if client.batch_norm == "evaluation" else normalised_by_batch(network)
    given = [_inputs(seen, own) for own in images]
    first = _layer_of_pixels(network, shared.shape)
    leaks = []
    for name, layer in network.named_modules():
        weight, bias = (update.get(f"{name}.{each}".lstrip(".")) for each in ("weight", "bias"))
        if not isinstance(layer, nn.Linear) or weight is None or bias is None or name not in given[0]:
            continue
        rows = zip(weight.double(), bias.double(), strict=True)
        found = torch.stack([recover_inputs(*each, shared.images) for each in rows])
        true = torch.stack([inputs[name].double() for inputs in given])
        distances = torch.cdist(true, found.nan_to_num(0)).masked_fill(found.isnan().all(2)[:, None], torch.inf)
        leaks.append(
            LayerLeak(
                layer=name,
                inputs=layer.in_features,
                of_pixels=layer is first,
                found=found,
                errors=distances.amin(2) / true.norm(dim=2),
            )
        )
    return leaks


def _updates(network: nn.Module, client: Client, shared: Shared) -> list[Tensor]:
    """Take the parameters before off those after, if clients share these."""
    if client.kind == "gradient" or client.shared == "difference":
        return list(shared.tensors)
    return [after - before for after, before in zip(shared.tensors, trainable(network).values(), strict=True)]


def _inputs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Record the input [n, features] of every fully connected layer that is called once, by the layer's name."""
    calls: dict[str, list[Tensor]] = {}
    with ExitStack() as hooks:
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Linear):
                seen = calls.setdefault(name, [])
                hook = layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].clone()))
                hooks.enter_context(hook)
        network(images.clone())
    return {name: seen[0] for name, seen in calls.items() if len(seen) == 1 and seen[0].ndim == 2}


def _layer_of_pixels(network: nn.Module, shape: tuple[int, ...]) -> nn.Linear | None:
    try:
        return first_layer(network, shape)
    except SettingsError:
        return None


def joined(parts: Sequence[Sequence[LayerLeak]]) -> list[LayerLeak]:
    """Put the leaks of several groups of clients together, layer by layer."""
    return [
        replace(
            same[0], found=torch.cat([each.found for each in same]), errors=torch.cat([each.errors for each in same])
        )
        for same in zip(*parts, strict=True)
    ]
