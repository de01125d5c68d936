"""Choice and weights of the layers in the gradient-matching loss, for one trial.

A layer is a parameter tensor; a trial's target has one tensor [*parameter.shape] for each. Source:
`reconstruction_costs` of the released code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from invgrad.clients.loss import Gradient
from invgrad.objective.settings import (
    AllLayers,
    FirstLayers,
    LargestLayers,
    LastLayers,
    Layers,
    ListedLayers,
    RandomLayers,
    Weighting,
)
from invgrad.settings import SettingsError


def layer_mask(layers: Layers, target: Gradient, generator: torch.Generator) -> Tensor:
    """Return 1 for every layer that counts and 0 for the others, [layers] on the CPU. Raises `SettingsError` for a
    listed layer that the network does not have.
    """
    mask = torch.zeros(len(target), dtype=target[0].dtype, device="cpu")
    mask[list(_chosen(layers, target, generator))] = 1
    return mask


def layer_weights(weighting: Weighting, target: Gradient) -> Tensor:
    """Return weights [layers], the first one 1: equal, falling linearly to 1/layers, or falling as exp(−layer)."""
    falling = torch.arange(len(target), 0, -1, dtype=target[0].dtype, device=target[0].device)
    match weighting:
        case "equal":
            return torch.ones_like(falling)
        case "linear":
            return falling / len(target)
        case "exponential":
            return (falling - falling[0]).exp()


def _chosen(layers: Layers, target: Gradient, generator: torch.Generator) -> Sequence[int]:
    every = range(len(target))
    match layers:
        case AllLayers():
            return every
        case FirstLayers(count=count):
            return every[:count]
        case LastLayers(count=count):
            return every[-count:]
        case LargestLayers(count=count):
            norms = torch.stack([tensor.norm() for tensor in target])
            return norms.topk(min(count, len(target))).indices.tolist()
        case RandomLayers(count=count):  # without replacement
            return torch.randperm(len(target), generator=generator, device="cpu")[:count].tolist()
        case ListedLayers(layers=listed):
            if max(listed) >= len(target):
                raise SettingsError(f"layer {max(listed)} does not exist; the last one is {len(target) - 1}")
            return listed
