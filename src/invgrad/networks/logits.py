"""Logits of a network that may be anyone's."""

import torch
from torch import Tensor, nn

from invgrad.settings import SettingsError, one_line


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor, *, name: str = "network", classes: int | None = None) -> Tensor:
    """Compute the logits [n, classes] of images [n, channels, h, w].

    Raises `SettingsError`, with the `name` of the network, if it takes no such images or returns anything else.
    """
    count, _, height, width = images.shape
    try:
        logits = network(images)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{name}: takes no {width}×{height} images: {one_line(error)}") from error
    if not isinstance(logits, Tensor) or logits.shape != (count, classes or logits.shape[-1]):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        number = "one image" if count == 1 else f"{count} images"
        raise SettingsError(
            f"{name}: its output for {number} is {got} instead of logits [{count}, {classes or 'classes'}]"
        )
    return logits
