"""How often the rule errs, by simulation: networks and images of which the truth is known.

Every PSNR is the sum of an effect of the network, one of the image, and a rest, all normal. The paper has one network
and 100 images. Ours are networks of the same distribution, and either the same images or others.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from invgrad.paper.differences import Difference, half_width, sources_of_error
from invgrad.paper.verdicts import decide

SEED, DRAWS = 20, 2000
PAPER_IMAGES, OTHER_IMAGES = 100, 10
IMAGE_STD = 4.0
"""Standard deviation over the images of one network, in dB."""
SHARED = 0.4
"""Share of its variance that is the image's own, whatever the network: the correlation between two networks."""
TRUE_DIFFERENCE = 2.8
"""Difference in dB that ought to be found: the largest one of Table 1."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of the draws of one case: `false` and `undecided` if nothing differs, `found` if something does.

    `before` is the share that the former rule called different although nothing differs.
    """

    seeds: int
    same_images: bool
    spread: float
    false: float
    undecided: float
    found: float
    before: float


@cache
def rates() -> list[Rates]:
    """Simulate every case: numbers of network seeds, spreads between networks in dB, the same images or others."""
    random = np.random.default_rng(SEED)
    return [
        simulate(random, seeds, spread, same_images=same_images)
        for same_images in (True, False)
        for seeds in (1, 3, 5, 20)
        for spread in (0.0, 0.5, 1.5)
    ]


def simulate(random: np.random.Generator, seeds: int, spread: float, *, same_images: bool, draws: int = DRAWS) -> Rates:
    """Draw many times what the paper and we find if nothing differs, and judge it by the project's rule."""
    image = _images(random, draws, PAPER_IMAGES)
    paper = _psnr(random, image, 1, spread)
    ours = _psnr(random, image if same_images else _images(random, draws, OTHER_IMAGES), seeds, spread)
    by_chance = ours.mean(axis=(1, 2)) - paper.mean(axis=(1, 2))
    half, former = (half_widths(paper, ours, same_images=same) for same in (same_images, False))
    margins = paper.std(axis=2, ddof=1)[:, 0]
    verdicts = {
        true: [
            decide(_difference(true + error, width, ours.shape[2], seeds), margin, ())[0]
            for error, width, margin in zip(by_chance.tolist(), half.tolist(), margins.tolist(), strict=True)
        ]
        for true in (0.0, TRUE_DIFFERENCE)
    }
    return Rates(
        seeds=seeds,
        same_images=same_images,
        spread=spread,
        false=verdicts[0.0].count("differs") / draws,
        undecided=verdicts[0.0].count("undecided") / draws,
        found=verdicts[TRUE_DIFFERENCE].count("differs") / draws,
        before=float((abs(by_chance) > former).mean()),
    )


def half_widths(paper: Array, ours: Array, *, same_images: bool) -> Array:
    """Half the width of the interval of every draw; both arrays are [draws, networks, images]."""
    seeds, images = ours.shape[1:]
    parts = sources_of_error(
        paper.std(axis=2, ddof=1)[:, 0],
        paper.shape[2],
        np.sqrt(ours.var(axis=2, ddof=1).mean(axis=1)),
        images,
        ours.mean(axis=2).std(axis=1, ddof=1) if seeds > 1 else math.nan,
        seeds,
        same_images=same_images,
    )
    return np.broadcast_to(half_width(parts), len(ours))


def _images(random: np.random.Generator, draws: int, count: int) -> Array:
    """The effects of the images, whatever the network."""
    return random.normal(0, IMAGE_STD * math.sqrt(SHARED), (draws, 1, count))


def _psnr(random: np.random.Generator, image: Array, networks: int, spread: float) -> Array:
    """PSNR of every draw, network and image, but for the mean."""
    network = random.normal(0, spread, (len(image), networks, 1))
    rest = random.normal(0, IMAGE_STD * math.sqrt(1 - SHARED), (len(image), networks, image.shape[2]))
    return network + image + rest


def _difference(difference: float, half: float, n_images: int, n_seeds: int) -> Difference:
    """What the rule goes by, of a difference with this half width of its interval."""
    return Difference(
        value=math.nan,
        std_images=math.nan,
        std_seeds=math.nan,
        n_images=n_images,
        n_seeds=n_seeds,
        n_failed=0,
        n_exact=0,
        lossy=0,
        difference=difference,
        ci_low=difference - half,
        ci_high=difference + half,
    )
