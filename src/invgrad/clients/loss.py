"""The client's loss, and the batch-norm statistics that it may send."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_
from torch.nn.modules.batchnorm import _BatchNorm

from invgrad.networks.copying import copied
from invgrad.settings import SettingsError

Parameters = dict[str, Tensor]

Loss = Callable[[Parameters, Tensor, Tensor], Tensor]
"""Scalar function of (parameters, images [n, 3, h, w], labels [n] or class probabilities [n, classes])."""

Statistics = Callable[[Parameters, Tensor], tuple[Tensor, ...]]
"""Function of (parameters, images [n, 3, h, w]): the mean and biased variance [channels] of each batch-norm layer's
input, alternating, in the order of the forward pass; differentiable with respect to the images.
"""


def trainable(network: nn.Module) -> Parameters:
    """Return the parameters that clients train, those that require a gradient, by name and in the network's order.

    Raises `SettingsError` if there are none.
    """
    found: Parameters = {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}
    if not found:
        raise SettingsError(
            "network: no parameter requires a gradient; call requires_grad_() on those that are trained"
        )
    return found


def called(network: nn.Module, parameters: Parameters, images: Tensor) -> Any:
    """Call the network with these parameters in place of its own of the same names, under whatever names it has them.

    `functional_call` finds the other names of a parameter itself, but would leave its own tensors in a module that has
    two; here every module is named once.
    """
    names: dict[nn.Parameter, str] = {}
    places = {}
    for prefix, module in network.named_modules():
        for own, parameter in module.named_parameters(prefix, recurse=False, remove_duplicate=False):
            name = names.setdefault(parameter, own)
            if name in parameters:
                places[own] = parameters[name]
    return functional_call(network, places, (images,), tie_weights=False)


def cross_entropy(network: nn.Module) -> Loss:
    """Return the client's loss: mean cross-entropy over the images, with the network's buffers and mode as they are.

    Parameters that it is not given stay as the network has them.
    """

    def loss(parameters: Parameters, images: Tensor, labels: Tensor) -> Tensor:
        # A copy of the images, since a first layer may work in place.
        return F.cross_entropy(called(network, parameters, images.clone()), labels)

    return loss


def batch_statistics(network: nn.Module) -> Statistics:
    """Return the function that computes the images' own statistics, whether the network normalises by them or not."""
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
            called(network, parameters, images.clone())
        return tuple(found)

    return statistics


def normalised_by_batch(network: nn.Module) -> nn.Module:
    """Copy a network with its batch-norm layers in training mode, without running statistics; all else stays.

    Raises `SettingsError` if there are no such layers, and in the forward pass if one gets a single value per channel.
    """
    copy = replace_all_batch_norm_modules_(copied(network))
    layers = _batch_norm_layers(copy)
    if not layers:
        raise SettingsError("batch_norm: 'training': the network has no batch-norm layers; nearest: 'evaluation'")
    for layer in layers:
        layer.train()
        layer.register_forward_pre_hook(_refuse_single_values)
    return copy


def _batch_norm_layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


def _refuse_single_values(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    shape = tuple(inputs[0].shape)
    if inputs[0].numel() == shape[1]:
        raise SettingsError(
            f"batch_norm: 'training' needs more than one value per channel, but a layer gets {shape} "
            "(images, channels, pixels); nearest: 'evaluation'"
        )


Gradient = Sequence[Tensor]
