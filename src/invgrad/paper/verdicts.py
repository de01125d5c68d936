"""Verdicts on the values that the paper reports: reproduced by our runs, or not.

All functions are pure, except that `read_values` reads a file. PSNR, differences and standard deviations are in dB.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from scipy import stats

from invgrad.paper import values as paper_values
from invgrad.settings import SettingsError, unknown

Verdict = Literal["reproduced", "differs", "undecided", "not comparable", "not run"]
Status = Literal["ok", "failed"]

CONFIDENCE = 0.95
SHOWN_MARGIN = 3.0
"""Largest difference, in dB, at which a single displayed image still counts as reproduced."""

RULE: Mapping[Verdict, str] = {
    "reproduced": f"The {CONFIDENCE:.0%} interval of the difference includes 0, and the difference is within a margin: "
    f"the standard deviation that the paper prints, or {SHOWN_MARGIN:g} dB for a single displayed image. "
    "This says that no difference was found, not that there is none.",
    "differs": "The interval excludes 0.",
    "undecided": "The interval includes 0, but the difference is beyond the margin; or there are too few images or "
    "network seeds for an interval.",
    "not comparable": "A setting or the data differ from the paper's, or which image it shows is not known; "
    "the reason lists all.",
    "not run": "There are no reconstructions of this cell.",
}
"""The condition of each verdict, as `_decide` and `verdicts` apply it; shown in reports and documentation."""


ROW_COLUMNS = ["cell", "seed", "image", "psnr", "status"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of our value from the paper's, with its interval; what cannot be computed is NaN.

    `value` is the mean over network seeds of the per-seed mean over images. `std_images` is the standard deviation over
    images within a seed, pooled over the seeds; `std_seeds` is that of the per-seed means. `n_images` counts the
    distinct images and `n_seeds` the network seeds in `value`; `n_failed` and `n_exact` (infinite PSNR) the rows that
    are not in it.
    """

    value: float
    std_images: float
    std_seeds: float
    n_images: int
    n_seeds: int
    n_failed: int
    n_exact: int
    difference: float
    ci_low: float
    ci_high: float


VERDICT_COLUMNS = [
    *("id", "cell", "measure", "paper_value", "paper_std", "paper_n", "paper_checked"),
    *Difference.__dataclass_fields__,
    *("verdict", "reason"),
]


def read_values(path: Path) -> pd.DataFrame:
    """Read the reported values, one row each; columns of `PaperValue`, `std` NaN where empty, `checked` bool.

    Raises the errors of `invgrad.paper.values.read`.
    """
    frame = pd.DataFrame([value.model_dump() for value in paper_values.read(path)], columns=paper_values.COLUMNS)
    frame["checked"] = frame["checked"] == "true"
    return frame.astype({"value": float, "std": float, "n": int})


def compare(rows: pd.DataFrame, value: float, std: float, n: int) -> Difference:
    """Compute the difference of our rows of one cell from the paper's `value`, with its 95 % interval.

    `rows` has the columns `seed`, `image`, `psnr`, `status`; several rows of one image under one seed count once, with
    their mean. `std` is the paper's standard deviation over its `n` images. It is NaN for a single displayed image
    (n = 1): its spread is then taken from our images, or left out if we attacked one image, taken to be the same.
    """
    failed = rows["status"] == "failed"
    exact = ~failed & (rows["psnr"] == math.inf)
    table = rows[~failed & ~exact].pivot_table(index="image", columns="seed", values="psnr", aggfunc="mean")
    n_images, n_seeds = table.shape
    seed_means = table.mean()
    ours = float(seed_means.mean())
    std_images, std_seeds = _pooled_std(table), float(seed_means.std())

    image_variance = std_images**2 / n_images if n_images else math.nan
    parts: list[tuple[float, int]] = []
    if not math.isnan(std):
        parts += [(std**2 / n, n - 1), (image_variance, n_images - 1)]
    elif not _one_image(rows):
        # One estimated spread for both sides is one source of error, not two independent ones.
        parts.append((std_images**2 / n + image_variance, n_images - 1))
    if n_seeds > 1:
        # The 1 is the paper's own network, one draw from the same distribution.
        parts.append((std_seeds**2 * (1 + 1 / n_seeds), n_seeds - 1))
    half = _half_width(parts)
    return Difference(
        value=ours,
        std_images=std_images,
        std_seeds=std_seeds,
        n_images=n_images,
        n_seeds=n_seeds,
        n_failed=int(failed.sum()),
        n_exact=int(exact.sum()),
        difference=ours - value,
        ci_low=ours - value - half,
        ci_high=ours - value + half,
    )


