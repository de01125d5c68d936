"""What the tables of several notebooks say, and tables as CSV, Markdown and LaTeX, from one frame."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from invgrad.results import write
from invgrad.stamp import Stamp

RECALLED = "†"
"""Marks a value of the paper that was not checked."""
RUN = ("iterations", "restarts")
REPORTED = ("paper_value", "paper_std", "paper_checked")
PROVENANCE = {"code": "c", "quoted": "q", "recalled": "r", "chosen": "*"}
"""Marks where a setting comes from."""
NONE = "–"
LONG = 40
"""Characters of a cell from which on LaTeX breaks its column into lines."""
PAGE = 30
"""Rows from which on a LaTeX table may go over several pages."""


def fixed(value: float) -> str:
    """`18.00`, or a dash where there is no value."""
    return NONE if math.isnan(value) else f"{value:.2f}"


def mean_and_spread(mean: float, spread: float) -> str:
    """`18.00 ± 3.33`, or a dash where there is no value."""
    return fixed(mean) if math.isnan(mean) or math.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def difference_and_interval(difference: float, low: float, high: float) -> str:
    """`+0.50 (-0.20 to +1.20)`, without an interval where there is none, or a dash where there is no difference."""
    if math.isnan(difference):
        return NONE
    return f"{difference:+.2f}" if math.isnan(low) else f"{difference:+.2f} ({low:+.2f} to {high:+.2f})"


def comparison_text(numbers: pd.DataFrame) -> pd.DataFrame:
    """`ArtefactResults.comparison` as people read it: the same rows, a dash where the paper reports nothing."""
    return pd.DataFrame(
        {
            "cell": numbers["label"],
            "data": numbers["dataset"],
            "PSNR in dB (± images)": _texts(mean_and_spread, numbers["value"], numbers["std_images"]),
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


def left_out(rows: pd.DataFrame) -> str:
    """How many rows `finite` leaves out, e.g. `1 failed, 2 exact`; empty if none."""
    failed = int((rows["status"] == "failed").sum())
    exact = len(rows) - len(finite(rows)) - failed
    return ", ".join(f"{count} {what}" for count, what in ((failed, "failed"), (exact, "exact")) if count)


def mean_psnr(rows: pd.DataFrame) -> str:
    """The mean of what can be averaged and how many rows cannot, e.g. `18.32 dB, 1 failed`; or only the latter."""
    kept = finite(rows)["psnr"]
    return ", ".join(filter(None, ["" if kept.empty else f"{kept.mean():.2f} dB", left_out(rows)])) or NONE


def unlike_paper(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on what keeps the cells of `ArtefactResults` from being compared with the paper's: first what concerns
    all of them, then what concerns some; empty if nothing does.
    """
    every = [text for about in cells.values() for text in about["obstacles"]]
    everywhere = {text: count == len(cells) for text, count in Counter(every).items()}
    common = [text for text, applies in everywhere.items() if applies]
    concerned: dict[str, list[str]] = {}
    for about in cells.values():
        if own := [text for text in about["obstacles"] if not everywhere[text]]:
            concerned.setdefault("; ".join(own), []).append(about["label"])
    parts = ["; ".join(common)] if common else []
    parts += [f"{' / '.join(labels)}: {own}" for own, labels in concerned.items()]
    return f"Unlike the paper: {'. '.join(parts)}." if parts else ""


