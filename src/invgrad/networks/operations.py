"""Number of floating-point operations of a network, by torch's counter."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def forward_gigaflops(network: nn.Module, images: Tensor) -> float:
    """GFLOP of one forward pass of images [n, 3, h, w]."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return float(counter.get_total_flops()) / 1e9


def image_gigaflops(network: nn.Module, size: int) -> float:
    """GFLOP of the forward pass of one `size`×`size` colour image; the network's values do not matter."""
    copy = deepcopy(network).eval()
    try:
        return _counted(copy, size)
    except RuntimeError:  # some architectures look at values on their way
        return _counted(copy.to_empty(device="cpu"), size)


def _counted(network: nn.Module, size: int) -> float:
    device = next(network.parameters()).device
    return forward_gigaflops(network, torch.zeros(1, 3, size, size, device=device))
