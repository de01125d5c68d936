"""Verdicts on the values that the paper reports: reproduced by our runs, or not.

All functions are pure, except that `read_values` reads a file. PSNR, differences and standard deviations are in dB.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from invgrad.paper import values as paper_values
from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import CONFIDENCE, CopyEffect, Difference, compare, copy_effect, of_clients
from invgrad.paper.weights import MIN_SEEDS, Grid, judged_cell
from invgrad.settings import SettingsError, unknown

Verdict = Literal["reproduced", "differs", "undecided", "not comparable", "not run"]
Status = Literal["ok", "failed"]

SHOWN_MARGIN = 3.0
"""Largest difference, in dB, at which a single displayed image still counts as reproduced."""

RULE: Mapping[Verdict, str] = {
    "reproduced": f"The {CONFIDENCE:.0%} interval of the difference includes 0, and the difference is within a margin: "
    f"the standard deviation that the paper prints, or {SHOWN_MARGIN:g} dB for a single displayed image. "
    "This says that no difference was found, not that there is none.",
    "differs": "The interval excludes 0.",
    "undecided": f"There are fewer than {MIN_SEEDS} network seeds, which do not tell how much networks differ; "
    "or the interval includes 0, but the difference is beyond the margin; or there are too few images for an interval.",
    "not comparable": "A setting or the data differ from the paper's, or which image it shows is not known; "
    "the reason lists all.",
    "not run": "There are no reconstructions of this cell.",
}
"""The condition of each verdict, as `decide` and `verdicts` apply it; shown in reports and documentation."""


ROW_COLUMNS = ["cell", "seed", "image", "psnr", "status"]

VERDICT_COLUMNS = [
    *("id", "cell", "measure", "paper_value", "paper_std", "paper_n", "paper_checked", "judged"),
    *Difference.__dataclass_fields__,
    *("weights", "verdict", "reason"),
]


def read_values(path: Path) -> pd.DataFrame:
    """Read the reported values, one row each; columns of `PaperValue`, `std` NaN where empty, `checked` bool.

    Raises the errors of `invgrad.paper.values.read`.
    """
    frame = pd.DataFrame([value.model_dump() for value in paper_values.read(path)], columns=paper_values.COLUMNS)
    frame["checked"] = frame["checked"] == "true"
    return frame.astype({"value": float, "std": float, "n": int})


def verdicts(values: pd.DataFrame, rows: pd.DataFrame, facts: Mapping[str, CellFacts]) -> pd.DataFrame:
    """Decide the verdicts, one row per reported value, with the columns `VERDICT_COLUMNS`.

    `values` is what `read_values` returns. `rows` holds the per-image rows of all our runs, with the columns
    `ROW_COLUMNS`: `psnr` is infinite for an exact reconstruction and ignored where `status` is "failed". If they also
    have the column `lossy`, it tells which images are JPEG copies. `facts` are those on every cell; one that is not
    there is comparable. `judged` names the cell that is judged, which has another α than that of the value if the
    paper's is not known (see `invgrad.paper.weights`), and `weights` tells which α agree with print. A printed mean is
    one over clients, so the images of a client count as one, with their mean (see `of_clients`). Raises
    `SettingsError` for a missing column or identity, an unknown status, and a row that is "ok" without a PSNR.
    """
    _check_rows(rows)
    tables = {"psnr_shown": rows, "psnr_mean": of_clients(rows)}
    by_cell = {
        measure: {str(cell): each for cell, each in table.groupby("cell", sort=False)}
        for measure, table in tables.items()
    }
    table = [_judged(paper, rows.iloc[:0], by_cell[paper["measure"]], facts) for paper in values.to_dict("records")]
    return pd.DataFrame(table, columns=VERDICT_COLUMNS)


def _judged(
    paper: Mapping[Any, Any], nothing: pd.DataFrame, rows: Mapping[str, pd.DataFrame], facts: Mapping[str, CellFacts]
) -> dict[str, Any]:
    """The row of one reported value; `nothing` is an empty table."""
    cell, printed = paper["cell"], (paper["value"], paper["std"], paper["n"])
    about = facts.get(cell, CellFacts())
    copies = effect_of_copies(about, rows, facts)
    judged, weights, why = cell, "", ""
    if cell in rows and not about.weight_known and not about.deviations and paper["n"] > 1:
        grid = Grid.around(cell, facts, rows)
        weights = grid.agreeing(*printed, copies)
        judged, why = judged_cell(cell, facts, rows, grid)
    mine = rows.get(judged, nothing)
    ours = compare(mine, *printed, copies)
    if mine.empty:
        verdict, reason = "not run", about.left_out or "no rows of this cell"
    else:
        verdict, reasons = _judge(mine, ours, paper["std"], about.deviations, copies)
        agreeing = f"mean and deviation agree with print for α = {weights}" if weights else ""
        reason = "; ".join(filter(None, [*reasons, why, agreeing]))
    identity = {key: paper[key] for key in ("id", "cell", "measure")}
    identity |= {f"paper_{key}": paper[key] for key in ("value", "std", "n", "checked")}
    return {**identity, "judged": judged, **asdict(ours), "weights": weights, "verdict": verdict, "reason": reason}


def effect_of_copies(
    about: CellFacts, rows: Mapping[str, pd.DataFrame], facts: Mapping[str, CellFacts]
) -> CopyEffect | None:
    """Measure what JPEG copies change in cells like this one; None if there are no rows that tell."""
    for name, each in facts.items():
        original = each.copies_of
        if original and name in rows and original in rows and facts[original].alike == about.alike:
            return copy_effect(rows[name], rows[original])
    return None


def _judge(
    rows: pd.DataFrame, ours: Difference, paper_std: float, deviations: Sequence[str], copies: CopyEffect | None
) -> tuple[Verdict, list[str]]:
    shown = math.isnan(paper_std)
    blockers = list(deviations)
    if shown and not _one_image(rows):
        blockers.append("which image is shown is not known")
    margin = SHOWN_MARGIN if shown else paper_std
    verdict, reasons = decide(ours, margin, blockers)
    if shown and _one_image(rows):
        reasons.append("the image shown is taken to be ours, so the interval covers network seeds only")
    if ours.n_seeds == 1:
        reasons.append("the spread between networks is not in the interval")
    if ours.lossy:
        measured = (
            f"the interval allows for their effect, {copies.change:+.2f} ± {copies.error:.2f} dB" if copies else ""
        )
        reasons.append(f"{ours.lossy:.0%} of the images are JPEG copies: {measured or 'their effect is not known'}")
    if ours.n_failed:
        reasons.append(f"{ours.n_failed} failed, not in the mean")
    if ours.n_exact:
        reasons.append(f"{ours.n_exact} exact (infinite PSNR), not in the mean")
    return verdict, reasons


def decide(ours: Difference, margin: float, blockers: Sequence[str]) -> tuple[Verdict, list[str]]:
    """Decide the verdict on a value of which there are rows, with its reasons; `blockers` make it not comparable."""
    if blockers:
        return "not comparable", list(blockers)
    if ours.n_images == 0:
        return "undecided", ["no finite PSNR"]
    if ours.n_seeds < MIN_SEEDS:
        seeds = f"{ours.n_seeds} network seed{'s' * (ours.n_seeds > 1)}"
        return "undecided", [f"{seeds}: it takes {MIN_SEEDS} to tell how much networks differ"]
    if math.isnan(ours.ci_low):
        return "undecided", ["too few images for an interval"]
    if not ours.includes_zero:
        return "differs", ["the interval excludes 0"]
    if abs(ours.difference) > margin:
        return "undecided", [f"the interval includes 0, but the difference is beyond ±{margin:.2f} dB"]
    reasons = [f"the interval includes 0 and the difference is within ±{margin:.2f} dB"]
    if ours.largest > margin:
        reasons.append(f"a difference beyond that, of up to {ours.largest:.2f} dB, is not excluded")
    return "reproduced", reasons


def _one_image(rows: pd.DataFrame) -> bool:
    return rows["image"].nunique() == 1


def _check_rows(rows: pd.DataFrame) -> None:
    for column in ROW_COLUMNS:
        if column not in rows.columns:
            raise SettingsError(f"rows: no column '{column}' (columns: {', '.join(map(str, rows.columns))})")
        if column != "psnr" and rows[column].isna().any():
            raise SettingsError(f"rows: column '{column}' has an empty value")
    for status in rows["status"].unique():
        if status not in get_args(Status):
            raise SettingsError(f"rows: {unknown('status', status, get_args(Status))}")
    lost = rows[(rows["status"] == "ok") & ~(rows["psnr"] > -math.inf)]
    if len(lost):
        first = lost.iloc[0]
        raise SettingsError(
            f"rows: cell '{first['cell']}', seed {first['seed']}, image {first['image']}: status is 'ok', "
            f"but psnr is {first['psnr']}; nearest valid status: 'failed'"
        )
