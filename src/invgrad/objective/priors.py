"""Prior on images: total variation and its gradient."""

import torch
from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """Return the anisotropic total variation of images [..., height, width], a scalar: the mean absolute difference
    along x plus that along y (released code: `TV`). Along a side of one pixel it is 0.
    """
    along_x = images[..., :, 1:] - images[..., :, :-1]
    along_y = images[..., 1:, :] - images[..., :-1, :]
    return sum((each.abs().mean() for each in (along_x, along_y) if each.numel()), images.new_zeros(()))


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
