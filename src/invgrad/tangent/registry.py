"""Registry of layers: the formulas of each kind of module and function that the tangent passes support.

A new layer is registered where it is defined:

    @layer_for(MyModule)
    def my_layer(module: MyModule, shape: torch.Size, options: PassOptions) -> Layer:
        return MyLayer(module)
"""

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from invgrad.tangent.convolutions import PassOptions, convolution
from invgrad.tangent.layers import AveragePool, BatchNorm, Flatten, Layer, Linear, MaxPool, Pad, ReLU, ReLU6, Sigmoid

ModuleFactory = Callable[[Any, torch.Size, PassOptions], Layer | None]
"""Function of a module, the shape [n, …] of one trial's inputs and options: its layer; None for unknown settings."""

CallFactory = Callable[[tuple[object, ...]], Layer | None]
"""Function of a call's arguments, with `VALUE` for those that depend on the images: its layer, or None."""

VALUE = "value"

_MODULES: dict[type[nn.Module], ModuleFactory] = {}
_CALLS: dict[object, CallFactory] = {}

M = TypeVar("M", bound=ModuleFactory)
C = TypeVar("C", bound=CallFactory)


def layer_for(*modules: type[nn.Module]) -> Callable[[M], M]:
    """Register the decorated factory for modules of these classes."""

    def register(factory: M) -> M:
        _MODULES.update(dict.fromkeys(modules, factory))
        return factory

    return register


def layer_for_call(*functions: object) -> Callable[[C], C]:
    """Register the decorated factory for calls of these functions, or of the methods of these names."""

    def register(factory: C) -> C:
        _CALLS.update(dict.fromkeys(functions, factory))
        return factory

    return register


def is_registered(module: nn.Module) -> bool:
    """Decide whether the module's own class has a factory."""
    return type(module) in _MODULES


def layer_of(module: nn.Module, shape: torch.Size, options: PassOptions) -> Layer | None:
    """Return the formulas of a module for inputs of `shape`, [n, …] for one trial; None if they are not known.

    Subclasses within torch compute the same as their base; another one may compute something else.
    """
    own = type(module)
    classes = own.__mro__ if own.__module__.startswith("torch.nn.modules.") else (own,)
    factory = next((_MODULES[each] for each in classes if each in _MODULES), None)
    return factory(module, shape, options) if factory else None


def layer_of_call(function: object, arguments: tuple[object, ...]) -> Layer | None:
    """Return the formulas of a call of a function, or of the method of this name; None if they are not known."""
    factory = _CALLS.get(function)
    return factory(arguments) if factory else None


@layer_for(nn.Conv2d)
def _conv2d(module: nn.Conv2d, shape: torch.Size, options: PassOptions) -> Layer | None:
    plain = module.dilation == (1, 1) and not isinstance(module.padding, str)
    known = plain and module.padding_mode in ("zeros", "circular")
    return convolution(module, shape, options) if known else None


@layer_for(nn.BatchNorm2d)
def _batch_norm(module: nn.BatchNorm2d, shape: torch.Size, options: PassOptions) -> Layer | None:
    return BatchNorm(module) if module.affine and module.track_running_stats else None


@layer_for(nn.Linear)
def _linear(module: nn.Linear, shape: torch.Size, options: PassOptions) -> Layer:
    return Linear(module)


@layer_for(nn.ReLU)
def _relu_module(module: nn.ReLU, shape: torch.Size, options: PassOptions) -> Layer:
    return ReLU()


@layer_for(nn.ReLU6)
def _relu6(module: nn.ReLU6, shape: torch.Size, options: PassOptions) -> Layer:
    return ReLU6()


@layer_for(nn.ZeroPad2d)
def _zero_pad(module: nn.ZeroPad2d, shape: torch.Size, options: PassOptions) -> Layer:
    return Pad(module.padding)


@layer_for(nn.Sigmoid)
def _sigmoid(module: nn.Sigmoid, shape: torch.Size, options: PassOptions) -> Layer:
    return Sigmoid()


@layer_for(nn.Identity, nn.Dropout)  # the latter does nothing in evaluation mode
def _identity(module: nn.Module, shape: torch.Size, options: PassOptions) -> Layer:
    return Layer()


@layer_for(nn.MaxPool2d)
def _max_pool(module: nn.MaxPool2d, shape: torch.Size, options: PassOptions) -> Layer | None:
    return None if module.return_indices else MaxPool(module)


@layer_for(nn.AdaptiveMaxPool2d)
def _global_max_pool(module: nn.AdaptiveMaxPool2d, shape: torch.Size, options: PassOptions) -> Layer | None:
    known = module.output_size in (1, (1, 1)) and not module.return_indices
    return MaxPool() if known else None


@layer_for(nn.AvgPool2d)
def _average_pool(module: nn.AvgPool2d, shape: torch.Size, options: PassOptions) -> Layer:
    return AveragePool(module)


@layer_for(nn.AdaptiveAvgPool2d)
def _global_average_pool(module: nn.AdaptiveAvgPool2d, shape: torch.Size, options: PassOptions) -> Layer | None:
    return AveragePool() if module.output_size in (1, (1, 1)) else None


@layer_for(nn.Flatten)
def _flatten_module(module: nn.Flatten, shape: torch.Size, options: PassOptions) -> Layer | None:
    return Flatten() if (module.start_dim, module.end_dim) == (1, -1) else None


@layer_for_call(operator.add, operator.iadd, torch.add)
def _sum(arguments: tuple[object, ...]) -> Layer | None:
    return Layer() if arguments == (VALUE, VALUE) else None


@layer_for_call(F.relu, torch.relu)
def _relu(arguments: tuple[object, ...]) -> Layer | None:
    return ReLU() if arguments == (VALUE,) else None


@layer_for_call(torch.flatten, "flatten")
def _flatten(arguments: tuple[object, ...]) -> Layer | None:
    return Flatten() if arguments == (VALUE, 1) else None
