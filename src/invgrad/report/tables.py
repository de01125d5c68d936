"""Text of tables: means, intervals, counts, and comparisons with the paper."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from invgrad.data.registry import title
from invgrad.paper.values import FLAT_PSNR

RECALLED = "†"
"""Mark of a value of the paper that was not checked."""
RUN = ("iterations", "restarts")
OURS = ("value", "std_images", "flat_psnr")
REPORTED = ("paper_value", "paper_std", "paper_checked")
NONE = "–"
BELOW_FLAT = " ↓"
"""Mark of a PSNR below that of a flat image of the mean colour."""


def fixed(value: float) -> str:
    """Format a number as `18.00`; NaN as a dash."""
    return NONE if math.isnan(value) else f"{value:.2f}"


def mean_and_spread(mean: float, spread: float) -> str:
    """Format mean and spread as `18.00 ± 3.33`, only the mean if the spread is NaN, and a NaN mean as a dash."""
    return fixed(mean) if math.isnan(mean) or math.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def difference_and_interval(difference: float, low: float, high: float) -> str:
    """Format a difference as `+0.50 (-0.20 to +1.20)`, without the interval if that is NaN; NaN as a dash."""
    if math.isnan(difference):
        return NONE
    return f"{difference:+.2f}" if math.isnan(low) else f"{difference:+.2f} ({low:+.2f} to {high:+.2f})"


def marked(text: str, psnr: float, flat_psnr: float) -> str:
    """Add `BELOW_FLAT` to the text of a PSNR that is below that of the flat image; nothing if either is NaN."""
    return text + BELOW_FLAT if psnr < flat_psnr else text


def comparison_text(numbers: pd.DataFrame) -> pd.DataFrame:
    """Format `ArtefactResults.comparison` for readers: the same rows, a dash where the paper reports nothing."""
    return pd.DataFrame(
        {
            "cell": numbers["label"],
            "data": numbers["dataset"].map(title),
            "PSNR in dB (± images)": _texts(_ours, *(numbers[key] for key in OURS)),
            "± seeds": numbers["std_seeds"].map(fixed),
            "n (images × seeds)": _texts("{} × {}".format, numbers["n_images"], numbers["n_seeds"]),
            "failed / exact": _texts("{} / {}".format, numbers["n_failed"], numbers["n_exact"]),
            "iterations × restarts": _texts(_run, *(numbers[f"{key}_{end}"] for key in RUN for end in ("min", "max"))),
            f"paper ({RECALLED} recalled)": _texts(_reported, *(numbers[key] for key in REPORTED)),
            "difference (95 % interval)": _texts(
                difference_and_interval, *(numbers[key] for key in ("difference", "ci_low", "ci_high"))
            ),
            "verdict": numbers["verdict"].fillna(NONE),
            "reason": numbers["reason"].fillna(NONE),
        }
    )


def finite(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose PSNR can be averaged: neither failed nor exact."""
    return rows[(rows["status"] == "ok") & (rows["psnr"] < math.inf)]


def count_excluded(rows: pd.DataFrame) -> str:
    """Count the rows that `finite` excludes, e.g. `1 failed, 2 exact`; empty if none."""
    failed = int((rows["status"] == "failed").sum())
    exact = len(rows) - len(finite(rows)) - failed
    return ", ".join(f"{count} {what}" for count, what in ((failed, "failed"), (exact, "exact")) if count)


def mean_psnr(rows: pd.DataFrame) -> str:
    """Format the mean PSNR of the `finite` rows, and the count of the others, e.g. `18.32 dB, 1 failed`."""
    kept = finite(rows)
    mean, flat = kept["psnr"].mean(), kept["flat_psnr"].mean()
    text = "" if kept.empty else marked(f"{mean:.2f} dB", mean, flat)
    return ", ".join(filter(None, [text, count_excluded(rows)])) or NONE


def sample_size(*cells: pd.DataFrame) -> str:
    """Count the images and network seeds in each cell's rows, e.g. `n = 3–20 images × 1 network seed per cell`."""
    counts = {what: [rows[what.split()[-1]].nunique() for rows in cells] for what in ("image", "network seed")}
    amounts = [f"{_span(min(found), max(found))} {what}{'s' * (max(found) > 1)}" for what, found in counts.items()]
    return f"n = {' × '.join(amounts)}{' per cell' * (len(cells) > 1)}"


def flat_psnrs(rows: pd.DataFrame) -> dict[str, float]:
    """The PSNR in dB of a flat image, by the name of each data set: the mean over its images; none if rows lack it."""
    images = rows.dropna(subset="flat_psnr").drop_duplicates(["dataset", "source", "image"])
    return {title(str(name)): each["flat_psnr"].mean() for name, each in images.groupby("dataset", sort=False)}


def flat_image(rows: pd.DataFrame) -> str:
    """A sentence on the PSNR of a flat image on each data set; empty if the rows lack it."""
    means = flat_psnrs(rows).items()
    has = " and ".join(f"{mean:.1f} dB on these images of {dataset}" for dataset, mean in means)
    below = f"where a result is below it ({BELOW_FLAT.strip()}), the PSNR sees nothing of the image"
    return f"A flat image of the mean colour has {has}; {below}." if has else ""


def unlike_paper(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on the deviations of the cells of `ArtefactResults` from the paper; empty if there are none.

    Deviations of all cells come first, then those of some, behind the cells' labels.
    """
    every = [text for about in cells.values() for text in about["deviations"]]
    everywhere = {text: count == len(cells) for text, count in Counter(every).items()}
    common = [text for text, applies in everywhere.items() if applies]
    concerned: dict[str, list[str]] = {}
    for about in cells.values():
        if own := [text for text in about["deviations"] if not everywhere[text]]:
            concerned.setdefault("; ".join(own), []).append(about["label"])
    parts = common + [f"{' / '.join(labels)} ({own})" for own, labels in concerned.items()]
    return f"Unlike the paper: {'; '.join(parts)}." if parts else ""


def _texts(text: Callable[..., str], *columns: Iterable[Any]) -> list[str]:
    return [text(*values) for values in zip(*columns, strict=True)]


def _ours(value: float, std: float, flat_psnr: float) -> str:
    return marked(mean_and_spread(value, std), value, flat_psnr)


def _reported(value: float, std: float, checked: object) -> str:
    shown = mean_and_spread(value, std)
    return marked(shown if shown == NONE or checked else f"{shown} {RECALLED}", value, FLAT_PSNR)


def _run(iterations: int, most_iterations: int, restarts: int, most_restarts: int) -> str:
    return f"{_span(iterations, most_iterations)} × {_span(restarts, most_restarts)}"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"
