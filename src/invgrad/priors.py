"""Priors on images: total variation, the box constraint of pixel values, the median filter."""

import torch.nn.functional as F
from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """Return the anisotropic total variation of images [..., height, width], a scalar: the mean absolute difference
    along x plus that along y (released code: `TV`).
    """
    along_x = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    along_y = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return along_x + along_y


def box(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest normalised value of a pixel in [0, 1], each of the shape of `mean` and `std`."""
    return -mean / std, (1 - mean) / std


def median_filter(images: Tensor) -> Tensor:
    """Take the 3×3 median of images [..., height, width] with reflected borders (released code: `MedianPool2d`)."""
    flat = images.reshape(-1, 1, *images.shape[-2:])
    patches = F.pad(flat, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
    # Not torch.median, which has no deterministic form on a GPU.
    return patches.flatten(-2).sort(dim=-1).values[..., 4].reshape(images.shape)
