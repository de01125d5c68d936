"""The rule that says whether a reconstruction gives its original away, and the uncertainty of a share of images."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd
import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from invgrad.metrics.image_quality import best_shift, mean_squared_error, psnr, ssim

RECOVERED: Final = "recovered"
PARTLY: Final = "partly"
NOT_RECOVERED: Final = "not recovered"
RECOVERIES: Final = (RECOVERED, PARTLY, NOT_RECOVERED)

HALF: Final = 0.5
"""Share of what the flat image lacks that a recovered image must bring, in squared error and in SSIM alike."""
ALMOST_THE_SAME: Final = 0.95
"""Correlation with the original from which another image counts as a copy of it, and is not compared."""
COMPARED_SIDE: Final = 64
"""Larger images are averaged down to so many pixels a side before they are compared with others."""
CONFIDENCE: Final = 0.95


def judge(reconstructions: Tensor, originals: Tensor, others: Tensor) -> pd.DataFrame:
    """Say of each reconstruction whether it gives its original away: one row per image.

    Images are [n, channels, h, w] in [0, 1], and are clamped to it; `others` [m, channels, h, w] are images of the same
    set, among them the originals or not. The rule, made before it was tried:

    - *recovered*: it is nearer to its original than to any of the others, its squared error is at most half of the
      flat image's (3 dB more PSNR), and its SSIM at least halfway from the flat image's to 1;
    - *partly*: it is nearer to its original than to any of the others, and better than the flat image in PSNR or SSIM;
    - *not recovered*: all else, and a failed reconstruction.

    The flat image has the mean colour of the others. Nearness is `correlation`, which neither brightness, contrast nor
    a shift changes; others that are almost the same as the original are left out. PSNR and SSIM are those at the
    circular shift with the best PSNR, as a moved copy gives as much away. Columns:

    - `recovery`: one of `RECOVERIES`;
    - `psnr`, `flat_psnr` in dB; `ssim`, `flat_ssim`; `shift_down`, `shift_right` in pixels;
    - `correlation` with the original; `nearest_other`: the largest with another image; `others`: how many there were.
    """
    shifts, moved = _moved(reconstructions.clamp(0, 1), originals)
    flat = others.mean((0, 2, 3))[:, None, None].expand_as(originals)
    to_original = _correlation_of_pairs(reconstructions, originals)
    to_others = correlation(reconstructions, others)
    copies = correlation(originals, others) >= ALMOST_THE_SAME
    table = pd.DataFrame(
        {
            "psnr": psnr(moved, originals).tolist(),
            "flat_psnr": psnr(flat, originals).tolist(),
            "ssim": ssim(moved, originals),
            "flat_ssim": ssim(flat, originals),
            "shift_down": [down for down, _ in shifts],
            "shift_right": [right for _, right in shifts],
            "correlation": to_original.tolist(),
            "nearest_other": to_others.masked_fill(copies, 0).amax(1).tolist(),
            "others": (~copies).sum(1).tolist(),
        }
    )
    nearest = table["correlation"] > table["nearest_other"]
    better = (table["psnr"] > table["flat_psnr"]) | (table["ssim"] > table["flat_ssim"])
    error = (mean_squared_error(moved, originals) / mean_squared_error(flat, originals)).tolist()
    clear = (1 - pd.Series(error) >= HALF) & (table["ssim"] - table["flat_ssim"] >= HALF * (1 - table["flat_ssim"]))
    recovery = (
        pd.Series(NOT_RECOVERED, index=table.index).mask(nearest & better, PARTLY).mask(nearest & clear, RECOVERED)
    )
    table.insert(0, "recovery", recovery)
    return table


def best_first(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Keep the best of several attacks on the same images, each a table of `judge`; the best image first.

    The column `attack` has the name of its table, `image` its row.
    """
    every = pd.concat(dict(tables), names=["attack", "image"]).reset_index()
    rank = every["recovery"].map(RECOVERIES.index)
    order = every.assign(rank=rank).sort_values(["rank", "psnr"], ascending=[True, False], kind="stable")
    return order.drop_duplicates("image").drop(columns="rank").reset_index(drop=True)


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Return the correlation of each image with each of the others, [n, m] in [−1, 1], at the best circular shift.

    Images are [n, channels, h, w] and [m, channels, h, w], m at least 1, and compared in at most `COMPARED_SIDE` pixels
    a side. The mean of each channel is taken off before; a flat image has the correlation 0 with all. A Fourier
    transform tries every shift at once.
    """
    size, theirs = _compared_size(others), _spectra(others)
    rows = (torch.fft.irfft2((each * theirs).sum(1), s=size).amax((1, 2)) for each in _spectra(images).conj())
    return torch.stack(list(rows))


def _correlation_of_pairs(images: Tensor, others: Tensor) -> Tensor:
    pairs = zip(images[:, None], others[:, None], strict=True)
    return torch.cat([correlation(image, other)[0] for image, other in pairs])


def _spectra(images: Tensor) -> Tensor:
    """Fourier transforms of images without their mean colour, of norm 1."""
    size = _compared_size(images)
    parts = images.split(50)  # a thousand large images fit into memory once, not three times
    small = torch.cat([adaptive_avg_pool2d(part.clamp(0, 1).float(), size) for part in parts])
    centred = small - small.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    scaled = torch.where(deviation > 1e-4, centred / deviation, 0)  # what is left of a flat image is rounding
    spectra: Tensor = torch.fft.rfft2(scaled / math.sqrt(scaled[0].numel()))
    return spectra


def _compared_size(images: Tensor) -> tuple[int, int]:
    height, width = (min(side, COMPARED_SIDE) for side in images.shape[-2:])
    return height, width


def _moved(reconstructions: Tensor, originals: Tensor) -> tuple[Sequence[tuple[int, int]], Tensor]:
    """Move each to the circular shift with the best PSNR, and say which that is."""
    found = [best_shift(*pair)[:2] for pair in zip(reconstructions, originals, strict=True)]
    moved = [each.roll(shift, (-2, -1)) for each, shift in zip(reconstructions, found, strict=True)]
    return found, torch.stack(moved)


def interval(share: float, draws: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `draws` independent draws showed `share`, in [0, 1].

    Clopper and Pearson 1934, exact; a share of the draws that is no whole number is taken as it is (Korn and Graubard
    1998), so that images that share a gradient can count as one draw.
    """
    tail, found = (1 - CONFIDENCE) / 2, share * draws
    lower = 0.0 if found == 0 else float(betaincinv(found, draws - found + 1, tail))
    upper = 1.0 if found == draws else float(betaincinv(found + 1, draws - found, 1 - tail))
    return lower, upper


def draws_needed(share: float) -> int:
    """Return how many draws, none of them recovered, put the upper end of `interval` below a share in (0, 1)."""
    return math.floor(math.log((1 - CONFIDENCE) / 2) / math.log1p(-share)) + 1
