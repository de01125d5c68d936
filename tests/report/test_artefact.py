"""The results that a notebook is given, by the workflow or by hand."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import projects
import pytest
from PIL import Image

from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.layout import Layout
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import notebook_json
from invgrad.report import by_hand
from invgrad.report.artefact import PAPER, ArtefactResults
from invgrad.report.tables import comparison_text
from invgrad.results.fingerprints import PACKAGE, imported_code
from invgrad.settings import SettingsError, read_yaml
from invgrad.steps.notebook import execute

ROOT = Path(__file__).parents[2]
CELLS = ("lenet-trained-proposed", "unreported", "lenet-untrained-proposed")


def rows(cell: str, psnr: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"cell": cell, "seed": 0, "dataset": "cifar10", "image": range(len(psnr)), "psnr": psnr})
    status = ["failed" if math.isnan(value) else "ok" for value in psnr]
    run = {"restarts": 2, "iterations": range(10, 10 + len(psnr)), "flat_psnr": [11.0, 12.0, 14.5]}
    return table.assign(status=status, source="first 20 validation images", lossy=False, **run)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtefactResults:
    monkeypatch.setattr("invgrad.results.provenance.source_version", lambda: ("0123abcd", True))
    files = Layout(tmp_path / "results")
    values = {CELLS[0]: [18.0, 20.0, math.nan], CELLS[1]: [10.0, 12.0, math.inf], CELLS[2]: [17.0, 19.0, 18.0]}
    for cell, psnr in values.items():
        files.rows(cell, 0).parent.mkdir(parents=True)
        rows(cell, psnr).to_csv(files.rows(cell, 0), index=False)
    record = files.victim("lenet-trained", 0).with_suffix(".json")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"curve": [{"epoch": 1, "validation_accuracy": 0.5}]}))
    (record.parent.parent / "lenet-untrained").mkdir()
    about: dict[str, Any] = {"clients": "x", "seeds": [0], "shards": 1, "epoch": 0}
    about |= {"network": "LeNet", "training": "untrained", "attack": "proposed", "variant": ""}
    cells = {
        CELLS[0]: {"label": "A", "victim": "lenet-trained", "deviations": ["epochs 1 instead of 120"], **about},
        CELLS[1]: {"label": "B", "victim": "lenet-untrained", "deviations": [], **about},
        CELLS[2]: {"label": "C", "victim": "lenet-untrained", "deviations": [], **about},
    }
    return ArtefactResults(
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


def test_rows_carry_the_label_of_their_cell(results: ArtefactResults) -> None:
    assert results.rows.groupby("label").size().to_dict() == {"A": 3, "B": 3, "C": 3}


def test_verdicts_are_those_of_these_cells_in_their_order(results: ArtefactResults) -> None:
    assert results.verdicts.cell.tolist() == [CELLS[0], CELLS[2]]
    assert results.verdicts.verdict[0] == "not comparable"
    assert results.verdicts.paper_value.tolist() == [18.08, 18.00]


def test_the_comparison_has_a_row_for_every_cell(results: ArtefactResults) -> None:
    numbers = results.comparison()
    assert numbers.cell.tolist() == list(CELLS)
    assert numbers.label.tolist() == ["A", "B", "C"]
    assert numbers.value.tolist() == [19.0, 11.0, 18.0], "without failed and exact ones"
    assert numbers.n_failed.tolist() == [1, 0, 0]
    assert numbers.n_exact.tolist() == [0, 1, 0]
    assert numbers.loc[0, "difference"] == pytest.approx(19.0 - 18.08)
    assert numbers.flat_psnr.tolist() == [12.5] * 3
    assert numbers.deviations.tolist() == ["epochs 1 instead of 120", "", ""]
    assert numbers.loc[0, ["iterations_min", "iterations_max", "restarts_min", "restarts_max"]].tolist() == [
        10,
        12,
        2,
        2,
    ]
    assert numbers.loc[1, list(PAPER)].isna().all(), "the paper reports nothing"


def test_the_comparison_is_with_one_kind_of_reported_value(results: ArtefactResults) -> None:
    assert results.comparison("psnr_shown")[list(PAPER)].isna().all(axis=None)


def test_the_comparison_says_the_same_as_the_verdicts(results: ArtefactResults) -> None:
    both = ["value", "std_images", "n_images", *PAPER]
    ours = results.comparison().set_index("cell")[both]
    pd.testing.assert_frame_equal(
        ours.loc[results.verdicts.cell], results.verdicts.set_index("cell")[both], check_dtype=False
    )


def test_clients_with_several_images_count_once_where_the_paper_reports_a_mean(results: ArtefactResults) -> None:
    results.rows = results.rows.assign(client=0)
    ours = results.comparison().set_index("cell")
    assert ours["n_images"].to_dict() == {CELLS[0]: 1, CELLS[1]: 2, CELLS[2]: 1}, "of the second nothing is reported"
    assert ours.loc[CELLS[2], "value"] == 18.0


def test_the_caption_says_n_the_flat_image_scale_and_sources(results: ArtefactResults) -> None:
    assert results.caption == (
        "Table 1. n = 3 images × 1 network seed per cell. A flat image of the mean colour has 12.5 dB on these "
        "images of CIFAR-10; where a result is below it (↓), the PSNR sees nothing of the image. Scale tiny: few. "
        "Images: first 20 validation images."
    )


def test_rows_of_earlier_versions_have_no_flat_image_and_none_is_invented(results: ArtefactResults) -> None:
    for cell in CELLS:
        path = results._files.rows(cell, 0)
        pd.read_csv(path).drop(columns="flat_psnr").to_csv(path, index=False)
    assert results.caption == (
        "Table 1. n = 3 images × 1 network seed per cell. Scale tiny: few. Images: first 20 validation images."
    )
    assert results.comparison().flat_psnr.isna().all()
    assert "↓" not in "".join(comparison_text(results.comparison())["PSNR in dB (± images)"])


def test_the_caption_says_where_the_paper_itself_finds_nothing(results: ArtefactResults) -> None:
    """Of Table 1 that is L-BFGS on ResNet-20, trained or not; 13.24 dB on the trained LeNet is more than 12.0."""
    for cell in ("resnet20-4-trained-lbfgs", "lenet-trained-lbfgs"):
        results._files.rows(cell, 0).parent.mkdir(exist_ok=True)
        rows(cell, [18.0, 20.0, 19.0]).to_csv(results._files.rows(cell, 0), index=False)
        results.cells[cell] = results.cells[CELLS[1]] | {"label": cell}
    assert "The paper's own value is below a flat image's: resnet20-4-trained-lbfgs. Scale" in results.caption
    shown = comparison_text(results.comparison()).set_index("cell")["paper († recalled)"]
    assert shown["resnet20-4-trained-lbfgs"] == "6.90 ± 2.80 † ↓"
    assert shown["lenet-trained-lbfgs"] == "13.24 ± 5.44 †"


def test_curves_are_those_of_the_trained_victims(results: ArtefactResults) -> None:
    assert results.curves.to_dict("records") == [
        {"epoch": 1, "validation_accuracy": 0.5, "victim": "lenet-trained", "seed": 0}
    ]


def test_tables_are_written_under_the_artefacts_name(results: ArtefactResults, tmp_path: Path) -> None:
    results.save_table(pd.DataFrame({"a": ["± 1"]}), pd.DataFrame({"b": [1]}))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["table1.csv", "table1.md", "table1.tex"]
    assert results.caption in (tmp_path / "figures/table1.md").read_text()


def test_what_is_written_says_which_commit_scale_and_settings_it_is_of(
    results: ArtefactResults, tmp_path: Path
) -> None:
    results.save_table(pd.DataFrame({"a": ["± 1"]}), pd.DataFrame({"b": [1]}))
    results.save_figure(plt.figure())
    plt.close("all")
    stamp = "commit 0123abcd+changes, scale tiny, settings fedcba9876543210"
    for kind in ("md", "tex"):
        assert stamp in (tmp_path / f"figures/table1.{kind}").read_text()
    with Image.open(tmp_path / "figures/table1.png") as picture:
        told = picture.info
    assert (told["Commit"], told["Scale"], told["Settings"]) == ("0123abcd+changes", "tiny", "fedcba9876543210")
    assert told["Title"] == results.caption


# By hand


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the rows of one cell of Table 1 at hand."""
    folder = projects.project(tmp_path_factory.mktemp("clone"), "mini", projects.mini(CELLS[2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan = Plan(load(read_yaml(CONFIG)))
        (path,) = plan.rows(CELLS[2])
        path.parent.mkdir(parents=True)
        rows(CELLS[2], [17.0, 19.0, 18.0]).to_csv(path, index=False)
        projects.recorded(plan, path)
    return folder


def taken(clone: Path) -> dict[str, bytes]:
    """The files of the table, which are removed."""
    paths = sorted((clone / "figures/mini").glob("table1.*"))
    content = {path.name: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    return content


def test_a_notebook_by_hand_makes_what_the_workflow_makes(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert projects.done(projects.run(clone, sys.executable, "notebooks/table1.py")).splitlines()[-1] == (
        "figures/mini/table1: csv, md, tex"
    )
    found = taken(clone)
    monkeypatch.chdir(clone)
    parameters = json.loads(notebook_json(Plan(load(read_yaml(CONFIG))), "table1"))
    execute(Path("notebooks/table1.py"), parameters, tmp_path / "table1.ipynb", tmp_path / "log.ipynb")
    assert found == taken(clone)
    assert sorted(found) == ["table1.csv", "table1.md", "table1.tex"]


def test_a_notebook_in_jupyter_runs_in_its_own_folder(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone / "notebooks")
    assert ArtefactResults.open("table1").rows.psnr.tolist() == [17.0, 19.0, 18.0]


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [
        (
            "fig6",
            "mini",
            "no results/mini/metrics/rows/convnet-steps5-lr1e-1/seed0.csv and 2 more; run: snakemake --cores all ",
        ),
        ("table1", "mimi", "config: scale: unknown scale 'mimi'; nearest: 'mini'"),
        ("tabel1", "mini", "unknown artefact 'tabel1'; nearest: 'table1'"),
    ],
)
def test_what_keeps_a_notebook_from_running_by_hand_is_one_line(
    clone: Path, name: str, scale: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    monkeypatch.setenv("INVGRAD_SCALE", scale)
    with pytest.raises(SystemExit) as caught:
        ArtefactResults.open(name)
    assert str(caught.value).startswith(f"error: {words}")
    assert "\n" not in str(caught.value)


def test_results_of_other_settings_are_not_shown_as_those_of_the_configuration(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    assert list(by_hand.parameters("table1")["cells"]) == [CELLS[2]]
    projects.choose(clone, override={"cells": {CELLS[2]: {"attack": {"box": False}}}})
    try:
        with pytest.raises(SettingsError, match=r"seed0\.csv: .* other settings: attack.box true, not false"):
            by_hand.parameters("table1")
    finally:
        projects.choose(clone, override={})


def test_a_notebook_outside_a_clone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no params\.yaml here or above"):
        ArtefactResults.open("table1")


def test_a_notebook_does_not_depend_on_the_code_that_plans() -> None:
    """Or an edit of any setting would draw every figure again."""
    code = {str(Path(path).relative_to(PACKAGE)) for path in imported_code(ROOT / "notebooks/table1.py")}
    assert {"report/artefact.py", "report/tables.py", "paper/verdicts.py"} <= code
    assert not code & {"report/by_hand.py", "experiments/plan.py", "experiments/config.py"}
