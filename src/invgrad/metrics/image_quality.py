"""How close a reconstruction is to the original, image by image."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from skimage.metrics import structural_similarity
from torch import Tensor

from invgrad.data.images import denormalise, to_unit
from invgrad.data.registry import Channels


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The images of several clients, and beside each the reconstruction that belongs to it."""

    originals: Tensor
    """[clients, n, 3, h, w], in [0, 1]."""
    reconstructions: Tensor
    """[clients, n, 3, h, w], in the same coordinates but not clamped; not a number throughout where one failed."""
    positions: Tensor
    """Where each was among the client's reconstructions, [clients, n]."""
    assigned: Tensor
    """For which clients it was found by content, [clients]."""
    failed: Tensor
    """[clients, n]"""
    psnr: Tensor
    """dB, [clients, n]; not a number where it failed."""


def align(attacked: Mapping[str, Tensor], images: Tensor, labels: Tensor, mean: Channels, std: Channels) -> Aligned:
    """Put the `images` of a `Reconstruction`, whose tensors `attacked` holds, in the order of the originals `images`
    (uint8 [clients, n, 3, h, w]) with their `labels` [clients, n], as `pair` does.
    """
    originals = to_unit(images, attacked["images"].dtype, "cpu")
    candidates = denormalise(attacked["images"], mean, std)
    positions, assigned = pair(candidates, attacked["labels"], originals, labels)
    candidates = candidates.take_along_dim(positions[:, :, None, None, None], 1)
    failed = ~candidates.isfinite().flatten(2).all(2)
    candidates = torch.where(failed[:, :, None, None, None], torch.nan, candidates)
    return Aligned(
        originals=originals,
        reconstructions=candidates,
        positions=positions,
        assigned=assigned,
        failed=failed,
        psnr=psnr(candidates.flatten(0, 1), originals.flatten(0, 1)).unflatten(0, labels.shape),
    )


def mean_squared_error(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Mean squared error per image, shape [n], of images [n, 3, height, width] clamped to [0, 1]."""
    return (reconstructions.clamp(0, 1) - originals.clamp(0, 1)).square().flatten(1).mean(1)


def psnr(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per image in dB, shape [n], peak 1, of images [n, 3, height, width] clamped to [0, 1];
    infinite for an exact reconstruction. The paper reports its mean over the images (released code: `rec_mult.py`).
    """
    return -10 * mean_squared_error(reconstructions, originals).log10()


def ssim(reconstructions: Tensor, originals: Tensor) -> list[float]:
    """Structural similarity per image (Wang et al. 2004, scikit-image's 7×7 window, data range 1), of images
    [n, 3, height, width] clamped to [0, 1]; in [−1, 1].
    """
    pairs = zip(reconstructions.clamp(0, 1).cpu().numpy(), originals.clamp(0, 1).cpu().numpy(), strict=True)
    return [float(structural_similarity(a, b, channel_axis=0, data_range=1.0)) for a, b in pairs]


def best_order(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """For each original the position of a reconstruction of its own, [n], such that the sum of the mean squared errors
    is smallest; images [n, 3, height, width] clamped to [0, 1]. A failed reconstruction counts as the worst possible.
    """
    distances = torch.cdist(originals.clamp(0, 1).flatten(1), reconstructions.clamp(0, 1).flatten(1))
    _, positions = linear_sum_assignment(distances.square().nan_to_num(originals[0].numel()).cpu().numpy())
    return torch.from_numpy(positions)


def pair(reconstructions: Tensor, found_labels: Tensor, originals: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which reconstruction belongs to which original: positions [clients, n], and for which clients they were assigned
    by `best_order`, [clients]; from images [clients, n, 3, height, width] and labels [clients, n].

    Where the attack had, or found, the true labels in their order, so it has the images. Of a single image there is
    nothing to assign.
    """
    assigned = (found_labels != labels).any(1) & (labels.shape[1] > 1)
    positions = torch.arange(labels.shape[1]).repeat(len(labels), 1)
    for client in assigned.nonzero().flatten().tolist():
        positions[client] = best_order(reconstructions[client], originals[client])
    return positions, assigned


def best_shift(reconstruction: Tensor, original: Tensor) -> tuple[int, int, float]:
    """The circular shift of a reconstruction with the best PSNR (by 0 … h − 1 pixels down, 0 … w − 1 to the right), and
    that PSNR in dB, for images [3, h, w] clamped to [0, 1]. Of a failed one: no shift, not a number.

    All shifts are compared: the squared error is a constant minus twice the cross-correlation.
    """
    moved, fixed = (image.clamp(0, 1).double() for image in (reconstruction, original))
    spectrum = torch.fft.rfft2(moved).conj() * torch.fft.rfft2(fixed)
    correlation = torch.fft.irfft2(spectrum.sum(0), s=fixed.shape[-2:])
    down, right = divmod(int(correlation.argmax()), fixed.shape[-1])
    return down, right, psnr(moved.roll((down, right), (-2, -1))[None], fixed[None]).item()


def rank_correlation(cost: Sequence[float], psnr: Sequence[float]) -> float:
    """Spearman's rank correlation of costs and PSNRs, in [−1, 1]: −1 if the cheaper reconstruction is always the better
    one. Pairs with a value that is not a number are left out; not a number itself if less than two different values
    of either remain.
    """
    from scipy.stats import spearmanr  # takes a third of a second, which only notebooks should spend

    pairs = np.column_stack([np.asarray(cost, float), np.asarray(psnr, float)])
    pairs = pairs[~np.isnan(pairs).any(1)]
    if any(len(np.unique(column)) < 2 for column in pairs.T):
        return math.nan
    return float(spearmanr(*pairs.T).statistic)


def mixture_weights(mixtures: Tensor, originals: Tensor) -> Tensor:
    """The weights of n `originals` in each of m `mixtures`, float64 [m, n], by least squares; both images [·, 3, h, w]
    in [0, 1].

    Mixtures go beyond [0, 1] where weights are negative or larger than 1, and are clamped when they are shown, so that
    only the values that are strictly inside tell the weights. These are not a number where too few values do.
    """
    basis = originals.double().flatten(1).T
    found = torch.full((len(mixtures), len(originals)), math.nan, dtype=torch.float64)
    for number, mixture in enumerate(mixtures.double().flatten(1)):
        inside = (mixture > 0) & (mixture < 1)
        known = basis[inside]
        if len(known) and torch.linalg.matrix_rank(known) == len(originals):
            found[number] = torch.linalg.lstsq(known, mixture[inside, None]).solution[:, 0]
    return found
