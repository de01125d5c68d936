"""DVC over Snakemake: nothing runs twice, and above all nothing stale is recorded as new."""

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import projects
import pytest
from projects import add_scale, choose, done, mini, planned, run

pytestmark = [pytest.mark.slow, pytest.mark.dvc]
CELLS = ["lenet-untrained-proposed", "lenet-untrained-lbfgs"]
IDENTITY = {"user.name": "A Reader", "user.email": "reader@example.org"}


def git(folder: Path, *arguments: str) -> str:
    who = [word for key, value in IDENTITY.items() for word in ("-c", f"{key}={value}")]
    return done(run(folder, "git", *who, *arguments))


def dvc(folder: Path, *arguments: str) -> str:
    return done(run(folder, "dvc", *arguments))


def psnr(folder: Path, cell: str) -> float:
    return json.loads((folder / "figures/mini/metrics.json").read_text())["psnr"][cell]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which `dvc repro` was run, with what it made committed and pushed."""
    folder = projects.project(tmp_path_factory.mktemp("repository"), "mini", mini(*CELLS), artefacts=["fig2"])
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for key, value in IDENTITY.items():
        git(folder, "config", key, value)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "project")
    dvc(folder, "repro")
    dvc(folder, "remote", "add", "--default", "local", str(tmp_path_factory.mktemp("remote")))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "results")
    dvc(folder, "push")
    return folder


@pytest.fixture
def clone(made: Path, tmp_path: Path) -> Path:
    """A fresh clone of it into which the results were pulled."""
    git(made, "clone", "--quiet", str(made), str(tmp_path / "clone"))
    dvc(tmp_path / "clone", "pull")
    return tmp_path / "clone"


def test_what_was_made_is_not_made_again(made: Path) -> None:
    said = dvc(made, "repro")
    assert said.count("didn't change, skipping") == 3
    assert "Data and pipelines are up to date" in dvc(made, "status")
    assert planned(made) == set()
    assert git(made, "status", "--porcelain") == ""


def test_metrics_parameters_and_plots_say_something(made: Path, tmp_path: Path) -> None:
    shown = json.loads(dvc(made, "metrics", "show", "--json"))[""]["data"]["figures/mini/metrics.json"]["data"]
    assert shown["failed"] == 0
    assert set(shown["psnr"]) == set(CELLS)
    assert sum(shown["verdicts"].values()) == len(pd.read_csv(made / "figures/mini/verdicts.csv"))
    dvc(made, "plots", "show", "--out", str(tmp_path))
    assert "fig2.png" in " ".join(path.name for path in tmp_path.rglob("*.png"))
    assert "Ours beside the paper" in (tmp_path / "index.html").read_text()


def test_a_clone_with_the_results_has_nothing_to_run(clone: Path) -> None:
    assert "Nothing to be done" in done(run(clone, "snakemake", "--cores", "all"))
    assert dvc(clone, "repro").count("didn't change, skipping") == 3
    assert git(clone, "status", "--porcelain") == ""


def test_a_changed_weight_is_noticed_and_reruns_only_what_depends_on_it(clone: Path) -> None:
    """In a clone, whose files are all as old as the checkout. The number must be that of the new weight."""
    cell, other = CELLS
    before = {name: psnr(clone, name) for name in (cell, other)}
    files = clone / "results/mini/reconstructions"
    untouched = {path: path.stat().st_mtime_ns for path in (files / other).iterdir()}
    choose(clone, override={"cells": {cell: {"attack": {"total_variation": 10.0}}}})
    assert planned(clone) == {"attack_short", "describe", "measure", "fig2", "verdict", "report"}
    assert "total_variation" in dvc(clone, "params", "diff")
    dvc(clone, "repro")
    assert planned(clone) == set()
    record = json.loads((files / cell / "seed0-shard0.json").read_text())
    assert record["settings"]["attack"]["total_variation"] == 10.0
    assert {path: path.stat().st_mtime_ns for path in (files / other).iterdir()} == untouched
    rows = pd.read_csv(clone / "figures/mini/rows.csv")
    assert psnr(clone, cell) == pytest.approx(rows[rows.cell == cell].psnr.mean(), abs=1e-3)
    assert psnr(clone, cell) != before[cell]
    assert psnr(clone, other) == before[other]
    changes = json.loads(dvc(clone, "metrics", "diff", "--json"))["figures/mini/metrics.json"]
    assert set(changes) == {f"psnr.{cell}"}

    git(clone, "checkout", "--quiet", ".")
    dvc(clone, "checkout")
    assert psnr(clone, cell) == before[cell]
    assert planned(clone) == set(), "the old results with the old settings"


def test_a_setting_that_is_taken_back_gives_the_old_number(clone: Path) -> None:
    """Whatever DVC remembers of runs."""
    cell, _ = CELLS
    before = psnr(clone, cell)
    choose(clone, override={"cells": {cell: {"attack": {"total_variation": 10.0}}}})
    dvc(clone, "repro")
    assert psnr(clone, cell) != before
    choose(clone, override={})
    dvc(clone, "repro")
    assert psnr(clone, cell) == before
    assert planned(clone) == set()


def test_a_corrected_printed_value_is_compared_with_and_not_recorded_as_done(clone: Path) -> None:
    """Git writes data/ before figures/, so that the changed file is the older one."""
    values = clone / "data/paper_values.csv"
    values.write_text(re.sub(r"(lenet-untrained-proposed,psnr_mean),[\d.]+", r"\1,9.00", values.read_text()))
    os.utime(values, (0, 0))
    assert "data/paper_values.csv" in dvc(clone, "status")
    assert planned(clone) == {"verdict", "fig2", "report"}
    dvc(clone, "repro")
    verdicts = pd.read_csv(clone / "figures/mini/verdicts.csv").query("cell == 'lenet-untrained-proposed'")
    assert 9.0 in set(verdicts.paper_value)
    assert planned(clone) == set()


def test_results_are_pulled_beside_those_of_another_scale_and_in_part(made: Path, tmp_path: Path) -> None:
    """After a run in the clone, as `make demo` is one; what is lacking is made again, and no more."""
    folder = tmp_path / "clone"
    git(made, "clone", "--quiet", str(made), str(folder))
    add_scale(folder, "other", mini("lenet-untrained-proposed"))
    mine = folder / "results/other/data/cifar10-validation.safetensors"
    done(run(folder, "snakemake", "--cores", "2", "--config", "scale=other", "--", str(mine.relative_to(folder))))
    dvc(folder, "pull", "figures")
    assert mine.exists()
    assert planned(folder) == set(), "rows tell what they are of"
    dvc(folder, "pull")
    assert planned(folder) == set()
    shutil.rmtree(folder / "results/mini/reconstructions")
    assert planned(folder, target="reconstructions") == {"attack_short"}


def test_a_changed_experiment_or_scale_is_noticed(clone: Path) -> None:
    """The first as a dependency, since DVC does not read tags; the second as a parameter, whose values it shows."""
    bases = clone / "config/experiments/00-bases.yaml"
    bases.write_text(bases.read_text().replace("step_decay: !code true", "step_decay: !code false"))
    said = dvc(clone, "status")
    assert re.findall(r"modified: +(\S+)", said) == ["config/experiments"] * 3
    assert planned(clone) == {"attack_short", "describe", "measure", "fig2", "verdict", "report"}
    git(clone, "checkout", "--quiet", ".")
    add_scale(clone, "mini", mini(*CELLS, iterations=5))
    assert "cells.[!p]*.attack.iterations" in dvc(clone, "params", "diff")


def test_results_that_were_changed_are_noticed(clone: Path) -> None:
    """By whoever edits a table of results: it is made anew, not recorded."""
    table = clone / "results/mini/metrics/rows/lenet-untrained-proposed/seed0.csv"
    before = table.read_text()
    table.write_text(before.replace("ok", "OK"))
    assert "lenet-untrained-proposed/seed0.csv: damaged" in done(run(clone, "snakemake", "--cores", "2", "all"))
    assert psnr(clone, "lenet-untrained-proposed") == pytest.approx(pd.read_csv(table).psnr.mean(), abs=1e-3)
    assert set(pd.read_csv(table).status) == {"ok"}


def test_an_experiment_at_another_scale(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder, symlinks=True)
    add_scale(folder, "longer", mini("lenet-untrained-proposed", iterations=8))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "another scale")
    dvc(folder, "exp", "run", "--set-param", "scale=longer", "--name", "longer", "reconstructions")
    record = folder / "results/longer/reconstructions/lenet-untrained-proposed/seed0-shard0.json"
    assert json.loads(record.read_text())["settings"]["attack"]["iterations"] == 8
    assert "longer" in dvc(folder, "exp", "show", "--no-pager", "--csv")
    assert (folder / "results/mini/metrics/rows" / CELLS[0] / "seed0.csv").exists(), "the other scale's results stay"


def test_results_behind_a_link_are_refused_before_anything_runs(clone: Path, tmp_path: Path) -> None:
    (clone / "results").rename(tmp_path / "moved")
    (clone / "results").symlink_to(tmp_path / "moved")
    choose(clone, override={"cells": {CELLS[0]: {"attack": {"total_variation": 10.0}}}})
    before = sorted((tmp_path / "moved").rglob("*"))
    refused = run(clone, "dvc", "repro")
    assert refused.returncode != 0
    assert "`dvc cache dir FOLDER`" in refused.stdout + refused.stderr
    assert sorted((tmp_path / "moved").rglob("*")) == before
