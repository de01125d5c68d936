"""Verdicts: all rows in one table, and each reported value of the paper beside ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from invgrad.paper import read_values, verdicts
from invgrad.results import Record, read_tables, write_csv


def judge(
    tables: Sequence[Path], paper_values: Path, obstacles: Mapping[str, Sequence[str]], rows: Path, out: Path
) -> None:
    """Write all per-image rows to `rows` and the verdicts to `out`; `obstacles[cell]` says why it is not comparable."""
    record = Record({"obstacles": {cell: list(reasons) for cell, reasons in obstacles.items()}})
    table = read_tables(tables)
    judged = verdicts(read_values(paper_values), table, obstacles)
    write_csv(rows, table)
    write_csv(out, judged)
    record.write(rows)
    record.write(out)