def verdicts(
    values: pd.DataFrame,
    rows: pd.DataFrame,
    deviations: Mapping[str, Sequence[str]],
    left_out: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Decide the verdicts, one row per reported value, with the columns `VERDICT_COLUMNS`.

    `values` is what `read_values` returns. `rows` holds the per-image rows of all our runs, with the columns
    `ROW_COLUMNS`: `psnr` is infinite for an exact reconstruction and ignored where `status` is "failed". If they also
    have the column `lossy` (JPEG copies are among the data set's images), the reason names these copies.
    `deviations[cell]` lists why a cell cannot be compared with the paper; it is empty or absent if it can.
    `left_out[cell]` is the reason why a cell was left out on purpose. Raises `SettingsError` for a missing column or
    identity, an unknown status, and a row that is "ok" without a PSNR.
    """
    _check_rows(rows)
    table = []
    meant = left_out or {}
    for paper in values.to_dict("records"):
        mine = rows[rows["cell"] == paper["cell"]]
        ours = compare(mine, paper["value"], paper["std"], paper["n"])
        if mine.empty:
            verdict, reason = "not run", meant.get(paper["cell"], "no rows of this cell")
        else:
            verdict, reason = _judge(mine, ours, paper["std"], deviations.get(paper["cell"], ()))
        printed = {f"paper_{key}": paper[key] for key in ("value", "std", "n", "checked")}
        identity = {key: paper[key] for key in ("id", "cell", "measure")}
        table.append({**identity, **printed, **asdict(ours), "verdict": verdict, "reason": reason})
    return pd.DataFrame(table, columns=VERDICT_COLUMNS)


def _judge(rows: pd.DataFrame, ours: Difference, paper_std: float, deviations: Sequence[str]) -> tuple[Verdict, str]:
    shown = math.isnan(paper_std)
    blockers = list(deviations)
    if shown and not _one_image(rows):
        blockers.append("which image is shown is not known")
    margin = SHOWN_MARGIN if shown else paper_std
    verdict, reasons = _decide(ours, margin, blockers)
    if shown and _one_image(rows):
        reasons.append("the image shown is taken to be ours, so the interval covers network seeds only")
    if ours.n_seeds == 1:
        reasons.append("one network seed: its spread is not in the interval")
    if "lossy" in rows and rows["lossy"].any():
        reasons.append("JPEG copies are among the images of the data set")
    if ours.n_failed:
        reasons.append(f"{ours.n_failed} failed, not in the mean")
    if ours.n_exact:
        reasons.append(f"{ours.n_exact} exact (infinite PSNR), not in the mean")
    return verdict, "; ".join(reasons)


def _decide(ours: Difference, margin: float, blockers: list[str]) -> tuple[Verdict, list[str]]:
    if blockers:
        return "not comparable", blockers
    if ours.n_images == 0:
        return "undecided", ["no finite PSNR"]
    if math.isnan(ours.ci_low):
        return "undecided", ["too few images or network seeds for an interval"]
    if not ours.ci_low <= 0 <= ours.ci_high:
        return "differs", ["the interval excludes 0"]
    if abs(ours.difference) > margin:
        return "undecided", [f"the interval includes 0, but the difference is beyond ±{margin:.2f} dB"]
    return "reproduced", [f"the interval includes 0 and the difference is within ±{margin:.2f} dB"]


def _one_image(rows: pd.DataFrame) -> bool:
    return rows["image"].nunique() == 1


def _pooled_std(table: pd.DataFrame) -> float:
    """Standard deviation over images (rows), pooled over seeds (columns); NaN unless a seed has two images."""
    freedom = int((table.count() - 1).sum())
    squares = float(((table - table.mean()) ** 2).sum().sum())
    return math.sqrt(squares / freedom) if freedom else math.nan


def _half_width(parts: Sequence[tuple[float, int]]) -> float:
    """Half the width of the interval for independent (variance, degrees of freedom); dB from dB².

    The method is that of Welch (1947) and Satterthwaite (1946). NaN where no variance is known, or all are zero.
    """
    total = sum(variance for variance, _ in parts)
    if not total > 0:
        return math.nan
    freedom = total**2 / sum(variance**2 / known for variance, known in parts)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)


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
