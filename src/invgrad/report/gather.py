"""Reader of one scale's results, tables, figures and verdicts for the report."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from invgrad.data.registry import title
from invgrad.experiments.description import ArtefactDescription, Description
from invgrad.experiments.layout import Layout
from invgrad.paper.open_details import OpenDetails
from invgrad.paper.verdicts import VERDICT_COLUMNS, read_values
from invgrad.report.page import (
    ALL,
    FIRST,
    EmbeddedImage,
    Link,
    Report,
    ReportedArtefact,
    ReportedCell,
    ReportedValue,
    Run,
    Table,
    compared,
)
from invgrad.report.tables import flat_psnrs
from invgrad.results.provenance import record_path
from invgrad.settings import SettingsError, read_json

LONGEST_TABLE = 100
"""Largest number of rows of a table that the report shows; the others are in its file."""


VALUE = ["id", "cell", "measure"]
"""The columns that name a reported value."""

ROW_COLUMNS = ["dataset", "source", "image", "psnr", "flat_psnr", "status"]
"""The columns of rows that the report reads."""
NO_ROWS = pd.DataFrame(columns=ROW_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class ReportReader:
    """Reader of one scale's files for the report, whose links start from the folder `base`."""

    about: Description
    layout: Layout
    figures: Path
    base: Path

    def report(self, reported: Sequence[tuple[str, ReportedValue]], details: OpenDetails, html: Path) -> Report:
        """Read everything that the report shows; `html`: the path of the HTML form, to link to."""
        made = [artefact for artefact in self.about.artefacts.values() if artefact.not_made is None]
        rows = {name: self.rows(name) for artefact in made for name in artefact.cells}
        cells = {name: self.cell(name, each) for name, each in rows.items()}
        artefacts = []
        for name, artefact in self.about.artefacts.items():
            values = [value for shown, value in reported if shown == name]
            concerned = [
                number for number, detail in enumerate(details.details, 1) if {name, ALL} & set(detail.artefacts)
            ]
            artefacts.append(self.artefact(name, artefact, values, concerned, cells))
        return Report(
            about=self.about,
            artefacts=sorted(artefacts, key=lambda each: each.name != FIRST or each.image is None),
            others=[value for shown, value in reported if shown not in self.about.artefacts],
            details=details,
            flat_psnrs=flat_psnrs(pd.concat([NO_ROWS, *rows.values()])),
            verdicts=self.link(self.figures / "verdicts.csv"),
            html=self.link(html),
        )

    def artefact(
        self,
        name: str,
        about: ArtefactDescription,
        reported: Sequence[ReportedValue],
        details: Sequence[int],
        cells: dict[str, ReportedCell],
    ) -> ReportedArtefact:
        """Read the files of an artefact; `SettingsError` names one that is missing. One that is not made has none."""
        if about.not_made is not None:
            elsewhere = self.picture(self.figures.parent / about.shown_at / f"{name}.png") if about.shown_at else None
            return ReportedArtefact(name=name, about=about, reported=reported, details=details, elsewhere=elsewhere)
        notebook = self.layout.notebook(name)
        files = {kind: self.figures / f"{name}.{kind}" for kind in about.writes}
        for path in (*files.values(), notebook, notebook.with_suffix(".json")):
            if not path.is_file():
                raise SettingsError(f"{path}: artefact '{name}' promises this file, but it is not there")
        # A table to be read has Markdown, too; a CSV alone holds the data of a figure.
        is_table = {"md", "csv"} <= set(files)
        return ReportedArtefact(
            name=name,
            about=about,
            reported=reported,
            details=details,
            cells=[cells[cell] for cell in about.cells],
            image=self.picture(files["png"]) if "png" in files else None,
            caption=self.caption(files["md"], about.title) if is_table else "",
            table=compared(_table(files["md"]), reported) if is_table else None,
            notebook_run=_run(notebook.with_suffix(".json")),
            files=[self.link(path) for path in files.values()],
            notebook=self.link(notebook),
        )

    def rows(self, cell: str) -> pd.DataFrame:
        """Read the rows of a cell; none if it was not run, or is left out."""
        about = self.about.cells[cell]
        paths = self.tables(cell) if about.left_out is None else []
        return pd.concat([NO_ROWS, *(_csv(path, ROW_COLUMNS) for path in paths)], ignore_index=True)

    def tables(self, cell: str) -> list[Path]:
        """List the tables of a cell, one for each network seed, that are there."""
        return [path for seed in self.about.cells[cell].seeds if (path := self.layout.rows(cell, seed)).is_file()]

    def cell(self, name: str, rows: pd.DataFrame) -> ReportedCell:
        """Read the records of a cell and count its `rows`; if there are none, only describe it."""
        about = self.about.cells[name]
        if rows.empty:
            return ReportedCell(name=name, about=about)
        failed = rows["status"] == "failed"
        tables = self.tables(name)
        return ReportedCell(
            name=name,
            about=about,
            images=len(rows),
            failed=int(failed.sum()),
            exact=int((~failed & (rows["psnr"] == math.inf)).sum()),
            sources=(rows["dataset"].map(title) + ": " + rows["source"]).unique().tolist(),
            runs=[run for table in tables for run in _attacks(record_path(table))],
            rows=[self.link(table) for table in tables],
        )

    def caption(self, path: Path, title: str) -> str:
        """The text above the table in its Markdown file, without the title and the scale, which the report says."""
        text = path.read_text(encoding="utf-8").partition("\n|")[0].strip().removeprefix(f"{title}. ")
        return " ".join(text.replace(self.about.about, "").split())

    def picture(self, path: Path) -> EmbeddedImage | None:
        """A picture; None if there is no such file."""
        return EmbeddedImage(png=path.read_bytes(), href=self.link(path).href) if path.is_file() else None

    def link(self, path: Path) -> Link:
        """A link from the folder `base` to a file."""
        return Link(text=path.name, href=quote(Path(os.path.relpath(path, self.base)).as_posix()))


