"""Verdicts: all rows in one table, and each reported value of the paper beside ours."""

import json
from collections.abc import Sequence
from pathlib import Path

from invgrad.paper import read_values, verdicts
from invgrad.results import Record, read_tables, write_csv


def judge(tables: Sequence[Path], paper_values: Path, description: Path, rows: Path, out: Path) -> None:
    """Write all per-image rows to `rows` and the verdicts to `out`; `description` says why a cell is not comparable."""
    cells = json.loads(description.read_text())["cells"]
    obstacles = {cell: about["obstacles"] for cell, about in cells.items()}
    record = Record({"obstacles": obstacles})
    table = read_tables(tables)
    judged = verdicts(read_values(paper_values), table, obstacles)
    write_csv(rows, table)
    write_csv(out, judged)
    record.write(rows)
    record.write(out)
