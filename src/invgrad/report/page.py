"""Content of one scale's report, and its two forms: Markdown, and one HTML file that loads nothing else.

All functions are pure; `invgrad.report.gather` reads the files.
"""

import math
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from invgrad.experiments.description import ArtefactDescription, CellDescription, Description
from invgrad.paper.open_details import OpenDetails
from invgrad.paper.verdicts import RULE, Verdict
from invgrad.report.tables import RECALLED, fixed, mean_and_spread
from invgrad.runtime.progress import duration

PAPER_SCALE = "paper"

FIRST = "fig2"
"""The artefact with which the report begins, whatever the results: what the attacks recover of the first images."""

ALL = "all"
"""Name that stands for all artefacts in the list of those that an open detail concerns."""

SHRINK = 0.6
"""CSS pixels for a pixel of a figure; its text of 19 pixels then is as large as that of a table."""

LONG = 12
"""Number of rows above which a table is folded."""

CELL = "cell"
"""Column of a table that names cells by their labels."""
VERDICT = ("verdict", "reason")
"""Columns of a table that compares cells with the paper."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """Link to a file, relative to the folder of the report."""

    text: str
    href: str


@dataclass(frozen=True, kw_only=True)
class EmbeddedImage:
    """PNG image: its bytes for the HTML form, its path for the Markdown form."""

    png: bytes
    href: str

    @property
    def width(self) -> int:
        """Its width on the screen in CSS pixels, at which the text of every figure is of one size."""
        return round(int.from_bytes(self.png[16:20]) * SHRINK)

    @property
    def embedded(self) -> str:
        """The image as a data URL."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One job, from its record."""

    device: str
    seconds: float
    commit: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ReportedValue:
    """One value of the paper beside ours: a row of `verdicts.csv`, with the cell's label."""

    cell: str
    label: str
    where: str
    row: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """The verdict, from `invgrad.paper.verdicts`."""
        return self.row["verdict"]  # type: ignore[no-any-return]

    @property
    def reason(self) -> str:
        """The reasons for the verdict."""
        return self.row["reason"]  # type: ignore[no-any-return]

    @property
    def paper(self) -> str:
        """The printed value, with its number of images, marked if it is recalled."""
        shown = mean_and_spread(self.row["paper_value"], self.row["paper_std"])
        of = self.kind if self.row["paper_n"] == 1 else f"n = {self.row['paper_n']}"
        return f"{shown} ({of})" + ("" if self.row["paper_checked"] else f" {RECALLED}")

    @property
    def kind(self) -> str:
        """The kind of number: a mean, or the PSNR of one displayed image."""
        return "displayed image" if self.row["paper_n"] == 1 else "mean"

    @property
    def ours(self) -> str:
        """Our mean ± standard deviation over images, with the numbers of images and network seeds."""
        if math.isnan(self.row["value"]):
            return "–"
        counts = f"n = {self.row['n_images']} × {self.row['n_seeds']} seeds"
        return f"{mean_and_spread(self.row['value'], self.row['std_images'])} ({counts})"

    @property
    def between_networks(self) -> str:
        """The standard deviation between the means of our network seeds."""
        return fixed(self.row["std_seeds"])

    @property
    def difference(self) -> str:
        """Ours minus the paper's, with its interval where there is one."""
        if math.isnan(self.row["difference"]):
            return "–"
        shown = f"{self.row['difference']:+.2f}"
        low, high = self.row["ci_low"], self.row["ci_high"]
        return shown if math.isnan(low) else f"{shown} ({low:+.2f} to {high:+.2f})"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of text; `omitted` more rows are in the file alone.

    `judged` has for each row the verdicts on its cell, which its first entry names, with their reasons; it is empty if
    the table judges nothing.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    omitted: int = 0
    judged: Sequence[Mapping[str, str]] = ()

    @property
    def is_long(self) -> bool:
        """True if it is shown folded."""
        return len(self.rows) > LONG


