"""Forms in which people hold a gradient and what belongs to it, turned into tensors and numbers."""

import operator
from collections.abc import Iterable, Mapping
from typing import NoReturn, SupportsIndex

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from invgrad.clients.loss import trainable
from invgrad.settings import SettingsError, nearest

Numbers = Tensor | ArrayLike
"""Numbers as a tensor, an array or nested lists."""

Held = Mapping[str, Numbers | None] | Iterable[Numbers | None]
"""A gradient or update, by parameter name or in the order of the parameters."""

WRAPPERS = ("module.", "_module.", "_orig_mod.")
"""Prefixes of all names in what DataParallel, Opacus and torch.compile wrap."""


def in_order(network: nn.Module, held: Held) -> list[Tensor]:
    """Return one tensor for each trainable parameter, in their order: zeros in the place of None.

    Raises `SettingsError` if names or their number are not those of the network, or if a parameter that it holds fixed
    changes.
    """
    if isinstance(held, Tensor | np.ndarray) or not isinstance(held, Iterable):
        raise SettingsError(
            f"gradient: a {type(held).__name__}; give a list of tensors in the order of network.parameters(), "
            "or a mapping from their names"
        )
    values = _by_own_names(network, held if isinstance(held, Mapping) else _named(network, list(held)))
    found = {name: _value(values.get(name), name, each) for name, each in network.named_parameters()}
    trained = trainable(network)
    for name, parameter in network.named_parameters():
        change = found[name].to(parameter)
        if name not in trained and change.any() and not torch.equal(change, parameter):
            raise SettingsError(f"gradient: {name} changes, but requires no gradient; call requires_grad_() on it")
    return [found[name] for name in trained]


def real(numbers: object, what: str) -> Tensor:
    """Convert finite real numbers to a dense tensor without a graph, in single precision at least."""
    found = _tensor(numbers, what)
    if not found.is_floating_point():
        raise SettingsError(f"{what} is of {found.dtype}; give floating-point numbers, quantised ones times their step")
    if not found.isfinite().all():
        raise SettingsError(f"{what} is not finite; give one that did not overflow, say in float32")
    return found if found.dtype == torch.float64 else found.float()


def class_indices(labels: Numbers) -> Tensor:
    """Convert the class index of one image, or those of several, to a tensor [n]."""
    found = _tensor(labels, "labels")
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool or found.dim() > 1:
        raise SettingsError(
            f"labels: {list(found.shape)} of {found.dtype}; give one class index, a whole number, for each image"
        )
    return found.long().reshape(-1)


def whole(number: SupportsIndex, what: str) -> int:
    """Convert a whole number."""
    try:
        return operator.index(number)
    except TypeError:
        raise SettingsError(f"{what}: {number}; give a whole number") from None


def image_shape(shape: Iterable[int]) -> tuple[int, int, int]:
    """Check the shape of an image."""
    try:
        channels, height, width = (operator.index(each) for each in shape)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise SettingsError(f"shape: {shape}; give three whole numbers: channels, height and width, as (3, 32, 32)")
    return channels, height, width


def of_channels(numbers: Numbers, what: str) -> tuple[float, ...]:
    """Convert a value for each channel."""
    return tuple(_tensor(numbers, what).double().flatten().tolist())


def _value(held: object, name: str, parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter).detach() if held is None else real(held, f"gradient: {name}")


def _named(network: nn.Module, held: list[object]) -> dict[str, object]:
    """Name the values of all trainable parameters, of all parameters, or of all that a state dict has."""
    trained, every = list(trainable(network)), [name for name, _ in network.named_parameters()]
    for names in (trained, every, list(network.state_dict())):
        if len(held) == len(names):
            return dict(zip(names, held, strict=True))
    raise SettingsError(
        f"gradient: {len(held)} tensors, but the network has {len(trained)} parameters to train; "
        "give one for each, in their order, or a mapping from their names"
    )


def _by_own_names(network: nn.Module, held: Mapping[str, object]) -> dict[str, object]:
    """Return the values of parameters by the network's own names; buffers, as of a state dict, are left out."""
    first = {id(parameter): name for name, parameter in network.named_parameters()}
    tied = {name: first[id(each)] for name, each in network.named_parameters(remove_duplicate=False)}
    known = {name: name for name in [*network.state_dict(), *tied]}
    given = {name: name for name in held}
    if not given.keys() <= known.keys():
        known, given = _unwrapped(known), _unwrapped(given)
    if strangers := {short: name for short, name in given.items() if short not in known}:
        _refuse(strangers, held, known)
    found = {tied[known[short]]: held[name] for short, name in given.items() if known[short] in tied}
    if missing := [name for name in trainable(network) if name not in found]:
        raise SettingsError(f"gradient: {missing[0]} is missing; give None if the loss does not depend on it")
    return found


def _refuse(strangers: Mapping[str, str], held: Mapping[str, object], known: Iterable[str]) -> NoReturn:
    """Raise `SettingsError` for names that the network does not have: the gradient may lie under one of them."""
    for name in strangers.values():
        if _is_gradient(held[name]):
            raise SettingsError(
                f"gradient: it holds a {type(held[name]).__name__} of tensors as '{name}'; give that one"
            )
    short, name = next(iter(strangers.items()))
    raise SettingsError(f"gradient: the network has no parameter '{name}'{nearest(short, known)}")


def _is_gradient(value: object) -> bool:
    """Tell if this holds several tensors, as a gradient does."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(isinstance(each, Tensor | np.ndarray) for each in inner)


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Map names without the prefixes that a wrapper gave to all of them to the names as they are."""
    found = {str(name): name for name in names}
    while prefix := next((each for each in WRAPPERS if found and all(name.startswith(each) for name in found)), None):
        found = {short.removeprefix(prefix): name for short, name in found.items()}
    return found


def _tensor(numbers: object, what: str) -> Tensor:
    if isinstance(numbers, Tensor):
        return numbers.detach().to_dense()
    try:
        array = np.asarray(numbers)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))  # a copy, contiguous and writable
    except (RuntimeError, TypeError, ValueError):
        raise SettingsError(
            f"{what}: a {type(numbers).__name__} that holds no numbers; give a tensor or an array"
        ) from None
