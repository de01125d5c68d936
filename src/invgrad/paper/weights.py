"""The weight α of the total variation, where the paper's is not known.

Which α agree with a printed value is reported, and decides nothing: α would be chosen by what it is to explain. The
cell that is judged has the α with which an attacker, who needs no paper for it, finds other images best.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy import stats

from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import CONFIDENCE, CopyEffect, Difference, compare

MIN_SEEDS = 5
"""Fewest network seeds that tell how much networks differ: with 4 degrees of freedom."""


def power(value: float) -> str:
    """Format a number as the configuration writes small ones, e.g. `1e-6` or `2.5e-3`."""
    return np.format_float_scientific(value, precision=3, trim="-", exp_digits=1)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The rows that differ from those of one cell in α alone, by α: of the same images or a part of them, or of others.

    Of several cells with the same α it holds the one with the most images; `cells` are their names.
    """

    cells: Mapping[float, str]
    same: Mapping[float, pd.DataFrame]
    others: Mapping[float, pd.DataFrame]

    @classmethod
    def around(cls, cell: str, facts: Mapping[str, CellFacts], rows: Mapping[str, pd.DataFrame]) -> Self:
        """Collect the grid around a cell from the rows of all cells, without those that deviate from the paper."""
        own = set(rows[cell]["image"])
        cells, same, others = {}, {}, {}
        # The last of one α stays. The cell itself comes last of those with as many images.
        alike = [name for name, each in facts.items() if name in rows and each.alike == facts[cell].alike]
        for name in sorted(alike, key=lambda name: (rows[name]["image"].nunique(), name == cell)):
            weight = facts[name].total_variation
            if not weight or facts[name].deviations:
                continue
            if own.isdisjoint(rows[name]["image"]):
                others[weight] = rows[name]
            else:
                cells[weight], same[weight] = name, rows[name]
        return cls(cells=cells, same=same, others=others)

    def attackers_choice(self) -> float | None:
        """The α with the highest mean PSNR on other images; None if none was attacked."""
        means = {weight: compare(rows, np.nan, np.nan, 1).value for weight, rows in self.others.items()}
        return max((weight for weight, mean in means.items() if mean > -np.inf), key=means.__getitem__, default=None)

    def agreeing(self, value: float, std: float, n: int, copies: CopyEffect | None) -> str:
        """Tell the α whose mean and deviation agree with print, e.g. `1e-3 of 6 tried`; empty for fewer than two.

        Only an α with enough network seeds counts as tried.
        """
        compared = {weight: compare(rows, value, std, n, copies) for weight, rows in self.same.items()}
        tried = {weight: ours for weight, ours in compared.items() if ours.n_seeds >= MIN_SEEDS}
        if len(tried) < 2:
            return ""
        agree = [power(weight) for weight in sorted(tried, reverse=True) if _agrees(tried[weight], std, n)]
        return f"{', '.join(agree) or 'none'} of {len(tried)} tried"


def judged_cell(
    cell: str, facts: Mapping[str, CellFacts], rows: Mapping[str, pd.DataFrame], grid: Grid
) -> tuple[str, str]:
    """The cell that is judged in place of one whose α is not known, and why."""
    unknown = "the paper's α is not known"
    configured = f"judged is α = {power(facts[cell].total_variation or 0)}, as configured"
    choice = grid.attackers_choice()
    if choice is None:
        return cell, f"{unknown}, nor an attacker's choice: {configured}"
    enough = rows[cell]["image"].nunique()
    if choice in grid.same and grid.same[choice]["image"].nunique() >= enough:
        judged, mean = grid.cells[choice], compare(grid.same[choice], np.nan, np.nan, 1).value
        return judged, f"{unknown}: judged is α = {power(choice)}, {mean:.2f} dB, which finds other images best"
    return (
        cell,
        f"{unknown}: α = {power(choice)} finds other images best, but not all {enough} were attacked: {configured}",
    )


def same_deviation(ours: float, n_ours: int, paper: float, n_paper: int) -> bool:
    """Decide by a two-sided F test whether two deviations over so many images may be of equal ones.

    Ours is pooled over network seeds; it counts as that of one, since all attack the same images.
    """
    ratio, freedom = (ours / paper) ** 2, (n_ours - 1, n_paper - 1)
    tail = min(stats.f.cdf(ratio, *freedom), stats.f.sf(ratio, *freedom))
    return bool(2 * tail >= 1 - CONFIDENCE)


def _agrees(ours: Difference, std: float, n: int) -> bool:
    return ours.includes_zero and same_deviation(ours.std_images, ours.n_images, std, n)
