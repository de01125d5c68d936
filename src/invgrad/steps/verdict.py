"""Step `verdict`: all rows in one table, and the verdict on each value that the paper reports."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from invgrad.experiments.description import Description
from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import compare
from invgrad.paper.verdicts import ROW_COLUMNS, read_values, verdicts
from invgrad.results.files import read_tables, write_csv, write_json
from invgrad.results.origin import Origin, numbered
from invgrad.results.provenance import Record


def write_verdicts(
    tables: Sequence[Path], paper_values: Path, description: Path, rows: Path, metrics: Path, out: Path
) -> None:
    """Write all per-image rows to `rows`, the verdicts to `out`, and a summary that compares two runs to `metrics`.

    `description` has the facts on every cell, such as why it is not comparable, or was left out. Raises `SettingsError`
    if it is not valid.
    """
    cells = Description.read(description).cells
    inputs = {"paper values": paper_values, "description": description} | numbered("rows", tables)
    record = Record(Origin.of("verdict", {}, inputs, final=True))
    table = every_row(tables) if tables else pd.DataFrame(columns=ROW_COLUMNS)
    facts = {cell: CellFacts.of(about.model_dump()) for cell, about in cells.items()}
    judged = verdicts(read_values(paper_values), table, facts)
    write_csv(rows, table)
    write_csv(out, judged)
    write_json(metrics, summary(table, judged))
    record.write(rows)
    record.write(out, also=[metrics])


def every_row(tables: Sequence[Path]) -> pd.DataFrame:
    """Read the rows of all cells, each in a folder of its own; columns that only some cells have are empty elsewhere.

    These are those of cells that are judged by `invgrad.metrics.recovery`.
    """
    cells = [read_tables(list(each)) for _, each in groupby(tables, lambda path: path.parent)]
    return pd.concat(cells, ignore_index=True)


def summary(rows: pd.DataFrame, judged: pd.DataFrame) -> dict[str, Any]:
    """Count each verdict and the failed trials; give the mean PSNR in dB of every cell that has one."""
    psnr = {cell: compare(of_cell, math.nan, math.nan, 1).value for cell, of_cell in rows.groupby("cell", sort=False)}
    return {
        "verdicts": judged["verdict"].value_counts().sort_index().to_dict(),
        "failed": int((rows["status"] == "failed").sum()),
        "psnr": {str(cell): round(value, 4) for cell, value in psnr.items() if math.isfinite(value)},
    }
