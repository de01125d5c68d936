"""Table of the settings of every experiment."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from invgrad.report.tables import NONE

PROVENANCE = {"code": "c", "quoted": "q", "recalled": "r", "chosen": "*"}
"""Marks of the sources of settings."""


def settings_in_long_form(cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Every setting of every cell of a description, one per row; columns `cell`, `setting`, those of `Setting`."""
    rows = [
        {"cell": cell, "setting": name} | setting
        for cell, about in cells.items()
        for name, setting in about["settings"].items()
    ]
    return pd.DataFrame(rows, columns=["cell", "setting", "value", "provenance", "paper"]).fillna({"paper": ""})


def settings_table(cells: Mapping[str, Mapping[str, Any]]) -> tuple[pd.DataFrame, str]:
    """Table of the settings of a description's cells, and a sentence on settings that are the same in all cells.

    The table has one row for all cells with equal settings, and one column for each setting of an attack, clients or
    victim that differs. An entry has the setting's parts, the paper's value if that is another, and the mark of its
    source (`PROVENANCE`); a dash stands where the setting does not apply.
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


def _column(setting: str) -> str:
    """The column of a setting, e.g. `victims.network` of `victims.network.depth`."""
    return ".".join(setting.split(".")[:2])


def _title(setting: str) -> str:
    """The title of a setting, e.g. `network depth` of `victims.network.depth`, `attack` of `attack.kind`."""
    if setting == "attack.kind":
        return "attack"
    return " ".join(setting.removesuffix(".kind").split(".")[1:]).replace("_", " ")


def _parents(setting: str) -> list[str]:
    parts = setting.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _settings(settings: Mapping[str, Mapping[str, Any]], column: str, differing: set[str]) -> str:
    """The entry of one column: the parts of this setting that differ between cells, or itself if it has none."""
    mine = {name: each for name, each in settings.items() if _column(name) == column}
    given = {name: each for name, each in mine.items() if each["value"] != "null" or each["paper"]}
    said = {name: each for name, each in given.items() if name in differing}
    if not said:
        return "as listed" if given else NONE
    texts = [_part(name, said[name]) for name in sorted(said, key=_is_named)]
    return f"{', '.join(texts)} {_marks(each['provenance'] for each in said.values())}"


def _marks(provenance: Iterable[str]) -> str:
    return f"[{', '.join(sorted({PROVENANCE[each] for each in provenance}))}]"


NAMES = ("kind", "name", "model")
"""Parts of a setting whose value needs no name beside it."""


def _is_named(setting: str) -> bool:
    parts = setting.split(".")
    return len(parts) > 2 and parts[-1] not in NAMES


def _part(name: str, setting: Mapping[str, Any]) -> str:
    value = _value(setting["value"])
    if _is_named(name):
        value = f"{' '.join(name.split('.')[2:]).replace('_', ' ')} {value}"
    return value if setting["paper"] is None else f"{value} (paper: {_value(setting['paper'])})"


def _value(text: str) -> str:
    """Text of a JSON value for readers: `none`, `yes`, `no`; others unchanged but for a final `.0`."""
    return {"null": "none", "true": "yes", "false": "no"}.get(text, text.removesuffix(".0"))