def read_reported_values(paper_values: Path, verdicts: Path, about: Description) -> list[tuple[str, ReportedValue]]:
    """Read the paper's values beside ours, in the paper's order: pairs (name of the artefact, value)."""
    values = read_values(paper_values)
    judged = {tuple(row[key] for key in VALUE): row for row in _records(_csv(verdicts, VERDICT_COLUMNS))}
    found = []
    for value in _records(values):
        row = judged.get(tuple(value[key] for key in VALUE))
        if row is None or row["paper_value"] != value["value"]:
            raise SettingsError(f"{verdicts}: no verdict on {value['measure']} {value['value']} of '{value['cell']}'")
        cell = about.cells.get(value["cell"])
        label = cell.label if cell else value["cell"]
        reported = ReportedValue(cell=value["cell"], label=label, where=value["where"], row=row)
        found.append((value["id"], reported))
    return found


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _table(path: Path) -> Table:
    """The table of a Markdown file, at most `LONGEST_TABLE` rows; the CSV file may have other columns."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    columns, _, *rows = (_cells(line) for line in lines)
    return Table(columns=columns, rows=rows[:LONGEST_TABLE], omitted=max(len(rows) - LONGEST_TABLE, 0))


def _cells(line: str) -> list[str]:
    """Split one line of a Markdown table into its entries."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def _attacks(path: Path) -> list[Run]:
    """The attacks that made what a record's table is about."""
    record = read_json(path)
    attacks = [each for each in record.get("lineage", {}).values() if each["step"] == "attack"]
    return [_run_of(each, path, accepted=each.get("code") in record.get("accepted", {})) for each in attacks]


def _run(path: Path) -> Run:
    return _run_of(read_json(path), path)


def _run_of(record: Mapping[str, Any], path: Path, *, accepted: bool = False) -> Run:
    """Read how a result came about; `accepted`: its code is another than that at hand, and was taken for it."""
    try:
        changed = " with uncommitted changes" if record["uncommitted_changes"] else ""
        changed += ", other code that was accepted" if accepted else ""
        return Run(
            device=record["device"],
            seconds=record["seconds"],
            commit=record["commit"][:10] + changed,
            versions=record["versions"],
        )
    except (KeyError, TypeError) as error:
        raise SettingsError(f"{path}: not a record of invgrad: {error}") from None


def _csv(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(path, usecols=columns, keep_default_na=False, na_values=[""])  # "n/a" may be a reason
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