@dataclass(frozen=True, kw_only=True)
class ReportedCell:
    """A cell and its results: of `images` reconstructions, means leave out `failed` and `exact` ones."""

    name: str
    about: CellDescription
    images: int = 0
    failed: int = 0
    exact: int = 0
    sources: Sequence[str] = ()
    runs: Sequence[Run] = ()
    rows: Sequence[Link] = ()

    @property
    def outcome(self) -> str:
        """Its counts, or that it was not run."""
        if not self.rows:
            return f"not run: {self.about.left_out}" if self.about.left_out else "not run"
        counts = {"failed": self.failed, "exact": self.exact}
        images = f"{self.images} reconstruction{'' if self.images == 1 else 's'}"
        return ", ".join([images, *(f"{count} {what}" for what, count in counts.items() if count)])

    @property
    def changes(self) -> list[str]:
        """Every setting that is not the paper's."""
        settings = self.about.settings.items()
        return [f"{name}: {each.value} instead of {each.paper}" for name, each in settings if each.paper is not None]


@dataclass(frozen=True, kw_only=True)
class ReportedArtefact:
    """A table or figure with its results and files; if it is not made, only its description and reported values.

    `elsewhere` is the picture of another scale (`ArtefactDescription.shown_at`) in place of one that is not made.
    """

    name: str
    about: ArtefactDescription
    reported: Sequence[ReportedValue] = ()
    details: Sequence[int] = ()
    cells: Sequence[ReportedCell] = ()
    image: EmbeddedImage | None = None
    elsewhere: EmbeddedImage | None = None
    caption: str = ""
    table: Table | None = None
    notebook_run: Run | None = None
    files: Sequence[Link] = ()
    notebook: Link | None = None

    @property
    def lacks(self) -> str:
        """The thing that it lacks to be made; empty if it is made."""
        if self.about.not_made is None:
            return ""
        return f"needs scale {self.about.shown_at}" if self.about.shown_at else "not made"

    @property
    def outcome(self) -> str:
        """Its counts of verdicts, or what it lacks; empty if there is nothing to say."""
        return self.lacks or tally(self.reported)

    @property
    def remaining(self) -> Table | None:
        """The reported values on cells that its table does not judge; None if there are none."""
        judged = {row[0] for row in self.table.rows} if self.table and self.table.judged else set()
        values = [value for value in self.reported if value.label not in judged]
        return numbers(values, said=self.about.not_made or "") if values else None

    @property
    def runs(self) -> list[Run]:
        """The jobs of its attacks and its notebook."""
        return [run for cell in self.cells for run in cell.runs] + ([self.notebook_run] if self.notebook_run else [])


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of one scale; `others` are reported values that no artefact shows.

    `flat_psnrs` are the PSNRs in dB of a flat image on every data set that is attacked.
    """

    about: Description
    artefacts: Sequence[ReportedArtefact]
    others: Sequence[ReportedValue]
    details: OpenDetails
    flat_psnrs: Mapping[str, float]
    verdicts: Link
    html: Link
    legend: Mapping[Verdict, str] = field(default_factory=lambda: RULE)

    @property
    def is_the_papers(self) -> bool:
        """True for the paper's own scale, without changes by the user."""
        return self.about.scale == PAPER_SCALE and not self.about.changed

    @property
    def reported(self) -> list[ReportedValue]:
        """All reported values."""
        return [value for artefact in self.artefacts for value in artefact.reported] + list(self.others)

    @property
    def cells(self) -> list[ReportedCell]:
        """Every cell that a made artefact shows, once."""
        return list({cell.name: cell for artefact in self.artefacts for cell in artefact.cells}.values())

    @property
    def runs(self) -> list[Run]:
        """Every job once, although artefacts share cells."""
        notebooks = [artefact.notebook_run for artefact in self.artefacts if artefact.notebook_run]
        return [run for cell in self.cells for run in cell.runs] + notebooks

    @property
    def sources(self) -> list[str]:
        """The sources of all images."""
        return list(dict.fromkeys(source for cell in self.cells for source in cell.sources))

    @property
    def names(self) -> set[str]:
        """The names of all artefacts, to link to."""
        return set(self.about.artefacts)


def as_html(report: Report) -> str:
    """Render the report as one HTML page with its images and style inside."""
    return _render("page.html.jinja", report, autoescape=True)


