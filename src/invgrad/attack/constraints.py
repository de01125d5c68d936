"""Constraints on candidate images: the box constraint of pixel values, and the median filter."""

import torch
import torch.nn.functional as F
from torch import Tensor

Bounds = tuple[Tensor, Tensor]


def project(images: Tensor, bounds: Bounds | None, filtered: bool) -> None:
    """Clamp candidate images in place to `bounds`, if given, then apply the median filter, if `filtered`."""
    if bounds:
        torch.clamp(images, *bounds, out=images)
    if filtered:
        images.copy_(median_filter(images))


def box(mean: Tensor, std: Tensor) -> Bounds:
    """Return the smallest and largest normalised value of a pixel in [0, 1], each of the shape of `mean` and `std`."""
    return -mean / std, (1 - mean) / std


def median_filter(images: Tensor) -> Tensor:
    """Return the 3×3 median of images [..., height, width], with reflected borders (released code: `MedianPool2d`)."""
    flat = images.reshape(-1, 1, *images.shape[-2:])
    patches = F.pad(flat, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
    # Not torch.median, which has no deterministic form on a GPU.
    return patches.flatten(-2).sort(dim=-1).values[..., 4].reshape(images.shape)
