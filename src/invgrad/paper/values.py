"""Reader of the values that the paper reports, from `data/paper_values.csv`, their only place."""

import csv
import io
from collections.abc import Sequence
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


def read(path: Path) -> list[PaperValue]:
    """Read the reported values, line by line.

    Raises `SettingsError` naming the line and the column for a missing or unknown column, a value of the wrong type and
    a (cell, measure) that is given twice.
    """
    try:
        # Spreadsheet programs put a byte-order mark before the header.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    reader = csv.reader(io.StringIO(text))
    try:
        numbered = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise SettingsError(f"{path}: line {reader.line_num}: {error}") from None
    header = numbered.pop(0)[1] if numbered else []
    _check_header(header, f"{path}: line 1")
    values: list[PaperValue] = []
    lines: dict[tuple[str, str], int] = {}
    for number, cells in numbered:
        where = f"{path}: line {number}"
        value = _parse_line(header, cells, where)
        first = lines.setdefault((value.cell, value.measure), number)
        if first != number:
            raise SettingsError(f"{where}: cell, measure: '{value.cell}', '{value.measure}' is already in line {first}")
        values.append(value)
    return values


def _check_header(header: Sequence[str], where: str) -> None:
    for column in header:
        if column not in COLUMNS:
            raise SettingsError(f"{where}: {unknown('column', column, COLUMNS)}")
    for column in COLUMNS:
        if header.count(column) != 1:
            raise SettingsError(f"{where}: column '{column}' must be there once, is there {header.count(column)} times")


def _parse_line(header: Sequence[str], cells: Sequence[str], where: str) -> PaperValue:
    if len(cells) != len(header):
        raise SettingsError(f"{where}: {len(cells)} cells for {len(header)} columns")
    data = {column: cell or None for column, cell in zip(header, cells, strict=True)}
    return parse(PaperValue, data, where)