def as_markdown(report: Report) -> str:
    """Render the report as Markdown, to be kept in a repository.

    It lacks the settings of every cell. Links and images are files beside it; files that lie elsewhere, or are too
    large to be kept with it, are only named.
    """
    return _render("page.md.jinja", report, autoescape=False)


def compared(table: Table, reported: Sequence[ReportedValue]) -> Table:
    """Put the verdicts on cells, with their reasons, under each cell in place of columns of their own.

    A table without these columns stays as it is.
    """
    if not {CELL, *VERDICT} <= set(table.columns):
        return table
    columns = [CELL, *(name for name in table.columns if name not in (CELL, *VERDICT))]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return Table(
        columns=columns,
        rows=[[row[name] for name in columns] for row in rows],
        omitted=table.omitted,
        judged=[_judged(row, [value for value in reported if value.label == row[CELL]]) for row in rows],
    )


def numbers(reported: Sequence[ReportedValue], said: str = "") -> Table:
    """The table of reported values; a reason that is part of what has been `said` is not repeated."""
    return Table(
        columns=[
            CELL,
            "where",
            f"paper, dB ({RECALLED} recalled)",
            "ours, dB",
            "± seeds",
            "difference (95 % interval)",
        ],
        rows=[
            [each.label, each.where, each.paper, each.ours, each.between_networks, each.difference] for each in reported
        ],
        judged=[{each.verdict: "" if each.reason in said else each.reason} for each in reported],
    )


def judgement(reported: Sequence[ReportedValue]) -> dict[str, str]:
    """Each verdict on the values of one cell with its reasons, once; one that holds for some says for which."""
    found: dict[str, str] = {}
    for verdict in dict.fromkeys(value.verdict for value in reported):
        kinds: dict[str, list[str]] = {}
        for value in [value for value in reported if value.verdict == verdict]:
            for reason in value.reason.split("; "):
                kinds.setdefault(reason, []).append(value.kind)
        everywhere = [reason for reason, of in kinds.items() if len(of) == len(reported)]
        partly = [f"{' and '.join(of)}: {reason}" for reason, of in kinds.items() if len(of) < len(reported)]
        found[verdict] = "; ".join(everywhere + partly)
    return found


def tally(reported: Iterable[ReportedValue]) -> str:
    """Tell the counts of verdicts, e.g. `1 reproduced, 3 not run`."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts(reported).items())


def counts(reported: Iterable[ReportedValue]) -> dict[Verdict, int]:
    """Count the values of each verdict that occurs."""
    found = Counter(value.verdict for value in reported)
    return {verdict: found[verdict] for verdict in get_args(Verdict) if found[verdict]}


def spent(runs: Sequence[Run]) -> str:
    """The jobs' total time on each device."""
    devices: dict[str, float] = {}
    for run in runs:
        devices[run.device] = devices.get(run.device, 0) + run.seconds
    return "; ".join(f"{duration(seconds)} on {device}" for device, seconds in devices.items())


def commits(runs: Sequence[Run]) -> list[str]:
    """The commits of the source trees that the jobs ran, each once."""
    return list(dict.fromkeys(run.commit for run in runs))


def versions(runs: Sequence[Run]) -> dict[str, str]:
    """Each package with all its versions that the jobs used."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for package, version in run.versions.items():
            found.setdefault(package, {})[version] = None
    return {package: ", ".join(each) for package, each in found.items()}


def plain(text: object) -> str:
    """Escape a text and put it on one line, so that Markdown shows it unchanged, also in a table."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(text).split()))


def _judged(row: Mapping[str, str], reported: Sequence[ReportedValue]) -> Mapping[str, str]:
    """The verdicts on a row's cell, from the row itself if the values are another artefact's; none without a value."""
    verdict, reason = (row[name] for name in VERDICT)
    return judgement(reported) or ({verdict: reason} if verdict in RULE else {})


def _render(template: str, report: Report, *, autoescape: bool) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=plain, tally=tally, duration=duration)
    tools = {"spent": spent, "commits": commits, "versions": versions, "counts": counts, "numbers": numbers, "all": ALL}
    return environment.get_template(template).render(report=report, **tools)
