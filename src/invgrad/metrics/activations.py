"""Distance between the activations of a reconstruction and of its original, layer by layer."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ActivationError(NamedTuple):
    """The error after one call of one layer, over the whole batch."""

    layer: str
    """Name of the layer in the network."""
    call: int
    """Number of this call of the layer in the forward pass, from 1."""
    kind: str
    """Class of the layer, e.g. `Conv2d`."""
    squared_error: float
    """‖a(x) − a(x̂)‖²"""
    mean_squared_error: float
    relative_error: float
    """‖a(x) − a(x̂)‖ / ‖a(x)‖; 0 where both vanish, infinite where the original's activations alone do."""
    cosine_similarity: float
    """Cosine similarity of all activations as one vector, in [−1, 1]; 0 where one vanishes."""


@torch.no_grad()
def activation_errors(network: nn.Module, original: Tensor, reconstruction: Tensor) -> list[ActivationError]:
    """Compute the errors of the outputs of every layer without submodules, in the order of the forward pass.

    Both images are normalised, [n, 3, h, w]. `network` stays in its mode. The released notebooks show such measures of
    the layers' inputs. Layers whose output is no tensor are left out.
    """
    expected: list[Tensor] = []
    found: list[ActivationError] = []

    def compare(layer: str, kind: str, output: Tensor) -> None:
        call = 1 + sum(row.layer == layer for row in found)
        found.append(ActivationError(layer, call, kind, *_errors(expected[len(found)], output.double())))

    # Copied, since an in-place layer would change what the layer before it gave.
    _watch(network, original, lambda layer, kind, output: expected.append(output.to(torch.float64, copy=True)))
    _watch(network, reconstruction, compare)
    return found


def _watch(network: nn.Module, images: Tensor, see: Callable[[str, str, Tensor], None]) -> None:
    """Run the network and pass the name, class and output of every layer to `see`, right after its call."""

    def hook(layer: str) -> Callable[[nn.Module, object, object], None]:
        def call(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor):
                see(layer, type(module).__name__, output)

        return call

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if next(module.children(), None) is None:
                hooks.enter_context(module.register_forward_hook(hook(name)))
        network(images)


def _errors(expected: Tensor, output: Tensor) -> tuple[float, float, float, float]:
    squares = (output - expected).square()
    error, size = squares.sum().sqrt(), expected.norm()
    relative = torch.where(error == 0, 0.0, error / size)
    similarity = F.cosine_similarity(expected.flatten(), output.flatten(), dim=0)
    return squares.sum().item(), squares.mean().item(), relative.item(), similarity.item()
