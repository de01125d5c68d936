"""The report says what the files say, stands alone, and names what is missing."""

import json
import re
import shutil
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from invgrad.experiments.config import CONFIG, load
from invgrad.paper import open_details
from invgrad.paper.cells import CellFacts
from invgrad.paper.verdicts import RULE, verdicts
from invgrad.report.export import save_table
from invgrad.report.page import FIRST, ReportedValue, Run, Table, compared, judgement, plain, spent, versions
from invgrad.results.provenance import Stamp
from invgrad.settings import SettingsError, read_yaml
from invgrad.steps.report import write_report

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1000).to_bytes(4) + b" a picture"
OTHER_PNG = PNG + b" of another scale"
SCALE = "Scale demo: little of everything."
REASON = "measured below the flat image"
END = ["others", "verdicts", "details", "cells", "versions"]
"""Sections after those of artefacts."""
PAPER = """id,cell,measure,value,std,n,unit,where,checked,note
table1,good,psnr_mean,18.00,3.33,100,dB,Table 1,true,quoted
table1,absent,psnr_mean,46.25,12.66,100,dB,Table 1,false,recalled
fig9,good,psnr_shown,17.24,,1,dB,Figure 9,false,recalled
"""


def description() -> dict[str, Any]:
    setting = {"value": "300", "provenance": "code", "paper": "4800"}
    cell = {
        "label": "LeNet <i>&</i> friends | all",
        "network": "LeNet",
        "training": "7 epochs",
        "attack": "LeNet <i>&</i> friends | all",
        "variant": "",
        "variant_of": None,
        "clients": "some",
        "victim": "lenet",
        "epoch": 7,
        "swapped_rows": False,
        "seeds": [0, 1],
        "shards": 1,
        "images_per_client": 1,
        "total_variation": 0.01,
        "step_decay": True,
        "deviations": ["iterations 300 instead of 4800"],
        "settings": {
            "attack.iterations": setting,
            "attack.box": {"value": "true", "provenance": "code", "paper": None},
        },
    }
    artefact = {"where": "Table 1", "about": "What it shows.", "cells": ["good"], "not_made": None}
    return {
        "scale": "demo",
        "about": SCALE,
        "changed": {},
        "artefacts": {
            "table1": artefact | {"title": "Table 1: numbers", "writes": ["csv", "md", "tex"]},
            "fig2": artefact | {"title": "Figure 2: pictures", "writes": ["png", "pdf", "csv"]},
            "fig3": artefact
            | {"title": "Figure 3", "cells": ["gone"], "writes": ["png"], "not_made": "there is no ImageNet here"},
        },
        "cells": {"good": cell},
    }


