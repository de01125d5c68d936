"""Step `report`: all tables, figures and verdicts of one scale as `index.md` and as one file, `report.html`."""

from pathlib import Path

from invgrad.experiments.description import Description
from invgrad.experiments.expected import inputs_of_report
from invgrad.experiments.layout import Layout
from invgrad.paper import open_details
from invgrad.report.gather import ReportReader, read_reported_values
from invgrad.report.page import as_html, as_markdown
from invgrad.results.files import write
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record
from invgrad.settings import SettingsError


def write_report(
    description: Path, paper_values: Path, details: Path, results: Path, figures: Path, out: Path, index: Path
) -> None:
    """Write the report as one HTML file `out` and as Markdown `index` in the same folder.

    `results` and `figures` are the folders of one scale. Raises `SettingsError`, with the file's name, for an invalid
    file and for a missing file of an artefact.
    """
    if index.parent != out.parent:
        raise SettingsError(f"{index}: must lie in the folder of {out}, since both share their links")
    about = Description.read(description)
    gathering = ReportReader(about=about, layout=Layout(results), figures=figures, base=out.parent)
    report = gathering.report(
        read_reported_values(paper_values, figures / "verdicts.csv", about), open_details.read(details), html=out
    )
    given = {"description": description, "paper values": paper_values, "details": details}
    writes = {name: artefact.writes for name, artefact in about.artefacts.items() if artefact.not_made is None}
    elsewhere = {name: artefact.shown_at for name, artefact in about.artefacts.items() if artefact.shown_at}
    inputs = given | inputs_of_report(Layout(results), figures, writes, elsewhere)
    record = Record(Origin.of("report", {}, inputs, final=True))
    write(index, lambda path: path.write_text(as_markdown(report), encoding="utf-8"))
    write(out, lambda path: path.write_text(as_html(report), encoding="utf-8"))
    record.write(out, also=[index])
