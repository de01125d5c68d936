"""Measures of image quality: PSNR, SSIM, and the assignment of reconstructions to originals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from skimage.metrics import structural_similarity
from torch import Tensor

from invgrad.data.images import denormalise, to_unit
from invgrad.data.registry import PerChannel


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Images of several clients, each with the reconstruction that belongs to it."""

    originals: Tensor
    """Original images [clients, n, 3, h, w], in [0, 1]."""
    reconstructions: Tensor
    """Their reconstructions [clients, n, 3, h, w], not clamped to [0, 1]; a failed one is not a number throughout."""
    positions: Tensor
    """Position of each among the client's reconstructions, [clients, n]."""
    assigned: Tensor
    """True for the clients whose reconstructions were assigned by content, [clients]."""
    failed: Tensor
    """True for failed reconstructions, [clients, n]."""
    psnr: Tensor
    """PSNR in dB, [clients, n]; not a number where it failed."""
    flat_psnr: Tensor
    """PSNR in dB of an image of the mean colour alone, which the server knows without any attack, [clients, n]."""


def align(attacked: Mapping[str, Tensor], images: Tensor, labels: Tensor, mean: PerChannel, std: PerChannel) -> Aligned:
    """Put reconstructions in the order of their originals, as `pair` does.

    `attacked` holds the tensors of a `Reconstruction`; the originals `images` are uint8 [clients, n, 3, h, w], with
    their `labels` [clients, n].
    """
    originals = to_unit(images, attacked["images"].dtype, "cpu")
    candidates = denormalise(attacked["images"], mean, std)
    positions, assigned = pair(candidates, attacked["labels"], originals, labels)
    candidates = candidates.take_along_dim(positions[:, :, None, None, None], 1)
    failed = ~candidates.isfinite().flatten(2).all(2)
    flat = denormalise(torch.zeros_like(originals), mean, std)
    candidates = torch.where(failed[:, :, None, None, None], torch.nan, candidates)
    return Aligned(
        originals=originals,
        reconstructions=candidates,
        positions=positions,
        assigned=assigned,
        failed=failed,
        psnr=psnr(candidates.flatten(0, 1), originals.flatten(0, 1)).unflatten(0, labels.shape),
        flat_psnr=psnr(flat.flatten(0, 1), originals.flatten(0, 1)).unflatten(0, labels.shape),
    )


def mean_squared_error(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Return the mean squared error per image, [n], of images [n, 3, height, width] clamped to [0, 1]."""
    return (reconstructions.clamp(0, 1) - originals.clamp(0, 1)).square().flatten(1).mean(1)


def psnr(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio per image in dB, [n], of images [n, 3, height, width] clamped to [0, 1].

    The peak is 1; an exact reconstruction has an infinite ratio. The paper reports its mean over the images (released
    code: `rec_mult.py`).
    """
    return -10 * mean_squared_error(reconstructions, originals).log10()


SSIM_WINDOW = 7
"""Side of scikit-image's window, in pixels; smaller images have no structural similarity."""


def ssim(reconstructions: Tensor, originals: Tensor) -> list[float]:
    """Return the structural similarity per image, in [−1, 1], of images [n, 3, height, width] clamped to [0, 1].

    Wang et al. 2004; data range 1. Raises scikit-image's `ValueError` for sides of less than `SSIM_WINDOW` pixels.
    """
    pairs = zip(reconstructions.clamp(0, 1).cpu().numpy(), originals.clamp(0, 1).cpu().numpy(), strict=True)
    options = {"win_size": SSIM_WINDOW, "channel_axis": 0, "data_range": 1.0}
    return [float(structural_similarity(a, b, **options)) for a, b in pairs]


def best_order(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Assign a reconstruction to each original so that the sum of the mean squared errors is smallest.

    Images are [n, 3, height, width] clamped to [0, 1]; a failed reconstruction counts as the worst possible. Returns
    the position of each original's reconstruction, [n].
    """
    distances = torch.cdist(originals.clamp(0, 1).flatten(1), reconstructions.clamp(0, 1).flatten(1))
    _, positions = linear_sum_assignment(distances.square().nan_to_num(originals[0].numel()).cpu().numpy())
    return torch.from_numpy(positions)


def pair(reconstructions: Tensor, found_labels: Tensor, originals: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pair reconstructions with originals, from images [clients, n, 3, height, width] and labels [clients, n].

    Returns positions [clients, n], and the clients [clients] for which `best_order` assigned them. Where the attack
    used or found the true labels in their order, the images have that order too, but for images of the same label,
    which a gradient does not tell apart: they are assigned among each other. A single image needs no assignment.
    """
    alike = labels.masked_fill((found_labels != labels).any(1, keepdim=True), 0)  # without true labels all are
    positions = torch.arange(labels.shape[1]).repeat(len(labels), 1)
    for client, groups in enumerate(alike):
        for group in groups.unique():
            members = (groups == group).nonzero().flatten()
            order = best_order(reconstructions[client, members], originals[client, members])
            positions[client, members] = members[order]
    return positions, (alike.sort(1).values.diff(dim=1) == 0).any(1)


def best_shift(reconstruction: Tensor, original: Tensor) -> tuple[int, int, float]:
    """Find the circular shift of a reconstruction with the best PSNR, and that PSNR in dB.

    Images are [3, h, w] clamped to [0, 1]; shifts are 0 … h − 1 pixels down, 0 … w − 1 to the right. A failed
    reconstruction has no shift, and its PSNR is not a number. All shifts are compared: the squared error is a constant
    minus twice the cross-correlation.
    """
    moved, fixed = (image.clamp(0, 1).double() for image in (reconstruction, original))
    spectrum = torch.fft.rfft2(moved).conj() * torch.fft.rfft2(fixed)
    correlation = torch.fft.irfft2(spectrum.sum(0), s=fixed.shape[-2:])
    down, right = divmod(int(correlation.argmax()), fixed.shape[-1])
    return down, right, psnr(moved.roll((down, right), (-2, -1))[None], fixed[None]).item()


def rank_correlation(cost: Sequence[float], psnr: Sequence[float]) -> float:
    """Return Spearman's rank correlation of losses and PSNRs, in [−1, 1].

    It is −1 if the reconstruction with the lower loss is always the better one. Pairs with a value that is not a number
    are excluded; the result is not a number if less than two different values of either remain.
    """
    from scipy.stats import spearmanr  # takes a third of a second, which only notebooks should spend

    pairs = np.column_stack([np.asarray(cost, float), np.asarray(psnr, float)])
    pairs = pairs[~np.isnan(pairs).any(1)]
    if any(len(np.unique(column)) < 2 for column in pairs.T):
        return math.nan
    return float(spearmanr(*pairs.T).statistic)


def mixture_weights(mixtures: Tensor, originals: Tensor) -> Tensor:
    """Estimate the weights of n `originals` in each of m `mixtures`, float64 [m, n], by least squares.

    Both are images [·, 3, h, w] in [0, 1]. Mixtures exceed [0, 1] where weights are negative or larger than 1, and are
    clamped when they are shown, so that only values strictly inside determine the weights. These are not a number where
    there are too few such values.
    """
    basis = originals.double().flatten(1).T
    found = torch.full((len(mixtures), len(originals)), math.nan, dtype=torch.float64)
    for number, mixture in enumerate(mixtures.double().flatten(1)):
        inside = (mixture > 0) & (mixture < 1)
        known = basis[inside]
        if len(known) and torch.linalg.matrix_rank(known) == len(originals):
            found[number] = torch.linalg.lstsq(known, mixture[inside, None]).solution[:, 0]
    return found
