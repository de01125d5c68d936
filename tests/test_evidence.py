"""What a notebook is given of its cells."""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from PIL import Image

from invgrad.evidence import Evidence
from invgrad.layout import Layout

ROOT = Path(__file__).parents[1]
CELLS = ("lenet-trained-proposed", "unreported", "lenet-untrained-proposed")


def rows(cell: str, psnr: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"cell": cell, "seed": 0, "dataset": "cifar10", "image": range(len(psnr)), "psnr": psnr})
    status = ["failed" if math.isnan(value) else "ok" for value in psnr]
    return table.assign(status=status, source="first 20 validation images")


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.setattr("invgrad.stamp.source_version", lambda: ("0123abcd", True))
    files = Layout(tmp_path / "results")
    values = {CELLS[0]: [18.0, 20.0, math.nan], CELLS[1]: [10.0, 12.0, math.inf], CELLS[2]: [17.0, 19.0, 18.0]}
    for cell, psnr in values.items():
        files.rows(cell).parent.mkdir(parents=True, exist_ok=True)
        rows(cell, psnr).to_csv(files.rows(cell), index=False)
    record = files.victim("lenet-trained", 0).with_suffix(".json")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"curve": [{"epoch": 1, "validation_accuracy": 0.5}]}))
    (record.parent.parent / "lenet-untrained").mkdir()
    about: dict[str, Any] = {"clients": "x", "seeds": [0], "shards": 1, "epoch": 0}
    cells = {
        CELLS[0]: {"label": "A", "victim": "lenet-trained", "obstacles": ["epochs 1 instead of 120"], **about},
        CELLS[1]: {"label": "B", "victim": "lenet-untrained", "obstacles": [], **about},
        CELLS[2]: {"label": "C", "victim": "lenet-untrained", "obstacles": [], **about},
    }
    return Evidence(
        {
            "name": "table1",
            "title": "Table 1",
            "about": "Scale tiny: few.",
            "scale": "tiny",
            "settings_hash": "fedcba9876543210",
            "cells": cells,
            "results": str(tmp_path / "results"),
            "figures": str(tmp_path / "figures"),
            "paper_values": str(ROOT / "data/paper_values.csv"),
        }
    )


def test_rows_carry_the_label_of_their_cell(evidence: Evidence) -> None:
    assert evidence.rows.groupby("label").size().to_dict() == {"A": 3, "B": 3, "C": 3}


def test_verdicts_are_those_of_these_cells_in_their_order(evidence: Evidence) -> None:
    assert evidence.verdicts.cell.tolist() == [CELLS[0], CELLS[2]]
    assert evidence.verdicts.verdict[0] == "not comparable"
    assert evidence.verdicts.paper_value.tolist() == [18.08, 18.00]


def test_the_summary_has_a_row_for_every_cell(evidence: Evidence) -> None:
    summary = evidence.summary
    assert summary.index.tolist() == list(CELLS)
    assert summary.value.tolist() == [19.0, 11.0, 18.0], "without failed and exact ones"
    assert summary.n_failed.tolist() == [1, 0, 0]
    assert summary.n_exact.tolist() == [0, 1, 0]
    assert summary.loc[CELLS[0], "difference"] == pytest.approx(19.0 - 18.08)
    assert math.isnan(summary.loc["unreported", "paper_value"])
    assert summary.loc["unreported", "verdict"] == ""


def test_the_caption_says_scale_and_sources(evidence: Evidence) -> None:
    assert evidence.caption == "Table 1. Scale tiny: few. Images: first 20 validation images."


def test_curves_are_those_of_the_trained_victims(evidence: Evidence) -> None:
    assert evidence.curves.to_dict("records") == [
        {"epoch": 1, "validation_accuracy": 0.5, "victim": "lenet-trained", "seed": 0}
    ]


def test_tables_are_written_under_the_artefacts_name(evidence: Evidence, tmp_path: Path) -> None:
    evidence.save_table(pd.DataFrame({"a": [1]}))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["table1.csv", "table1.md", "table1.tex"]
    assert evidence.caption in (tmp_path / "figures/table1.md").read_text()


def test_what_is_written_says_which_commit_scale_and_settings_it_is_of(evidence: Evidence, tmp_path: Path) -> None:
    evidence.save_table(pd.DataFrame({"a": [1]}))
    evidence.save_figure(plt.figure())
    plt.close("all")
    stamp = "commit 0123abcd+changes, scale tiny, settings fedcba9876543210"
    for kind in ("md", "tex"):
        assert stamp in (tmp_path / f"figures/table1.{kind}").read_text()
    with Image.open(tmp_path / "figures/table1.png") as picture:
        told = picture.info
    assert (told["Commit"], told["Scale"], told["Settings"]) == ("0123abcd+changes", "tiny", "fedcba9876543210")
    assert told["Title"] == evidence.caption
