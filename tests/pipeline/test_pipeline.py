"""The whole DAG at a cut-down scale: what it writes, that it repeats, that a change reruns what it must and no more."""

import json
import math
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pandas as pd
import projects
import pytest
import yaml
from PIL import Image
from projects import ROOT, TINY, planned, run
from safetensors import safe_open

from invgrad.experiments.reading import read_experiments
from invgrad.results.fingerprints import step_code
from invgrad.settings import SettingsError, merged
from invgrad.steps.notebook import execute

ABOUT = "tiny {scale} {0} {"
TEXTS = {"title": "{a} {", "about": "{b} {}", "where": "Figure {2} {c}"}
REASONS = {"ablation-euclidean": "no {time} for {0} it {"}
OVERRIDE = {
    "victims": {"imagenet-resnet152": {"network": {"model": "resnet18"}}},  # the DAG is tested, not 152 layers
    "cells": {"convnet-zeros": {"label": "{network}: {mine} {0} {", "variant": "{x}"}},
    "artefacts": {"fig4": TEXTS},
}


def snakemake(
    folder: Path, *arguments: str, config: tuple[str, ...] = ("scale=tiny",)
) -> subprocess.CompletedProcess[str]:
    return run(folder, "snakemake", "--cores", "2", *arguments, "--config", *config)


def override(**changes: Any) -> str:
    """A setting of Snakemake's command line: the project's override and these changes."""
    return f"override={json.dumps(merged(OVERRIDE, changes))}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the tiny scale has been run once, with some texts of the user's."""
    folder = tmp_path_factory.mktemp("clone")
    projects.project(folder, "tiny", TINY | {"about": ABOUT}, override=OVERRIDE, left_out=REASONS)
    result = snakemake(folder, "all")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.slow
def test_braces_in_texts_are_no_wildcards(project: Path) -> None:
    """Snakemake expands them wherever it takes a text itself."""
    index = (project / "figures/tiny/index.md").read_text()
    for text in [*TEXTS.values(), *REASONS.values(), ABOUT]:
        assert text in index


@pytest.mark.slow
def test_rows_verdicts_and_figures(project: Path) -> None:
    rows = pd.read_csv(project / "figures/tiny/rows.csv")
    assert set(rows.status) == {"ok"}
    assert (rows.psnr > 3).all()
    assert rows.groupby("cell").size()["lenet-untrained-proposed"] == 3 * 2
    assert rows.groupby("cell").size()["resnet32-10-batch100"] == 6
    assert (rows.shared_norm > 0).all()
    assert rows[rows.cell == "lenet-untrained-proposed"].image.tolist() == [0, 1, 2] * 2
    assert set(rows[rows.cell == "lenet-trained-proposed"].dataset) == {"photos10"}
    assert set(rows[rows.cell.str.startswith("lenet-")].iterations) == {4}

    verdicts = pd.read_csv(project / "figures/tiny/verdicts.csv").set_index("cell")
    ours = verdicts.loc["lenet-untrained-proposed"]
    mean = rows[rows.cell == "lenet-untrained-proposed"].groupby("seed").psnr.mean().mean()
    assert math.isclose(ours.value, mean)
    assert (ours.n_images, ours.n_seeds) == (3, 2)
    assert ours.verdict == "not comparable"
    assert "4 instead of 4,800 iterations" in ours.reason
    assert verdicts.loc["resnet20-4-trained-proposed"].verdict == "not run"

    for name, artefact in read_experiments(ROOT / "config/experiments").content["artefacts"].items():
        for kind in artefact["writes"]:
            assert (project / f"figures/tiny/{name}.{kind}").stat().st_size > 100, (name, kind)
    table = pd.read_csv(project / "figures/tiny/table1.csv")
    assert math.isclose(table.value[1], mean)
    assert f"{mean:.2f}" in (project / "figures/tiny/table1.md").read_text()
    with Image.open(project / "figures/tiny/fig2.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20, "the picture is not blank"
        assert picture.info["Scale"] == "tiny"


@pytest.mark.slow
def test_executed_notebooks_are_kept(project: Path) -> None:
    for name in read_experiments(ROOT / "config/experiments").content["artefacts"]:
        notebook = nbformat.read(project / f"results/tiny/notebooks/{name}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code)


@pytest.mark.slow
def test_every_result_has_a_record(project: Path) -> None:
    results = list((project / "results/tiny").rglob("*.safetensors"))
    assert len(results) > 10
    for path in [*results, project / "figures/tiny/rows.csv", project / "figures/tiny/verdicts.csv"]:
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["file"] == path.name
        assert record["seconds"] >= 0
    record = json.loads((project / "results/tiny/victims/lenet-trained/seed0.json").read_text())
    assert record["settings"]["training"]["epochs"] == 2
    assert len(record["curve"]) == 2


@pytest.mark.slow
def test_an_attack_never_sees_the_images(project: Path) -> None:
    """What clients share has the network's shapes and the labels; the rule reads that, the victim and code alone."""
    victim = project / "results/tiny/victims/lenet-untrained/seed0.safetensors"
    with safe_open(victim, framework="pt") as file:
        shapes = {f"shared.{name}": file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    for path in (project / "results/tiny/shared/lenet-untrained").rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name).get_shape()[1:] for name in file.keys()}  # noqa: SIM118
        assert found == {**shapes, "labels": [1]}
    for record in (project / "results/tiny/reconstructions").rglob("*.json"):
        command = json.loads(record.read_text())["command"]
        named = {key: word for key, word in pairwise(command) if word.startswith("results/")}
        assert {key: word.split("/")[2] for key, word in named.items()} == {
            **{"--victim": "victims", "--shared": "shared"},
            **{"--out": "reconstructions", "--checkpoint": "unfinished", "--log": "logs"},
        }
    code = [Path(name) for name in step_code("attack")]
    assert not any(path.parent.name == "metrics" for path in code)
    assert "measure.py" not in {path.name for path in code}


@pytest.mark.slow
def test_a_second_run_starts_no_job_whatever_changes_no_result(project: Path) -> None:
    result = snakemake(project, "all", config=("memory=1", "device=cpu", "scale=tiny", "checkpoint={seconds: 5}"))
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout + result.stderr


@pytest.mark.slow
def test_a_change_reruns_what_depends_on_it(project: Path) -> None:
    fewer = override(clients={"lenet-untrained": {"targets": {"count": 2}}})
    gathered = {"describe", "verdict", "report", "hyperparameters"}
    gathered |= {"fig3", "fig4"}  # which the override changes already, and which say all of it
    shown = {"table1", "fig2", "seeds", "more-cifar", "activation-error"}
    again = {"measure", "activations", *shown, *gathered}
    assert planned(project, fewer) == again, "the first shard holds what it held"
    alpha = override(cells={"lenet-trained-proposed": {"attack": {"total_variation": 0.1}}})
    assert planned(project, alpha) == {"attack_short", *again}
    title = override(artefacts={"fig2": {"title": "Images"}})
    assert planned(project, title) == {"fig2", *gathered}


@pytest.mark.slow
def test_a_mistake_stops_before_any_job(project: Path) -> None:
    wrong = "override={victims: {lenet-trained: {network: {name: vgg}}}}"
    result = snakemake(project, "all", config=(wrong, "results=elsewhere", "figures=elsewhere"))
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "unknown name 'vgg'" in errors[0]
    assert not (project / "elsewhere").exists()


@pytest.mark.slow
def test_a_notebook_that_fails_leaves_its_log_and_no_result(tmp_path: Path) -> None:
    source, out, log = (tmp_path / name for name in ("bad.py", "bad.ipynb", "log.ipynb"))
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("number = 1", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("1 / (number - 2)"),
        ]
    )
    jupytext.write(notebook, source, fmt="py:percent")
    with pytest.raises(SettingsError, match="ZeroDivisionError"):
        execute(source, {"number": 2}, out, log)
    assert log.exists()
    assert not out.exists()
    with pytest.raises(SettingsError, match="unknown parameter 'numbr'; nearest: 'number'"):
        execute(source, {"numbr": 2}, out, log)


