"""A cell resolved says of every setting its value, its source and who changed it."""

from pathlib import Path

import pytest
from projects import configuration

from invgrad.experiments.cell_settings import cell_settings
from invgrad.experiments.config import load
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe
from invgrad.settings import SettingsError
from invgrad.steps.describe import write_description

CELL = "lenet-trained-proposed"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


def test_a_line_for_every_setting_says_who_changed_it() -> None:
    override = {
        "cells": {"lenet-*": {"attack": {"total_variation": 0.1}}},
        "victims": {"lenet-trained": {"training": {"epochs": 25}}},
    }
    plan = Plan(load(configuration(override=override, left_out={CELL: "no time"})))
    heading, parts, _, columns, *lines = cell_settings(plan, CELL).splitlines()
    assert heading == f"{CELL} at scale example: LeNet (Zhu), 25 epochs: proposed"
    assert parts == "clients lenet-trained, victim lenet-trained, left out: no time"
    settings = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert list(settings) == list(describe(plan)["cells"][CELL]["settings"])
    assert settings["attack.iterations"] == "2400 code by the scale; paper: 4800"
    assert settings["attack.total_variation"] == "0.1 recalled by the override; paper: 0.01"
    assert settings["attack.snapshots"] == "0 chosen"
    assert settings["victims.dataset"] == "photos10 code by the scale; paper: cifar10"
    assert settings["victims.training.epochs"] == "25 code by the override; paper: 120"
    assert {line[columns.index("value") - 1] for line in lines} == {" "}


def test_an_unknown_cell_is_one_line_with_the_nearest() -> None:
    plan = Plan(load(configuration()))
    nearest = rf"nearest: '{CELL}', '[^']+', '[^']+' \(of {len(plan.cells)}\)$"
    with pytest.raises(SettingsError, match=f"unknown cell 'lenet-traned-proposed'; {nearest}"):
        cell_settings(plan, "lenet-traned-proposed")


def test_for_an_artefact_its_cells_are_named() -> None:
    plan = Plan(load(configuration()))
    cells = ", ".join(plan.project.experiments.artefacts["fig2"].cells)
    with pytest.raises(SettingsError, match=f"'fig2' is an artefact of these cells, show one of them: {cells}$"):
        cell_settings(plan, "fig2")


def test_the_same_lies_beside_the_results(tmp_path: Path) -> None:
    write_description(configuration(), tmp_path / "settings", tmp_path / "description.json")
    plan = Plan(load(configuration()))
    texts = {path.stem: path.read_text() for path in (tmp_path / "settings").iterdir()}
    assert set(texts) == set(plan.cells)
    assert texts[CELL] == cell_settings(plan, CELL) + "\n"