def settings_in_long_form(cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Every setting of every cell of a `Plan.description`; columns `cell`, `setting` and those of a setting."""
    rows = [
        {"cell": cell, "setting": name} | setting
        for cell, about in cells.items()
        for name, setting in about["settings"].items()
    ]
    return pd.DataFrame(rows, columns=["cell", "setting", "value", "provenance", "paper"]).fillna({"paper": ""})


def settings_table(cells: Mapping[str, Mapping[str, Any]]) -> tuple[pd.DataFrame, str]:
    """The settings of the cells of a `Plan.description` as a table to read, and a sentence on those that it leaves out
    since they are the same wherever they apply.

    One row for all cells with equal settings; one column for each setting of an attack, clients or victim, with its
    parts, the paper's value where it is another, and the mark of its `PROVENANCE`; a dash where it does not apply.
    """
    long = settings_in_long_form(cells)
    values = long.groupby("setting", sort=False)["value"].nunique()
    settings = [str(setting) for setting in values.index]
    groups = {name for setting in settings for name in _parents(setting)}
    changed = set(long.loc[long["paper"] != "", "setting"])
    differing = {setting for setting in settings if values[setting] > 1 or setting in groups | changed}
    same = long[~long["setting"].isin(differing)].groupby("setting", sort=False)
    columns = list(dict.fromkeys(_column(setting) for setting in settings if setting in differing))
    table: dict[tuple[str, ...], list[str]] = {}
    for cell, about in cells.items():
        row = tuple(_settings(about["settings"], column, differing) for column in columns)
        table.setdefault(row, []).append(cell)
    shown = pd.DataFrame(
        [(", ".join(names), *row) for row, names in table.items()],
        columns=["cells", *(_title(column) for column in columns)],
    )
    listed = [
        f"{_title(str(name))} {_value(each['value'].iloc[0])} {_marks(each['provenance'])}" for name, each in same
    ]
    return shown, f"The same wherever they apply: {'; '.join(listed)}."


def save_table(table: pd.DataFrame, numbers: pd.DataFrame, stem: Path, caption: str, stamp: Stamp) -> None:
    """Write a table for readers to `<stem>.md` and `<stem>.tex`, with the caption above it and the stamp in a comment,
    and its numbers to `<stem>.csv`, whose format knows no comments.
    """
    write(stem.with_suffix(".csv"), lambda path: numbers.to_csv(path, index=False))
    shown = table.map(str).apply(lambda column: column.str.replace("|", r"\|"))
    markdown = f"{caption}\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n\n<!-- {stamp} -->\n"
    write(stem.with_suffix(".md"), lambda path: path.write_text(markdown))
    write(stem.with_suffix(".tex"), lambda path: path.write_text(f"% {stamp}\n{_latex(table, caption)}"))


def _latex(table: pd.DataFrame, caption: str) -> str:
    """Long cells in columns that break them into lines, which together fill the width of the text."""
    is_long = [table[column].map(str).str.len().max() > LONG for column in table]
    share = 0.6 / max(sum(is_long), 1)
    styled = table.style.hide(axis="index").format(_escaped).format_index(_escaped, axis=1)
    return styled.to_latex(
        hrules=True,
        caption=_escaped(caption),
        environment="longtable" if len(table) > PAGE else None,
        column_format="".join(rf"p{{{share:.2f}\linewidth}}" if each else "l" for each in is_long),
    )


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"α": r"$\alpha$", "τ": r"$\tau$", "∞": r"$\infty$", "−": "$-$", "≥": r"$\geq$", "±": r"$\pm$", "×": r"$\times$"}
)
"""What LaTeX would read as commands, and what its usual fonts lack."""


def _escaped(text: object) -> str:
    return str(text).translate(LATEX)


def _texts(text: Callable[..., str], *columns: Iterable[Any]) -> list[str]:
    return [text(*values) for values in zip(*columns, strict=True)]


def _reported(value: float, std: float, checked: object) -> str:
    shown = mean_and_spread(value, std)
    return shown if shown == NONE or checked else f"{shown} {RECALLED}"


def _run(iterations: int, most_iterations: int, restarts: int, most_restarts: int) -> str:
    return f"{_span(iterations, most_iterations)} × {_span(restarts, most_restarts)}"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"


def _column(setting: str) -> str:
    """`victims.network` of `victims.network.depth`."""
    return ".".join(setting.split(".")[:2])


def _title(setting: str) -> str:
    """`network depth` of `victims.network.depth`, `attack` of `attack.kind`."""
    if setting == "attack.kind":
        return "attack"
    return " ".join(setting.removesuffix(".kind").split(".")[1:]).replace("_", " ")


def _parents(setting: str) -> list[str]:
    parts = setting.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _settings(settings: Mapping[str, Mapping[str, Any]], column: str, differing: set[str]) -> str:
    """The text of one column: what differs between cells of this setting's parts, or of itself if it has none."""
    mine = {name: each for name, each in settings.items() if _column(name) == column}
    told = {name: each for name, each in mine.items() if each["value"] != "null" or each["paper"]}
    said = {name: each for name, each in told.items() if name in differing}
    if not said:
        return "as listed" if told else NONE
    texts = [_part(name, said[name]) for name in sorted(said, key=_is_named)]
    return f"{', '.join(texts)} {_marks(each['provenance'] for each in said.values())}"


def _marks(provenance: Iterable[str]) -> str:
    return f"[{', '.join(sorted({PROVENANCE[each] for each in provenance}))}]"


NAMES = ("kind", "name", "model")
"""Parts of a setting whose value says what they are."""


def _is_named(setting: str) -> bool:
    parts = setting.split(".")
    return len(parts) > 2 and parts[-1] not in NAMES


def _part(name: str, setting: Mapping[str, Any]) -> str:
    value = _value(setting["value"])
    if _is_named(name):
        value = f"{' '.join(name.split('.')[2:]).replace('_', ' ')} {value}"
    return value if setting["paper"] is None else f"{value} (paper: {_value(setting['paper'])})"


def _value(text: str) -> str:
    """As people write it; what is not a word is JSON."""
    return {"null": "none", "true": "yes", "false": "no"}.get(text, text.removesuffix(".0"))
