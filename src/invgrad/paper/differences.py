"""Differences of our values from the paper's, with their intervals.

All functions are pure. PSNR, differences and standard deviations are in dB.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95

Numbers = float | NDArray[np.float64]
"""One number, or one for each of many cases."""
Part = tuple[Numbers, int]
"""One source of error: its variance in dB², and the degrees of freedom with which that is known."""


class CopyEffect(NamedTuple):
    """Change of the PSNR by JPEG copies: the mean over images, its standard error, and the number of images."""

    change: float
    error: float
    images: int

    def part(self, share: float) -> Part:
        """The source of error in a mean in which this share of the images are copies, of whatever sign the change."""
        return share**2 * (self.change**2 + self.error**2), self.images - 1


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of our value from the paper's, with its interval; what cannot be computed is NaN.

    `value` is the mean over network seeds of the per-seed mean over images. `std_images` is the standard deviation over
    images within a seed, pooled over the seeds; `std_seeds` is that of the per-seed means. `n_images` counts the
    distinct images (clients, see `of_clients`) and `n_seeds` the network seeds in `value`; `n_failed` and `n_exact`
    (infinite PSNR) the rows that are not in it. `lossy` is the share of JPEG copies among the images.
    """

    value: float
    std_images: float
    std_seeds: float
    n_images: int
    n_seeds: int
    n_failed: int
    n_exact: int
    lossy: float
    difference: float
    ci_low: float
    ci_high: float

    @property
    def includes_zero(self) -> bool:
        """True if the interval includes 0; False if it does not, or there is none."""
        return self.ci_low <= 0 <= self.ci_high

    @property
    def largest(self) -> float:
        """The largest difference, in dB and without its sign, that the interval does not exclude."""
        return max(-self.ci_low, self.ci_high)


def compare(rows: pd.DataFrame, value: float, std: float, n: int, copies: CopyEffect | None = None) -> Difference:
    """Compute the difference of our rows of one cell from the paper's `value`, with its 95 % interval.

    `rows` has the columns `seed`, `image`, `psnr`, `status`; several rows of one image under one seed count once, with
    their mean. If it has the column `lossy`, this tells JPEG copies, of which `copies` is the effect, if it is known.
    `std` is the paper's standard deviation over its `n` images, NaN for a single displayed image.
    """
    failed = rows["status"] == "failed"
    exact = ~failed & (rows["psnr"] == math.inf)
    finite = rows[~failed & ~exact]
    table = finite.pivot_table(index="image", columns="seed", values="psnr", aggfunc="mean")
    n_images, n_seeds = table.shape
    seed_means = table.mean()
    ours = float(seed_means.mean())
    std_images, std_seeds = _pooled_std(table), float(seed_means.std())
    lossy = float(finite.groupby("image")["lossy"].mean().mean()) if "lossy" in rows and n_images else 0.0

    same = n_images == n and not lossy
    parts = sources_of_error(std, n, std_images, n_images, std_seeds, n_seeds, same_images=same)
    if copies and lossy:
        parts.append(copies.part(lossy))
    half = float(half_width(parts))
    return Difference(
        value=ours,
        std_images=std_images,
        std_seeds=std_seeds,
        n_images=n_images,
        n_seeds=n_seeds,
        n_failed=int(failed.sum()),
        n_exact=int(exact.sum()),
        lossy=lossy,
        difference=ours - value,
        ci_low=ours - value - half,
        ci_high=ours - value + half,
    )


def of_clients(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the images of a client as one, its first; rows without the column `client` stay as they are.

    What the paper prints is a mean over experiments of one client each, with the deviation over their means.
    """
    return rows.assign(image=rows["client"]) if "client" in rows else rows


def sources_of_error(
    paper_std: Numbers,
    paper_n: int,
    std_images: Numbers,
    n_images: int,
    std_seeds: Numbers,
    n_seeds: int,
    *,
    same_images: bool,
) -> list[Part]:
    """List the sources of error in a difference; the arguments are named as in `compare` and `Difference`.

    With `same_images` both sides attack the same ones, so that networks alone make a difference: the interval is that
    in which the mean of one further network, the paper's, is predicted.
    """
    parts: list[Part] = []
    image_variance = std_images**2 / n_images if n_images else math.nan
    if not same_images and paper_n > 1:
        parts += [(paper_std**2 / paper_n, paper_n - 1), (image_variance, n_images - 1)]
    elif not same_images:
        # One estimated spread for both sides is one source of error, not two independent ones.
        parts.append((std_images**2 + image_variance, n_images - 1))
    if n_seeds > 1:
        # The 1 is the paper's own network, one draw from the same distribution.
        parts.append((std_seeds**2 * (1 + 1 / n_seeds), n_seeds - 1))
    return parts


def half_width(parts: Sequence[Part]) -> NDArray[np.float64]:
    """Half the width of the interval for independent sources of error, in dB.

    The method is that of Welch (1947) and Satterthwaite (1946). NaN where no variance is known, or all are zero.
    """
    total = np.asarray(sum(variance for variance, _ in parts), dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / sum(variance**2 / max(known, 1) for variance, known in parts)
        half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(total)
    return np.where(total > 0, half, math.nan)


def copy_effect(copies: pd.DataFrame, originals: pd.DataFrame) -> CopyEffect | None:
    """Measure what JPEG copies change, from rows of two cells that differ in them alone; None for fewer than 2 images.

    Both attack the same networks from the same starts, so the PSNR is compared image by image and seed by seed.
    """
    lossless = originals[~originals["lossy"]] if "lossy" in originals else originals
    after, before = (
        rows[(rows["status"] == "ok") & (rows["psnr"] < math.inf)].groupby(["image", "seed"])["psnr"].mean()
        for rows in (copies, lossless)
    )
    changes = (after - before).dropna().groupby("image").mean()
    if len(changes) < 2:
        return None
    return CopyEffect(float(changes.mean()), float(changes.std()) / math.sqrt(len(changes)), len(changes))


def _pooled_std(table: pd.DataFrame) -> float:
    """Standard deviation over images (rows), pooled over seeds (columns); NaN unless a seed has two images."""
    freedom = int((table.count() - 1).sum())
    squares = float(((table - table.mean()) ** 2).sum().sum())
    return math.sqrt(squares / freedom) if freedom else math.nan
