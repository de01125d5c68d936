"""A network of the user's own, made by a factory function."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from invgrad.networks.copying import unwrapped
from invgrad.networks.settings import Custom
from invgrad.settings import SettingsError, unknown


def custom(settings: Custom, *, classes: int, size: int, channels: int) -> nn.Module:
    """Call the factory with its arguments, and with what it takes of these three, and return its network.

    Raises `SettingsError` if there is no such factory, if it does not take its arguments, or if it returns something
    else. Errors of the user's own code are passed on.
    """
    factory = settings.factory
    function = _function(settings)
    bound = _bound(function, settings, {"classes": classes, "size": size, "channels": channels})
    network = function(*bound.args, **bound.kwargs)
    if not isinstance(network, nn.Module):
        raise SettingsError(f"{factory}: returns a {type(network).__name__} instead of a torch.nn.Module")
    return unwrapped(network)


def _bound(function: Callable[..., Any], settings: Custom, images: Mapping[str, int]) -> inspect.BoundArguments:
    """The arguments of a call: those of the settings, and what the function names of the others."""
    try:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        taken = {
            *signature.parameters,
            *(("classes", "size") if any(each.kind is each.VAR_KEYWORD for each in parameters) else ()),
        }
        given = dict(**{name: value for name, value in images.items() if name in taken}, **settings.arguments)
        first = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
        places = [given.pop(name) for name in first if name in given]
        return signature.bind(*places, **given)
    except (TypeError, ValueError) as error:  # ValueError: a function in C may tell no signature
        raise SettingsError(f"{settings.factory}: cannot be called with {settings.arguments}: {error}") from None


def _function(settings: Custom) -> Any:
    module, name = settings.module(), settings.factory.partition(":")[2]
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise SettingsError(f"{settings.factory}: {unknown('factory', name, known)}")
    function = getattr(module, name)
    if isinstance(function, nn.Module) or not callable(function):
        raise SettingsError(f"{settings.factory}: is a {type(function).__name__}, not a function")
    return function
