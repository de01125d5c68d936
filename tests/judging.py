"""Rows and printed values for tests of the verdicts, and quantiles that do not lean on the library under test."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from invgrad.paper.values import COLUMNS
from invgrad.paper.verdicts import ROW_COLUMNS


def rows(by_seed: Sequence[Sequence[float]], cell: str = "some-cell", first: int = 0) -> pd.DataFrame:
    """One row per PSNR: `by_seed[seed][image]`, NaN for a failed trial; images count from `first`."""
    return pd.DataFrame(
        [
            (cell, seed, image, psnr, "failed" if math.isnan(psnr) else "ok")
            for seed, images in enumerate(by_seed)
            for image, psnr in enumerate(images, start=first)
        ],
        columns=ROW_COLUMNS,
    )


def value(paper: float, std: float, n: int, cell: str = "some-cell") -> pd.DataFrame:
    """One reported value; `std` is NaN for a displayed image."""
    shown = math.isnan(std)
    line = ("table1", cell, "psnr_shown" if shown else "psnr_mean", paper, std, n, "dB", "Table 1", True, "")
    return pd.DataFrame([line], columns=COLUMNS)


def student_t_cdf(t: float, freedom: float) -> float:
    """Student's t distribution by Simpson's rule on its density."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    return 0.5 + scale * _simpson(lambda x: math.pow(1 + x**2 / freedom, -(freedom + 1) / 2), t)


def fisher_f_cdf(ratio: float, first: int, second: int) -> float:
    """Fisher's F distribution by Simpson's rule: that of the beta distribution, whose variable is a square here."""
    a, b = first / 2, second / 2
    scale = 2 * math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    end = math.sqrt(first * ratio / (first * ratio + second))
    return scale * _simpson(lambda x: x ** (2 * a - 1) * (1 - x**2) ** (b - 1), end)


def _simpson(density: Callable[[float], float], end: float) -> float:
    steps = 2000
    weights = [1, *[4, 2] * (steps // 2 - 1), 4, 1]
    return end / steps / 3 * sum(weight * density(end * i / steps) for i, weight in enumerate(weights))
