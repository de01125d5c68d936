"""A network of the user's own, made by a factory function."""

import inspect
from typing import Any

from torch import nn

from invgrad.networks.copying import unwrapped
from invgrad.networks.settings import Custom
from invgrad.settings import SettingsError, unknown


def custom(settings: Custom, *, classes: int, size: int) -> nn.Module:
    """Call the factory and return its network.

    Raises `SettingsError` if there is no such factory, if it does not take these arguments, or if it returns something
    else. Errors of the user's own code are passed on.
    """
    factory = settings.factory
    function = _function(settings)
    try:
        inspect.signature(function).bind(classes=classes, size=size, **settings.arguments)
    except TypeError as error:
        raise SettingsError(f"{factory}: cannot be called with classes, size and arguments: {error}") from None
    network = function(classes=classes, size=size, **settings.arguments)
    if not isinstance(network, nn.Module):
        raise SettingsError(f"{factory}: returns a {type(network).__name__} instead of a torch.nn.Module")
    return unwrapped(network)


def _function(settings: Custom) -> Any:
    module, name = settings.module(), settings.factory.partition(":")[2]
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise SettingsError(f"{settings.factory}: {unknown('factory', name, known)}")
    function = getattr(module, name)
    if not callable(function):
        raise SettingsError(f"{settings.factory}: is a {type(function).__name__}, not a function")
    return function