@pytest.mark.slow
def test_a_figure_shows_this_run_and_says_what_was_changed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer images and another network seed, after a run that left more of both in the same folder, and without a cell
    that was run then. Each job imports all that it needs itself: there is no warm process.
    """
    folder = tmp_path / "clone"
    shutil.copytree(project, folder)
    changes = "{clients: {lenet-untrained: {seeds: [1], targets: {count: 2}}}}"
    left_out = '{"lenet-trained-*": "trained elsewhere"}'
    settings = ("artefacts=[fig2,prop1]", f"override={changes}", f"left_out={left_out}")
    monkeypatch.setenv("INVGRAD_WARM", "")
    result = snakemake(folder, "all", config=("scale=tiny", *settings))
    assert result.returncode == 0, result.stdout + result.stderr
    rows = pd.read_csv(folder / "figures/tiny/rows.csv")
    assert set(rows[rows.cell == "lenet-untrained-proposed"].seed) == {1}
    notebook = nbformat.read(folder / "results/tiny/notebooks/fig2.ipynb", as_version=4)
    parameters = next(cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert "'seeds': [1]" in parameters.replace('"', "'")
    assert "lenet-trained" not in parameters
    assert not rows.cell.str.startswith("lenet-trained").any()
    with Image.open(folder / "figures/tiny/fig2.png") as picture:
        assert "Settings changed by the user" in picture.info["Title"]
    index = (folder / "figures/tiny/index.md").read_text()
    assert "not among the artefacts chosen for this run" in index
    assert "| not run: trained elsewhere |" in index
    assert "<br>**not run** trained elsewhere |" in index
    assert "Settings changed by the user" not in (folder / "figures/tiny/prop1.md").read_text(), (
        "it shows nothing that was"
    )


@pytest.mark.slow
@pytest.mark.parametrize("some", [["prop1"], pytest.param([], marks=pytest.mark.night)], ids=["some", "all"])
def test_data_that_is_missing_is_told_before_any_job(some: list[str], project: Path) -> None:
    """And what does not need it can be made."""
    paper = ("scale=paper", "data_root=nowhere")
    asked = [f"artefacts={json.dumps(['fig3', *some])}"] if some else []
    result = snakemake(project, "all", "--dry-run", config=(*paper, *asked))
    assert result.returncode != 0
    errors = [line for line in (result.stdout + result.stderr).splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "imagenet is missing: put ILSVRC-2012" in errors[0]
    assert "nowhere/imagenet" in errors[0]
    possible = yaml.safe_load(errors[0].split("artefacts=")[1].strip("'"))
    assert {*some} < {*possible}
    made = f"artefacts={json.dumps(some or possible)}"
    assert snakemake(project, "all", "--dry-run", config=(*paper, made)).returncode == 0
