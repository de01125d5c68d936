"""Unit scale: gradients multiplied by a power of two, exactly, such that their squares fit into single precision.

The cosine does not depend on the scale, and every result but for underflow and overflow is the same to the last bit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def at_unit_scale(gradient: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Scale the gradient of each trial, tensors [trials, ...], such that its largest entry lies in [1/2, 1)."""
    factor = to_unit_scale(gradient)
    return tuple(each * factor.view(-1, *[1] * (each.dim() - 1)) for each in gradient)


@torch.no_grad()
def to_unit_scale(gradient: Sequence[Tensor]) -> Tensor:
    """Return the power of two, [trials], by which `at_unit_scale` multiplies; 1 for a gradient of zeros."""
    entries = [each.reshape(len(each), -1) for each in gradient if each.numel()]
    largest = torch.stack([torch.linalg.vector_norm(each, torch.inf, dim=1) for each in entries], 1).amax(1)
    normal = largest.clamp(min=torch.finfo(largest.dtype).tiny)
    return torch.where(largest > 0, torch.frexp(normal).mantissa / normal, 1)