def record(seconds: float, device: str = "cpu: fast", commit: str = "0123456789abcdef") -> str:
    return json.dumps(
        {
            "device": device,
            "seconds": seconds,
            "commit": commit,
            "uncommitted_changes": False,
            "versions": {"torch": "2.14"},
        }
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A made table, a made figure and one that is not made."""
    results, figures = tmp_path / "results/demo", tmp_path / "figures/demo"
    for folder in (results / "metrics/rows/good", results / "notebooks", figures):
        folder.mkdir(parents=True)
    (tmp_path / "paper.csv").write_text(PAPER)
    detail = {"question": "Which <b>?", "choice": "This.", "why": "So.", "source": "a b.py", "artefacts": ["fig2"]}
    everywhere = detail | {"question": "Where?", "source": None, "artefacts": ["all"]}
    content = {"repository": "https://example.org/blob", "details": [detail, everywhere]}
    (tmp_path / "details.yaml").write_text(yaml.safe_dump(content))
    (results / "description.json").write_text(json.dumps(description()))
    rows = pd.DataFrame(
        {
            "cell": "good",
            "seed": [0, 0, 0, 1, 1, 1],
            "image": [0, 1, 2, 0, 1, 2],
            "dataset": "cifar10",
            "source": "first 3 images",
            "psnr": [20.0, 22.0, float("inf"), 21.0, 24.0, float("nan")],
            "flat_psnr": [11.0, 12.0, 14.5] * 2,
            "status": ["ok"] * 5 + ["failed"],
        }
    )
    for seed, table in rows.groupby("seed"):
        table.to_csv(results / f"metrics/rows/good/seed{seed}.csv", index=False)
        attack = json.loads(record(60, commit=f"{seed}" * 40)) | {"step": "attack"}
        about = {"step": "measure", "lineage": {"a": attack, "b": {"step": "share"}}}
        (results / f"metrics/rows/good/seed{seed}.json").write_text(json.dumps(about))
    values = pd.read_csv(tmp_path / "paper.csv")
    judged = verdicts(values, rows, {"good": CellFacts(deviations=["iterations 300 instead of 4800"])})
    judged.to_csv(figures / "verdicts.csv", index=False)
    rows.to_csv(figures / "rows.csv", index=False)
    for name, device in (("table1", "cpu: fast"), ("fig2", "cuda: faster")):
        (results / f"notebooks/{name}.ipynb").write_text("{}")
        (results / f"notebooks/{name}.json").write_text(record(5, device))
    table = pd.DataFrame({"network": ["A|B <script>"] * 110, "PSNR": ["007.50 ± 1.00"] * 110})
    numbers = pd.DataFrame({"network": ["A|B <script>"] * 110, "psnr_mean": [7.5] * 110})
    save_table(table, numbers, figures / "table1", "A caption.", Stamp("0123abcd", "tiny", "fedcba9876543210"))
    (figures / "fig2.csv").write_text("step,value\n1,31.4159\n")
    (figures / "fig2.png").write_bytes(PNG)
    (figures / "fig2.pdf").write_text("x")
    return tmp_path


def made(tree: Path) -> tuple[str, str]:
    figures = tree / "figures/demo"
    write_report(
        tree / "results/demo/description.json",
        tree / "paper.csv",
        tree / "details.yaml",
        tree / "results/demo",
        figures,
        figures / "report.html",
        figures / "index.md",
    )
    return (figures / "report.html").read_text(), (figures / "index.md").read_text()


class Page(HTMLParser):
    """What a browser would load, show and link to; checks that every element is closed in its turn.

    `open` holds the elements around the present one, each as its tag and class; `within` those around each table.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.contents: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.within: list[list[str]] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open
        self.words = " ".join("".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.within.append(list(self.open))
        elif tag == "img":
            self.pictures.append(dict(attrs))
        elif tag == "a" and "nav" in self.open and "li" in self.open:
            self.contents.append((dict(attrs)["href"] or "").removeprefix("#"))
        if tag not in ("meta", "img", "br"):
            self.open.append(" ".join(filter(None, [tag, dict(attrs).get("class")])))
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "background"):
                self.loaded.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().split()[0] == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_both_forms_show_the_numbers_of_the_files(tree: Path) -> None:
    html, markdown = made(tree)
    judged = pd.read_csv(tree / "figures/demo/verdicts.csv").set_index(["id", "cell"]).loc[("table1", "good")]
    ours = f"{judged.value:.2f} ± {judged.std_images:.2f}"
    assert ours == "21.75 ± 1.80"
    difference = f"{judged.difference:+.2f} ({judged.ci_low:+.2f} to {judged.ci_high:+.2f})"
    for text in (Page(html).words, markdown):
        for shown in (
            *("Table 1: numbers", "Figure 2: pictures", "Figure 3", "there is no ImageNet here"),
            *(ours, difference, "18.00 ± 3.33 (n = 100)", "46.25 ± 12.66", "17.24 (displayed image) †"),
            *("A caption.", "007.50 ± 1.00", "10 rows more are in the file."),
            *("1 not comparable, 1 not run", "6 reconstructions, 1 failed, 1 exact"),
            *("CIFAR-10: first 3 images", "a result is below it (↓), the PSNR sees nothing of the image"),
            *("2.1 min on cpu: fast", "2.0 min on cpu: fast; 5 s on cuda: faster"),
            *("0000000000, 1111111111, 0123456789", "not the paper's settings: scale “demo”"),
            *("Printed numbers of artefacts that are not configured", *RULE.values()),
        ):
            assert shown in text, shown
        assert "31.4159" not in text  # the data of a picture is a file to download, not a table to read
    assert "2 not comparable, 1 not run" in markdown
    assert "Verdicts 2 not comparable 1 not run" in Page(html).words
    assert "CIFAR-10 (12.5 dB), from these sources" in Page(html).words
    assert "flat image of the mean colour has 12.5 dB on CIFAR-10" in markdown
    assert "attack.iterations: 300 instead of 4800" in markdown
    assert "<td>attack.iterations</td><td>300</td><td>code</td><td>4800</td>" in html
    assert "clients some with 1 image each; victim lenet after 7 epochs of training" in Page(html).words
    assert "2.1 min on cpu: fast; 5 s on cuda: faster." in markdown  # shared attacks count once


def test_the_page_loads_nothing(tree: Path) -> None:
    html, _ = made(tree)
    page = Page(html)
    assert page.loaded == [f"data:image/png;base64,{b64encode(PNG).decode()}"]
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    assert not re.search(r"@import|url\(", html)


def described(tree: Path, artefact: str, **changes: Any) -> None:
    """Change the description of an artefact."""
    content = description()
    content["artefacts"][artefact] |= changes
    (tree / "results/demo/description.json").write_text(json.dumps(content))


def shown_elsewhere(tree: Path) -> None:
    """Have a picture of Figure 3 at another scale, and a printed number of Figure 3 that was not run."""
    described(tree, "fig3", not_made=REASON, shown_at="small")
    (tree / "figures/small").mkdir()
    (tree / "figures/small/fig3.png").write_bytes(OTHER_PNG)
    for path in (tree / "paper.csv", tree / "figures/demo/verdicts.csv"):
        text = path.read_text().replace("fig9,good", "fig3,absent")
        path.write_text(text)
    judged = pd.read_csv(tree / "figures/demo/verdicts.csv")
    judged.loc[judged["id"] == "fig3", ["verdict", "reason"]] = ["not run", REASON]
    judged.to_csv(tree / "figures/demo/verdicts.csv", index=False)


def test_contents_list_every_section_once_in_its_order(tree: Path) -> None:
    html, markdown = made(tree)
    page = Page(html)
    sections = re.findall(r'<h2 id="([^"]+)"', html)
    assert sections == page.contents == [FIRST, "table1", "fig3", *END]
    inline = re.findall(r"^- \[[^\n]*\]\(#([^)]+)\)", markdown.partition("</details>")[0], re.MULTILINE)
    assert inline == sections
    assert re.findall(r'^<a id="([^"]+)"></a>$', markdown, re.MULTILINE) == sections
    assert '">Figure 3 <small>not made</small></a>' in html
    assert "- [Figure 3](#fig3): not made" in markdown


def test_the_report_begins_with_a_picture_unless_that_is_not_made(tree: Path) -> None:
    assert "png" in load(read_yaml(ROOT / CONFIG)).experiments.artefacts[FIRST].writes
    described(tree, FIRST, not_made=REASON)
    assert Page(made(tree)[0]).contents[0] == "table1"


def test_every_picture_has_its_words_and_every_figure_text_of_one_size(tree: Path) -> None:
    shown_elsewhere(tree)
    pictures = Page(made(tree)[0]).pictures
    assert [picture["alt"] for picture in pictures] == [
        "Figure 2: pictures. What it shows.",
        "Figure 3, at scale small",
    ]
    assert {picture["width"] for picture in pictures} == {"600"}


def test_another_scales_picture_stands_in_place_of_one_not_made(tree: Path) -> None:
    shown_elsewhere(tree)
    html, markdown = made(tree)
    section = html[html.index('<h2 id="fig3">') :].partition("</section>")[0]
    assert b64encode(OTHER_PNG).decode() in section
    for shown in (f"<strong>Not made:</strong> {REASON}", "From scale small, not from this run:"):
        assert shown in section
    assert html.count(REASON) == markdown.count(REASON) == 1, "not again under every number"
    assert "<summary>Printed numbers: 1 rows</summary>" in section
    assert '">Figure 3 <small>needs scale small</small></a>' in html
    assert "- [Figure 3](#fig3): needs scale small" in markdown
    assert f"**Not made:** {REASON}" in markdown
    assert "From scale small, not from this run:\n\n![Figure 3, at scale small](../small/fig3.png)" in markdown
    (tree / "figures/small/fig3.png").unlink()
    assert "From scale small" not in made(tree)[0]


def test_a_verdict_and_its_reason_stand_under_their_cell_and_each_number_once(tree: Path) -> None:
    label = description()["cells"]["good"]["label"]
    text = pd.DataFrame(
        {"data": ["c"], "cell": [label], "paper": ["18.00 ± 3.33"], "verdict": ["x"], "reason": ["why"]}
    )
    save_table(
        text, text, tree / "figures/demo/table1", f"Table 1: numbers. n = 6. {SCALE} More.", Stamp("0", "s", "f")
    )
    html, markdown = made(tree)
    words = Page(html).words
    for shown in (words, markdown):
        for number in ("18.00 ± 3.33", "46.25 ± 12.66", "17.24", "6 reconstructions"):
            assert shown.count(number) == 1, number
        assert shown.count(SCALE) == 1, "not again in every caption"
        assert "n = 6. More." in shown
    assert not re.search(r"<th[^>]*>(verdict|reason)<", html)
    assert f"{label} c18.00 ± 3.33 not comparable iterations 300 instead of 4800" in words
    assert f"| {plain(label)}<br>**not comparable** iterations 300 instead of 4800" in markdown


def test_reasons_that_hold_for_one_of_a_cells_numbers_say_for_which() -> None:
    def value(number: int, verdict: str, reason: str) -> ReportedValue:
        row = {"paper_n": number, "verdict": verdict, "reason": reason}
        return ReportedValue(cell="c", label="c", where="", row=row)

    mean, image = value(100, "differs", "a; b"), value(1, "differs", "a; c")
    assert judgement([mean, image]) == {"differs": "a; mean: b; displayed image: c"}
    assert judgement([mean, value(1, "undecided", "a")]) == {
        "differs": "mean: a; mean: b",
        "undecided": "displayed image: a",
    }


def test_a_verdict_on_another_artefacts_number_is_that_of_the_table() -> None:
    rows = [["differs", "why", "c", "1.0"], ["–", "–", "d", "2.0"]]
    table = compared(Table(columns=["verdict", "reason", "cell", "PSNR"], rows=rows), [])
    assert (table.columns, table.rows) == (["cell", "PSNR"], [["c", "1.0"], ["d", "2.0"]])
    assert table.judged == [{"differs": "why"}, {}]


def test_long_tables_are_folded_and_every_table_scrolls_in_its_own_box(tree: Path) -> None:
    html, markdown = made(tree)
    within = Page(html).within
    assert all(each[-1] == "div wide" for each in within)
    assert [each[-2] for each in within] == ["details", "section", "section", "details", "details"]
    assert "<summary>Table: 100 rows</summary>" in html
    assert "<details><summary>Table: 100 rows</summary>\n\n| network" in markdown


def test_text_is_text(tree: Path) -> None:
    html, markdown = made(tree)
    page = Page(html)
    for text in ("LeNet <i>&</i> friends | all", "A|B <script>", "Which <b>?"):
        assert text in page.words
        assert plain(text) in markdown
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table
        assert re.fullmatch(r"[|:-]+", table.splitlines()[1])


def test_links_lead_somewhere(tree: Path) -> None:
    html, markdown = made(tree)
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    anchors = set(re.findall(r'<a id="([^"]+)">', markdown))
    inline = re.findall(r"\]\(([^)]+)\)", markdown)
    for links, ids in ((page.links, set(page.ids)), (inline, anchors)):
        assert {"fig2.pdf", "https://example.org/blob/a%20b.py"} <= set(links)
        for link in links:
            if link.startswith("#"):
                assert link[1:] in ids, link
            elif not link.startswith("https://"):
                assert (tree / "figures/demo" / unquote(link)).is_file(), link
    notebook = "../../results/demo/notebooks/table1.ipynb"
    assert notebook in page.links
    assert notebook in markdown
    assert not any("results" in link for link in inline), "the page is kept where the results are not"


def test_open_details_are_numbered_and_linked_from_what_they_concern(tree: Path) -> None:
    html, markdown = made(tree)
    sections = dict(re.findall(r'<section>\n<h2 id="(\w+)">(.*?)</section>', html, re.DOTALL))
    assert re.findall(r"#detail-\d", sections["table1"]) == ["#detail-2"]
    assert re.findall(r"#detail-\d", sections["fig2"]) == ["#detail-1", "#detail-2"]
    assert '1. <a id="detail-1"></a>**Which' in markdown


@pytest.mark.parametrize(
    "missing",
    [
        *("figures/demo/fig2.png", "figures/demo/table1.tex", "results/demo/notebooks/fig2.json"),
        "results/demo/metrics/rows/good/seed1.json",
    ],
)
def test_a_promised_file_that_is_missing_is_named(tree: Path, missing: str) -> None:
    (tree / missing).unlink()
    with pytest.raises(SettingsError, match=re.escape(missing)):
        made(tree)
    assert not (tree / "figures/demo/report.html").exists()


def test_a_cell_that_was_not_run_is_said(tree: Path) -> None:
    shutil.rmtree(tree / "results/demo/metrics/rows/good")
    html, _ = made(tree)
    assert "<summary>LeNet &lt;i&gt;&amp;&lt;/i&gt; friends | all <small>not run</small></summary>" in html


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        (
            "results/demo/description.json",
            '"cells": ["good"]',
            '"cells": ["god"]',
            "unknown cell 'god'; nearest: 'good'",
        ),
        ("results/demo/description.json", '"not_made"', '"unmade"', "unknown key 'unmade'; nearest: 'not_made'"),
        ("results/demo/metrics/rows/good/seed0.csv", "psnr", "snr", "rows/good/seed0.csv: cannot be read"),
        ("results/demo/notebooks/fig2.json", "seconds", "second", "not a record of invgrad: 'seconds'"),
        ("figures/demo/verdicts.csv", "18.0", "18.5", "verdicts.csv: no verdict on psnr_mean 18.0 of 'good'"),
        ("details.yaml", "why: So.", "because: So.", "details.0: unknown key 'because'"),
        ("details.yaml", "choice: This.", "choice: ''", "details.0.choice: "),
    ],
)
def test_a_wrong_file_is_one_clear_line(tree: Path, file: str, before: str, after: str, message: str) -> None:
    path = tree / file
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(SettingsError, match=re.escape(message)) as error:
        made(tree)
    assert "\n" not in str(error.value)


