"""The values that the paper reports, in `data/paper_values.csv`, their only place: how they are read and corrected."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from invgrad.settings import Settings, SettingsError, parse, unknown


class PaperValue(Settings):
    """One reported value: a line of the file. `std` is over images, in dB, and None for a single displayed image."""

    id: str
    cell: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    measure: Literal["psnr_mean", "psnr_shown"]
    value: float
    std: PositiveFloat | None
    n: PositiveInt
    unit: Literal["dB"]
    where: str
    checked: Literal["true", "false"]
    note: str

    @model_validator(mode="after")
    def _shown_is_one_image(self) -> Self:
        shown = self.measure == "psnr_shown"
        if shown != (self.n == 1):
            raise ValueError(f"n: psnr_shown is one image and psnr_mean several, got {self.measure} with n = {self.n}")
        if shown != (self.std is None):
            raise ValueError(f"std: psnr_mean needs one and psnr_shown has none, got {self.measure} with {self.std}")
        return self


FLAT_PSNR = 12.0
"""PSNR in dB of a flat image of CIFAR-10's mean colour: −10·log10 of the variance of its pixels.

All reported values are of CIFAR-10; where one is below this, the paper itself shows that the attack fails.
"""


COLUMNS = list(PaperValue.model_fields)
LOOKED_UP = ["cell", "measure", "value", "std"]
"""Columns of a file of values that a reader has looked up in the PDF."""


def read(path: Path) -> list[PaperValue]:
    """Read the reported values, line by line.

    Raises `SettingsError` naming the line and the column for a missing or unknown column, a value of the wrong type and
    a (cell, measure) that is given twice.
    """
    values: list[PaperValue] = []
    first: dict[tuple[str, str], int] = {}
    for number, line in _lines(path, COLUMNS):
        where = f"{path}: line {number}"
        value = _parsed(line, where)
        _refuse_again(first, (value.cell, value.measure), number, where)
        values.append(value)
    return values


def corrected(path: Path, looked_up: Path) -> tuple[str, list[str]]:
    """The file of values with what a reader has looked up, marked as checked; and a line that tells what each was.

    The file `looked_up` has the columns `LOOKED_UP`. Raises `SettingsError` naming the line for a value that is not
    valid, and for a (cell, measure) that the paper does not report or that is given twice.
    """
    read(path)
    lines = {(line["cell"], line["measure"]): line for _, line in _lines(path, COLUMNS)}
    said = []
    first: dict[tuple[str, str], int] = {}
    for number, found in _lines(looked_up, LOOKED_UP):
        where = f"{looked_up}: line {number}"
        key = (found["cell"], found["measure"])
        if key not in lines:
            raise SettingsError(f"{where}: {unknown('cell,measure', ','.join(key), map(','.join, lines))}")
        _refuse_again(first, key, number, where)
        before = _parsed(lines[key], where)
        lines[key] |= found | {"checked": "true"}
        value = _parsed(lines[key], where)
        lines[key]["note"] = _note(value)
        same = (before.value, before.std) == (value.value, value.std)
        said.append(f"{','.join(key)}: {'confirmed' if same else f'{_shown(before)} is now {_shown(value)}'}")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines.values())
    return text.getvalue(), said


def _refuse_again(first: dict[tuple[str, str], int], key: tuple[str, str], number: int, where: str) -> None:
    """Raise `SettingsError` for a (cell, measure) that is in an earlier line; `first` has the lines so far."""
    if (earlier := first.setdefault(key, number)) != number:
        raise SettingsError(f"{where}: cell, measure: '{key[0]}', '{key[1]}' is already in line {earlier}")


def _note(value: PaperValue) -> str:
    """The note on a value that was looked up; what it says of a standard error follows its standard deviation."""
    _, printed, _ = value.note.partition("; printed as standard error")
    error = f"{printed} {value.std / math.sqrt(value.n):.2f}" if printed and value.std else ""
    return f"checked against the PDF{error}"


def _shown(value: PaperValue) -> str:
    return f"{value.value:g}" if value.std is None else f"{value.value:g} ± {value.std:g}"


def _lines(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with these columns: number and cells of each line but the header and empty ones."""
    try:
        # Spreadsheet programs put a byte-order mark before the header.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    reader = csv.reader(io.StringIO(text))
    try:
        numbered = [(reader.line_num, cells) for cells in reader if cells or reader.line_num == 1]
    except csv.Error as error:
        raise SettingsError(f"{path}: line {reader.line_num}: {error}") from None
    header = numbered.pop(0)[1] if numbered else []
    for column in header:
        if column not in columns:
            raise SettingsError(f"{path}: line 1: {unknown('column', column, columns)}")
    for column in columns:
        if (times := header.count(column)) != 1:
            raise SettingsError(f"{path}: line 1: column '{column}' must be there once, is there {times} times")
    for number, cells in numbered:
        if len(cells) != len(header):
            raise SettingsError(f"{path}: line {number}: {len(cells)} cells for {len(header)} columns")
    return [(number, dict(zip(header, cells, strict=True))) for number, cells in numbered]


def _parsed(line: Mapping[str, str], where: str) -> PaperValue:
    return parse(PaperValue, {column: cell or None for column, cell in line.items()}, where)
