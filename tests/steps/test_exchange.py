"""Results computed elsewhere are taken where they agree with the plan, and small parts of them are enough."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import projects
import pytest

from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.expected import expected
from invgrad.experiments.plan import Plan
from invgrad.results.agreement import Agreement
from invgrad.results.files import sha256
from invgrad.results.provenance import read_record, record_path
from invgrad.settings import SettingsError, read_yaml
from invgrad.steps.exchange import bring_in, pack

CELL = "lenet-untrained-proposed"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one cell."""
    return projects.project(tmp_path_factory.mktemp("clone"), "mini", projects.mini(CELL), artefacts=["table1"])


@pytest.fixture
def plan(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """Its plan; its results are removed at the end."""
    monkeypatch.chdir(clone)
    yield Plan(load(read_yaml(CONFIG)))
    shutil.rmtree("results", ignore_errors=True)


def other(**changes: object) -> Plan:
    """The plan of a clone with other settings, whose results lie elsewhere."""
    return Plan(load(read_yaml(CONFIG) | {"results": "elsewhere"} | changes))


@pytest.fixture
def packed(plan: Plan, tmp_path: Path) -> Path:
    """Rows that were made elsewhere by the same plan, packed."""
    make_rows(other())
    list(pack(other(), tmp_path / "packed"))
    shutil.rmtree("elsewhere")
    return tmp_path / "packed"


def make_rows(plan: Plan) -> Path:
    (path,) = plan.rows(CELL)
    path.parent.mkdir(parents=True)
    pd.DataFrame({"cell": [CELL], "psnr": [20.0]}).to_csv(path, index=False)
    projects.recorded(plan, path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def change_record(folder: Path, **changes: object) -> Path:
    """Change the record of the packed rows."""
    path = folder / f"metrics/rows/{CELL}/seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path.with_suffix(".csv")


def test_rows_and_their_record_are_all_that_a_table_needs(plan: Plan, packed: Path) -> None:
    assert files(packed) == [f"metrics/rows/{CELL}/seed0.csv", f"metrics/rows/{CELL}/seed0.json"]
    assert list(bring_in(plan, packed)) == [f"1 of 1 results taken from {packed}"]
    assert Agreement(plan.files.root, expected(plan)).disagreements() == {}
    assert sha256(plan.rows(CELL)[0]) == sha256(packed / f"metrics/rows/{CELL}/seed0.csv")


def test_what_is_here_is_not_replaced(plan: Plan, packed: Path) -> None:
    plan.rows(CELL)[0].parent.mkdir(parents=True)
    plan.rows(CELL)[0].write_text("mine")
    with pytest.raises(SettingsError, match="no results of scale mini but those that are here already"):
        list(bring_in(plan, packed))
    assert plan.rows(CELL)[0].read_text() == "mine"


@pytest.mark.parametrize("kind", ["settings", "file", "seed", "record"])
def test_what_does_not_agree_is_refused_with_the_reason(kind: str, plan: Plan, packed: Path) -> None:
    where = packed / f"metrics/rows/{CELL}/seed0.csv"
    match kind:
        case "settings":
            override = {"cells": {CELL: {"attack": {"total_variation": 10.0}}}}
            plan = Plan(load(read_yaml(CONFIG) | {"override": override}))
            reason = "of its reconstruction: it was made with other settings: attack.total_variation 0.01, not 10.0"
        case "file":
            where.write_text("cell,psnr\n")
            reason = "it is not as its record says"
        case "seed":
            change_record(packed, settings={"cell": CELL, "seed": 7})
            reason = "it was made with other settings: seed 7, not 0"
        case "record":
            change_record(packed, lineage=None)
            reason = "it has no record of this version"
    assert list(bring_in(plan, packed)) == [f"0 of 1 results taken from {packed}", f"{where}: {reason}"]
    assert not plan.files.root.exists()


@pytest.mark.parametrize(
    ("commit", "changed", "accepted", "is_taken"),
    [
        ("0a1b2c3d4e", False, "", False),
        ("0a1b2c3d4e", False, "0a1b2c3", True),
        ("0a1b2c3d4e", False, "fffffff", False),
        ("0a1b2c3d4e", False, "fffffff 0a1b2c3", True),
        ("0a1b2c3d4e", True, "0a1b2c3", False),
        ("0a1b2c3d4e", True, "0a1b2c3+changes", True),
    ],
)
def test_results_of_other_code_are_taken_only_of_a_commit_that_is_named(
    commit: str, changed: bool, accepted: str, is_taken: bool, plan: Plan, packed: Path
) -> None:
    change_record(packed, code="of another commit", commit=commit, uncommitted_changes=changed)
    taken, *why = bring_in(plan, packed, accepted.split())
    assert taken.startswith("1 of 1" if is_taken else "0 of 1")
    since = f"the code has changed since commit {commit[:7]}{'+changes' * changed}"
    assert [line.split(": ")[1] for line in why] == ([] if is_taken else [since])
    if is_taken:
        assert Agreement(plan.files.root, expected(plan)).disagreements() == {}
        assert "of another commit" in read_record(plan.rows(CELL)[0])["accepted"]


def test_a_name_that_is_no_commit_is_told_before_anything_is_taken(plan: Plan, packed: Path) -> None:
    with pytest.raises(SettingsError, match="'main' is no commit: give 7 or more of its digits"):
        list(bring_in(plan, packed, ["0a1b2c3", "main"]))
    assert not plan.files.root.exists()


def test_what_was_accepted_holds_for_the_code_at_hand_alone(
    plan: Plan, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_record(packed, code="of another commit")
    list(bring_in(plan, packed, ["0000000"]))
    monkeypatch.setattr("invgrad.results.agreement.code_of", lambda *step: "of the next commit")
    (reason,) = Agreement(plan.files.root, expected(plan)).disagreements().values()
    assert reason == "the code has changed since commit 0000000"


def test_of_an_unfinished_run_what_is_finished_is_packed(plan: Plan, tmp_path: Path) -> None:
    more = Plan(load(read_yaml(CONFIG) | {"override": {"clients": {"lenet-untrained": {"seeds": [0, 1]}}}}))
    first, second = more.rows(CELL)
    make_rows(plan)
    assert list(pack(more, tmp_path / "packed"))[1:] == [f"{second}: is not there"]
    assert files(tmp_path / "packed") == [f"metrics/rows/{CELL}/seed0.csv", f"metrics/rows/{CELL}/seed0.json"]
    shutil.copyfile(first, second)
    projects.recorded(more, second)
    lines = list(pack(more, tmp_path / "packed"))
    assert [line.partition(" packed")[0] for line in lines] == ["2 of 2 results"]
    assert len(files(tmp_path / "packed")) == 4


def test_what_is_not_as_the_plan_expects_is_not_packed(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no results to pack; .*seed0\.csv: is not there"):
        list(pack(plan, tmp_path / "packed"))
    path = make_rows(plan)
    record_path(path).unlink()
    with pytest.raises(SettingsError, match=r"no results to pack; .*seed0\.csv: it has no record of this version"):
        list(pack(plan, tmp_path / "packed"))
    with pytest.raises(SettingsError, match="config: artefacts: none of these shows results to pack"):
        list(pack(other(artefacts=["hyperparameters"]), tmp_path / "packed"))
    assert not (tmp_path / "packed").exists()
