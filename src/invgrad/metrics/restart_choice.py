"""Quality of an attacker's choice among restarts, which is made by the gradient-matching loss, without the PSNR."""

import math
from dataclasses import dataclass

import pandas as pd

from invgrad.metrics.image_quality import rank_correlation

IMAGE = ["seed", "client", "image"]
"""Columns of `ArtefactResults.trajectories` that identify an image of a network seed."""


@dataclass(frozen=True, kw_only=True)
class RestartChoice:
    """Quality of the choice by lowest final gradient-matching loss; not a number where it cannot be computed."""

    images: int
    restarts: int
    left_out: int
    """Number of restarts that failed or are exact (infinite PSNR); all that follows excludes them."""
    correlation_within: float
    """Spearman's rank correlation of loss and PSNR among the restarts of an image, mean over images."""
    correlation_overall: float
    """The same among all restarts of all images."""
    hits: float
    """Share of images whose restart with the lowest loss is the one with the highest PSNR."""
    hits_by_chance: float
    """The same, expected for a restart at random."""
    lost: float
    """PSNR of the best restart minus that of the choice, dB, mean over images."""
    lost_by_chance: float
    """The same, expected for a restart at random."""


def ends(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of `ArtefactResults.trajectories` of the last iteration whose loss and PSNR are finite."""
    last = trajectories.loc[trajectories["iteration"] == trajectories["iteration"].max()]
    finite: pd.DataFrame = last.replace([math.inf, -math.inf], math.nan).dropna(subset=["matching_cost", "psnr"])
    return finite


def chosen(ends: pd.DataFrame) -> pd.DataFrame:
    """Select the row with the lowest loss of every image."""
    return ends.loc[ends.groupby(IMAGE)["matching_cost"].idxmin()]


def choice_of(trajectories: pd.DataFrame) -> RestartChoice:
    """Judge the choice by lowest final gradient-matching loss, from `ArtefactResults.trajectories`."""
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
