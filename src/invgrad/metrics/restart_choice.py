"""How well an attacker chooses among the restarts of an attack, who sees the matching cost and not the PSNR."""

import math
from dataclasses import dataclass

import pandas as pd

from invgrad.metrics.image_quality import rank_correlation

IMAGE = ["seed", "client", "image"]
"""The columns of `ArtefactResults.trajectories` that say which image of which network seed a row is about."""


@dataclass(frozen=True, kw_only=True)
class RestartChoice:
    """How the choice by lowest final cost fares; what cannot be computed is not a number."""

    images: int
    restarts: int
    left_out: int
    """Restarts of an image that failed or are exact (infinite PSNR); all that follows is without them."""
    correlation_within: float
    """Spearman's rank correlation of cost and PSNR among the restarts of an image, mean over images."""
    correlation_overall: float
    """The same among all restarts of all images."""
    hits: float
    """The share of images whose restart with the lowest cost is the one with the highest PSNR."""
    hits_by_chance: float
    """The same, expected for a restart at random."""
    lost: float
    """By how much the PSNR of the choice is below that of the best restart, dB, mean over images."""
    lost_by_chance: float
    """The same, expected for a restart at random."""


def ends(trajectories: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last iteration, of `ArtefactResults.trajectories`, whose cost and PSNR are finite."""
    last = trajectories.loc[trajectories["iteration"] == trajectories["iteration"].max()]
    finite: pd.DataFrame = last.replace([math.inf, -math.inf], math.nan).dropna(subset=["matching_cost", "psnr"])
    return finite


def chosen(ends: pd.DataFrame) -> pd.DataFrame:
    """The row with the lowest cost of every image."""
    return ends.loc[ends.groupby(IMAGE)["matching_cost"].idxmin()]


def choice_of(trajectories: pd.DataFrame) -> RestartChoice:
    """How well the final cost orders the restarts, from `ArtefactResults.trajectories`."""
    last = ends(trajectories)
    images = last.groupby(IMAGE)
    best = images["psnr"].max()
    choice = chosen(last).set_index(IMAGE)["psnr"]
    within = [_correlation(each) for _, each in images]
    return RestartChoice(
        images=len(best),
        restarts=trajectories["restart"].nunique(),
        left_out=len(trajectories[[*IMAGE, "restart"]].drop_duplicates()) - len(last),
        correlation_within=float(pd.Series(within, dtype=float).mean()),
        correlation_overall=_correlation(last),
        hits=float((choice == best).mean()),
        hits_by_chance=float((1 / images.size()).mean()),
        lost=float((best - choice).mean()),
        lost_by_chance=float((best - images["psnr"].mean()).mean()),
    )


def _correlation(ends: pd.DataFrame) -> float:
    return rank_correlation(ends["matching_cost"].tolist(), ends["psnr"].tolist())
