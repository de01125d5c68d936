"""Prior on images: total variation and its gradient."""

import torch
from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """Return the anisotropic total variation of images [..., height, width], a scalar: the mean absolute difference
    along x plus that along y (released code: `TV`).
    """
    along_x = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    along_y = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return along_x + along_y


def total_variation_gradient(images: Tensor) -> Tensor:
    """Return the gradient of every trial's `total_variation`, of images [trials, n, 3, h, w]; 0 between equal
    neighbours.
    """
    gradient = torch.zeros_like(images)
    for dim in (-1, -2):
        signs = images.diff(dim=dim).sign()
        signs /= signs[0].numel()
        gradient.narrow(dim, 1, signs.shape[dim]).add_(signs)
        gradient.narrow(dim, 0, signs.shape[dim]).sub_(signs)
    return gradient