def test_the_papers_own_scale_has_no_warning_unless_settings_were_changed(tree: Path) -> None:
    path = tree / "results/demo/description.json"
    content = description() | {"scale": "paper"}
    path.write_text(json.dumps(content))
    assert all("not the paper's settings" not in text for text in made(tree))
    path.write_text(json.dumps(content | {"changed": {"cells": {"*": {"attack": {"iterations": 7}}}}}))
    for text in made(tree):
        assert "not the paper's settings" in text
        assert "iterations" in text


def test_the_details_of_this_repository_are_valid() -> None:
    details = open_details.read(ROOT / "data/open_details.yaml").details
    assert len(details) >= 25
    assert len({detail.question for detail in details}) == len(details)
    known = {
        *("fig1", "prop1", "table1", "fig2", "fig3", "fig4", "fig5", "fig6", "table2", "fig7", "ablation", "labelflip"),
        *("batch100", "table2-images", "more-cifar", "more-imagenet", "hyperparameters", "variants", "all"),
    }
    assert {name for detail in details for name in detail.artefacts} <= known


def test_times_and_versions_are_summed_over_jobs() -> None:
    runs = [
        Run(device=device, seconds=seconds, commit="c", versions={"torch": version})
        for device, seconds, version in (("a", 100, "2.14"), ("b", 2, "2.15"), ("a", 50, "2.14"))
    ]
    assert spent(runs) == "2.5 min on a; 2 s on b"
    assert versions(runs) == {"torch": "2.14, 2.15"}
