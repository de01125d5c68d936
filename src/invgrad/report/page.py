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
from typing import Any, Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field

from invgrad.experiments.description import ArtefactDescription, CellDescription, Description
from invgrad.paper.verdicts import RULE, Verdict
from invgrad.report.tables import mean_and_spread
from invgrad.settings import Settings

PAPER_SCALE = "paper"

ALL = "all"
"""Name that stands for all artefacts in the list of those that an open detail concerns."""


class OpenDetail(Settings):
    """A detail that the paper leaves open; `source` is a file of the released code that bears on it."""

    question: str = Field(min_length=1)
    choice: str = Field(min_length=1)
    why: str = Field(min_length=1)
    artefacts: tuple[str, ...] = Field(min_length=1)
    source: str | None


class OpenDetails(Settings):
    """Content of `data/open_details.yaml`; `repository` is the address of the released code."""

    repository: str
    details: tuple[OpenDetail, ...]


@dataclass(frozen=True, kw_only=True)
class Link:
    """Link to a file, relative to the folder of the report."""

    text: str
    href: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of text; `omitted` more rows are in the file alone."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    omitted: int = 0


@dataclass(frozen=True, kw_only=True)
class EmbeddedImage:
    """PNG image: its bytes for the HTML form, its path for the Markdown form."""

    png: bytes
    href: str

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
    note: str
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
        """The printed value, with its number of images."""
        shown = mean_and_spread(self.row["paper_value"], self.row["paper_std"])
        return f"{shown} (one displayed image)" if self.row["paper_n"] == 1 else f"{shown} (n = {self.row['paper_n']})"

    @property
    def origin(self) -> str:
        """The certainty of the printed value, checked or recalled, with the note on it."""
        origin = "checked" if self.row["paper_checked"] else "recalled"
        return self.note if self.note.startswith(origin) else f"{origin}; {self.note}"

    @property
    def ours(self) -> str:
        """Our mean ± standard deviation over images, with the numbers of images and network seeds."""
        if math.isnan(self.row["value"]):
            return "–"
        counts = f"n = {self.row['n_images']} × {self.row['n_seeds']} seeds"
        return f"{mean_and_spread(self.row['value'], self.row['std_images'])} ({counts})"

    @property
    def difference(self) -> str:
        """Ours minus the paper's, with its interval where there is one."""
        if math.isnan(self.row["difference"]):
            return "–"
        shown = f"{self.row['difference']:+.2f}"
        low, high = self.row["ci_low"], self.row["ci_high"]
        return shown if math.isnan(low) else f"{shown} ({low:+.2f} to {high:+.2f})"


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
    rows: Link | None = None

    @property
    def changes(self) -> list[str]:
        """Every setting that is not the paper's."""
        settings = self.about.settings.items()
        return [f"{name}: {each.value} instead of {each.paper}" for name, each in settings if each.paper is not None]


@dataclass(frozen=True, kw_only=True)
class ReportedArtefact:
    """A table or figure with its results and files; if it is not made, only its description and reported values."""

    name: str
    about: ArtefactDescription
    reported: Sequence[ReportedValue] = ()
    details: Sequence[int] = ()
    cells: Sequence[ReportedCell] = ()
    image: EmbeddedImage | None = None
    caption: str = ""
    table: Table | None = None
    notebook_run: Run | None = None
    files: Sequence[Link] = ()
    notebook: Link | None = None

    @property
    def outcome(self) -> str:
        """Its counts of verdicts, or that it has no printed number; and the reason if it was not made."""
        made = self.about.not_made is None
        images = "images, " if "png" in self.about.writes else ""
        numbers = tally(self.reported) if self.reported else f"{images}no printed number" if made else ""
        return "; ".join(filter(None, [numbers, "" if made else f"not made: {self.about.not_made}"]))

    @property
    def runs(self) -> list[Run]:
        """The jobs of its attacks and its notebook."""
        return [run for cell in self.cells for run in cell.runs] + ([self.notebook_run] if self.notebook_run else [])

    @property
    def sources(self) -> list[str]:
        """The sources of its images."""
        return list(dict.fromkeys(source for cell in self.cells for source in cell.sources))

    def total(self, count: Literal["images", "failed", "exact"]) -> int:
        """A count over all cells."""
        return sum(getattr(cell, count) for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of one scale; `others` are reported values that no artefact shows."""

    about: Description
    artefacts: Sequence[ReportedArtefact]
    others: Sequence[ReportedValue]
    details: OpenDetails
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


def tally(reported: Iterable[ReportedValue]) -> str:
    """Count the values of each verdict, e.g. `1 reproduced, 3 not run`."""
    counts = Counter(value.verdict for value in reported)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict])


def duration(seconds: float) -> str:
    """Format a duration, e.g. `6.0 s`, `2 min 05 s` or `3 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


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
    tools = {"spent": spent, "commits": commits, "versions": versions, "all": ALL}
    return environment.get_template(template).render(report=report, **tools)
