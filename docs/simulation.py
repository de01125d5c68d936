"""How often the rule errs, by simulation: networks and images of which the truth is known.

Every PSNR is the sum of an effect of the network, one of the image, and a rest, all normal. The paper has one network
and mostly 100 images. Ours are networks of the same distribution, and the same images, a part of them, or others.
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
class Case:
    """Networks and images of ours, and how much the PSNR varies with both, in dB."""

    seeds: int
    spread: float
    """Standard deviation between networks."""
    images: int = PAPER_IMAGES
    paper_images: int = PAPER_IMAGES
    common: bool = True
    """True if ours are among the paper's images."""
    copies: bool = False
    """True if some are JPEG copies, so that they count as others; what the copies change is left out."""
    image_std: float = IMAGE_STD
    shared: float = SHARED

    @property
    def same_images(self) -> bool:
        """True if the rule takes the images of both sides as the same."""
        return self.common and not self.copies and self.images == self.paper_images


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of the draws of a case: `false` and `undecided` if nothing differs, `found` if something does.

    `passed` is the share that counts as reproduced although something differs, and `before` the one that the former
    rule called different although nothing does.
    """

    case: Case
    false: float
    undecided: float
    found: float
    passed: float
    before: float


@cache
def rates() -> list[Rates]:
    """Simulate numbers of network seeds, spreads between networks, the same images or others."""
    random = np.random.default_rng(SEED)
    others = {"images": OTHER_IMAGES, "common": False}
    return [
        simulate(random, Case(seeds=seeds, spread=spread, **images))
        for images in ({}, others)
        for seeds in (1, 3, 5, 20)
        for spread in (0.0, 0.5, 1.5)
    ]


@cache
def rates_of(case: Case) -> Rates:
    """Simulate one case."""
    return simulate(np.random.default_rng(SEED), case)


def simulate(random: np.random.Generator, case: Case, *, draws: int = DRAWS) -> Rates:
    """Draw many times what the paper and we find if nothing differs, and judge it by the project's rule."""
    image = _images(random, case, draws, case.paper_images)
    paper = _psnr(random, case, image, 1)
    attacked = image[..., : case.images] if case.common else _images(random, case, draws, case.images)
    ours = _psnr(random, case, attacked, case.seeds)
    by_chance = ours.mean(axis=(1, 2)) - paper.mean(axis=(1, 2))
    half, former = (half_widths(paper, ours, same_images=same) for same in (case.same_images, False))
    margins = paper.std(axis=2, ddof=1)[:, 0]
    verdicts = {
        true: [
            decide(_difference(true + error, width, case), margin, ())[0]
            for error, width, margin in zip(by_chance.tolist(), half.tolist(), margins.tolist(), strict=True)
        ]
        for true in (0.0, TRUE_DIFFERENCE)
    }
    return Rates(
        case=case,
        false=verdicts[0.0].count("differs") / draws,
        undecided=verdicts[0.0].count("undecided") / draws,
        found=verdicts[TRUE_DIFFERENCE].count("differs") / draws,
        passed=verdicts[TRUE_DIFFERENCE].count("reproduced") / draws,
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


def _images(random: np.random.Generator, case: Case, draws: int, count: int) -> Array:
    """The effects of the images, whatever the network."""
    return random.normal(0, case.image_std * math.sqrt(case.shared), (draws, 1, count))


def _psnr(random: np.random.Generator, case: Case, image: Array, networks: int) -> Array:
    """PSNR of every draw, network and image, but for the mean."""
    network = random.normal(0, case.spread, (len(image), networks, 1))
    rest = random.normal(0, case.image_std * math.sqrt(1 - case.shared), (len(image), networks, image.shape[2]))
    return network + image + rest


def _difference(difference: float, half: float, case: Case) -> Difference:
    """What the rule goes by, of a difference with this half width of its interval."""
    return Difference(
        value=math.nan,
        std_images=math.nan,
        std_seeds=math.nan,
        n_images=case.images,
        n_seeds=case.seeds,
        n_failed=0,
        n_exact=0,
        lossy=0,
        difference=difference,
        ci_low=difference - half,
        ci_high=difference + half,
    )
