"""What a plan says of its jobs: which files, which settings, which data."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import configuration

from invgrad.clients.assignment import clients
from invgrad.data.settings import settings_of_split
from invgrad.data.sources import load as load_split
from invgrad.experiments.allocation import Allocation, may_use_gpu
from invgrad.experiments.config import load
from invgrad.experiments.deviations import overridden
from invgrad.experiments.expected import expected as expected_results
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe, notebook_json, settings_hash
from invgrad.networks.settings import TrainStep
from invgrad.performance.cost import BENCH, GPU_BENCH, Speed
from invgrad.performance.estimate import costs
from invgrad.performance.work import works
from invgrad.results.fingerprints import fingerprint, step_code
from invgrad.settings import SettingsError, read_yaml

ROOT = Path(__file__).parents[2]
LONGEST_ARGUMENT = 128 * 1024
"""Bytes of one argument of a command, at most (Linux's MAX_ARG_STRLEN): a job's whole shell command is one."""


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def plan(**changes: Any) -> Plan:
    return Plan(load(configuration(**changes)))


def test_every_file_of_a_job_is_made_by_one_job() -> None:
    every = plan(scale="paper")
    files = [path for cell in every.cells for path in every.reconstructions(cell)]
    files += [path for cell in every.cells for path in every.rows(cell)]
    files += [path for name in every.artefacts for path in every.outputs(name)]
    assert len(files) == len(set(files))


def test_cells_of_two_artefacts_are_there_once() -> None:
    every = plan()
    assert "lenet-untrained-proposed" in every.artefacts["table1"].cells
    assert "lenet-untrained-proposed" in every.artefacts["fig2"].cells
    assert every.cells_of(every.artefacts).count("lenet-untrained-proposed") == 1


def test_a_job_of_several_clients_lasts_an_hour_at_most() -> None:
    """At full scale on the GPU that was timed; a single client's attack is never split."""
    every, gpu = plan(scale="paper"), Speed.read(GPU_BENCH)
    for work in works(every):
        if work.clients * work.seeds > work.jobs:
            assert gpu.attack_hours(work) / work.jobs <= 1, work.cell


def test_cores_go_to_attacks_before_they_go_to_threads() -> None:
    two = plan(scale="paper", artefacts=["fig4", "prop1"], device="cpu")
    assert [Allocation(two).threads("convnet-zeros", cores) for cores in (1, 2, 5, 16)] == [1, 1, 2, 8]
    assert Allocation(two).threads("prop1-n1", 16) == 1
    assert Allocation(plan(scale="small", device="cpu")).threads("resnet20-4-untrained-proposed", 16) == 1
    one = plan(scale="paper", artefacts=["fig4"], left_out={"convnet-zeros": "no time"}, device="cpu")
    assert Allocation(one).threads("convnet-circular", 16) == 16


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of device files, without any, as a torch for GPUs finds it."""
    monkeypatch.setattr("invgrad.experiments.allocation.DEVICE_FILES", tmp_path)
    monkeypatch.setattr("invgrad.experiments.allocation.version", lambda _: "2.9.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_a_gpu_is_expected_where_a_job_could_find_one(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not may_use_gpu("auto")
    (devices / "nvidiactl").touch()
    assert not may_use_gpu("auto"), "a driver without a GPU"
    (devices / "nvidia0").touch()
    assert may_use_gpu("auto")
    assert not may_use_gpu("cpu")
    for visible, expected in {"0": True, "1,0": True, "": False, "-1": False, "-1,0": False}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert may_use_gpu("auto") == expected, visible
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("invgrad.experiments.allocation.version", lambda _: "2.9.0+cpu")
    assert not may_use_gpu("auto"), "a torch that knows no GPU"


@pytest.mark.parametrize(
    ("device", "there", "threads"), [("cuda:1", False, 16), ("auto", True, 16), ("auto", False, 8), ("cpu", True, 8)]
)
def test_on_a_gpu_one_attack_of_a_wide_network_takes_all_cores(
    device: str, there: bool, threads: int, devices: Path
) -> None:
    if there:
        (devices / "nvidia0").touch()
    assert Allocation(plan(scale="paper", artefacts=["fig4"], device=device)).threads("convnet-zeros", 16) == threads


def test_one_training_serves_several_epochs() -> None:
    every = plan()
    step = TrainStep.model_validate_json(every.train_json("lenet-trained", 0))
    assert step.snapshots == (0, 1, 20)
    assert every.victim_file("lenet-epoch20", 0) == every.files.victim("lenet-trained", 0, 20)
    assert every.victim_file("lenet-trained-few", 0) == every.files.victim("lenet-trained", 0)
    last = plan(override={"clients": {"lenet-epoch20": {"epoch": 30}}})
    assert last.victim_file("lenet-epoch20", 0) == last.files.victim("lenet-trained", 0), "the last epoch is the victim"


def test_an_untrained_victim_needs_no_images() -> None:
    every = plan()
    assert every.data_for_training("lenet-untrained") == []
    assert every.data_for_training("resnet32-10") == [], "trained for no epochs at this scale"
    assert len(every.data_for_training("lenet-trained")) == 2


def test_of_a_large_split_only_what_the_clients_hold_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "imagenet/val").mkdir(parents=True)
    every = plan(scale="paper", data_root=str(tmp_path))
    name = "imagenet-resnet18-notebooks"
    assert name in every.data_for_clients(name).name
    assert "--index 1200 --index 8112" in every.data_options("imagenet", "validation", name)
    assert "--index" not in every.data_options("cifar10", "validation", "")
    assert every.data_for_clients("lenet-untrained").name == "cifar10-validation.safetensors"


def test_missing_data_is_told_with_what_can_be_made_without_it(tmp_path: Path) -> None:
    every = plan(scale="paper", data_root=str(tmp_path))
    with pytest.raises(SettingsError, match=r"imagenet is missing: put ILSVRC-2012 .* into") as error:
        every.data_options("imagenet", "validation", "imagenet-resnet152-owl")
    assert "table1, " in str(error.value)
    assert "fig1" not in str(error.value).split("artefacts=")[1]


def test_packaged_images_are_enough_for_every_client() -> None:
    """Of distinct labels, which the configuration alone cannot tell."""
    every = plan()
    for name, group in every.clients.items():
        dataset = every.victim_of(name).dataset
        if dataset != "photos10":
            split = load_split(dataset, group.targets.split, "packaged", None)
            clients(split, **group.targets.model_dump(exclude={"split", "jpeg_quality"}))


def test_a_figure_needs_the_images_of_the_first_network_seed_alone() -> None:
    every = plan(scale="paper")
    seeds = {
        name: {path.name.partition("-")[0] for path in every.shown(name) if "reconstructions" in path.parts}
        for name in ("fig2", "convergence")
    }
    assert seeds == {"fig2": {"seed0"}, "convergence": {f"seed{seed}" for seed in range(5)}}
    rows = {
        path.stem for path in every.shown("fig2") if "lenet-untrained-proposed" in path.parts and path.suffix == ".csv"
    }
    assert rows == {f"seed{seed}" for seed in range(20)}


def test_only_cells_that_ask_for_it_are_judged_among_other_images() -> None:
    every = plan(scale="small")
    rows = {each.path: each for each in expected_results(every) if each.step == "measure"}
    plain, judged = (rows[every.rows(cell)[0]] for cell in ("lenet-untrained-proposed", "defences-untrained-none"))
    assert json.loads(plain.settings()) == {"cell": "lenet-untrained-proposed", "seed": 0}
    assert "others" not in plain.inputs
    assert json.loads(judged.settings()) == {"cell": "defences-untrained-none", "seed": 0, "judged_among": 1000}
    assert judged.inputs["others"] == every.data_for_clients("defences-untrained-none")


def test_the_verdicts_know_which_cells_differ_in_alpha_and_images_alone() -> None:
    cells = describe(plan(scale="paper"))["cells"]
    mine = "lenet-untrained-proposed"
    alike = {name for name, about in cells.items() if about["alike"] == cells[mine]["alike"]}
    powers = [f"1e-{power}" for power in range(1, 7)]
    grid = {f"lenet-untrained-{sweep}{power}" for sweep in ("tv", "others-tv") for power in powers}
    assert alike == grid | {mine, "lenet-untrained-proposed-tv1e-3"}, "copies are other images"
    copies = {name: about["copies_of"] for name, about in cells.items() if about["copies_of"]}
    assert copies == {f"{victim}-copies": f"{victim}-tv1e-2" for victim in ("lenet-untrained", "lenet-trained")}
    printed = {name: about["weight_known"] for name, about in cells.items() if name.endswith("trained-proposed")}
    assert [name for name, known in printed.items() if known] == [mine], "quoted; the others are recalled"
    assert cells["lenet-trained-lbfgs"]["weight_known"], "it has none"


def test_attacks_on_one_victim_start_from_the_same_noise() -> None:
    every = plan(scale="paper")

    def key(cell: str, seed: int = 0) -> str:
        return str(json.loads(every.attack_json(cell, seed))["seed_key"])

    assert key("lenet-untrained-tv1e-2") == key("lenet-untrained-proposed") == key("lenet-untrained-lbfgs")
    assert (
        len({key(cell, seed) for cell in ("lenet-untrained-proposed", "lenet-trained-proposed") for seed in (0, 1)})
        == 4
    )


@pytest.mark.parametrize("scale", ["demo", "small", "paper"])
def test_no_command_is_too_long_for_the_shell(scale: str) -> None:
    every = plan(scale=scale)
    assert max(len(notebook_json(every, name).encode()) for name in every.artefacts) < LONGEST_ARGUMENT / 2
    options = (every.activation_options(cell) for cell in every.artefacts["activation-error"].cells)
    assert max(map(len, options)) < LONGEST_ARGUMENT / 2


def test_a_description_says_what_the_scale_changed() -> None:
    described = describe(plan())
    settings = described["cells"]["lenet-trained-proposed"]["settings"]
    assert settings["attack.iterations"] == {"value": "2400", "provenance": "code", "paper": "4800"}
    assert settings["victims.training.epochs"] == {"value": "30", "provenance": "code", "paper": "120"}
    assert settings["attack.total_variation"]["provenance"] == "recalled"
    assert described["artefacts"]["table1"]["not_made"] is None
    chosen = describe(plan(artefacts=["fig2"]))["artefacts"]
    assert chosen["fig2"]["not_made"] is None
    assert "not among" in chosen["table1"]["not_made"]


def test_a_cell_that_is_left_out_is_neither_run_nor_forgotten() -> None:
    without = plan(left_out={"resnet20-4-*": "no time", "*batch100": "no CIFAR-100"})
    described = describe(without)
    assert without.cells_of(without.project.artefacts) == [
        cell
        for cell in plan().cells_of(plan().artefacts)
        if not cell.startswith("resnet20-4-") and "batch100" not in cell
    ]
    assert "resnet20" not in notebook_json(without, "table1")
    assert len(described["artefacts"]["table1"]["cells"]) == 8
    assert described["cells"]["resnet20-4-trained-proposed"]["left_out"] == "no time"
    assert described["cells"]["lenet-trained-proposed"]["left_out"] is None
    assert described["artefacts"]["table1"]["not_made"] is None
    assert described["artefacts"]["fig7"]["not_made"] == "no CIFAR-100"
    assert described["artefacts"]["hyperparameters"]["not_made"] is None
    assert "fig7" not in without.artefacts, "nor can it be asked for"
    assert "4 of 8 cells were not run." in notebook_json(without, "table1")
    assert "not run" not in notebook_json(without, "ablation")


def at_a_scale(folder: Path, changes: dict[str, Any], **parameters: Any) -> Plan:
    """The plan of a scale like the demo but for these parts."""
    scale = read_yaml(Path("config/scales/demo.yaml")) | changes
    (folder / "own.yaml").write_text(yaml.safe_dump(scale))
    (folder / "small.yaml").write_text(Path("config/scales/small.yaml").read_text())
    return plan(scale="own", scales=str(folder), **parameters)


LEAVES_OUT = {"left_out": {"fedavg-*": "needs scale small", "lenet-trained-lbfgs": "too long"}}


def test_a_scale_leaves_out_cells_unless_all_are_asked_for(tmp_path: Path) -> None:
    scaled = at_a_scale(tmp_path, LEAVES_OUT | {"shown_at": {"table2-images": "small"}})
    described = describe(scaled)
    assert described["artefacts"]["table2-images"]["not_made"] == "needs scale small"
    assert described["artefacts"]["table2-images"]["shown_at"] == "small"
    assert described["artefacts"]["table2"]["shown_at"] is None
    assert "lenet-trained-lbfgs" not in scaled.cells_of(scaled.artefacts)
    by_user = at_a_scale(tmp_path, LEAVES_OUT, left_out={"lenet-*": "no time"})
    assert by_user.project.left_out("lenet-trained-lbfgs") == "no time", "the user's reason comes first"
    whole = at_a_scale(tmp_path, LEAVES_OUT | {"shown_at": {"table2": "small"}}, whole=True)
    assert set(whole.cells_of(whole.artefacts)) == set(whole.cells)
    assert describe(whole)["artefacts"]["table2"]["shown_at"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"left_out": {"fedvag-*": "why"}}, "scale own: left_out: unknown cell 'fedvag-*'; nearest: 'fedavg-"),
        ({"left_out": {"*-lbfgs": "why", "lenet-trained-*": "because"}}, "both say why lenet-trained-lbfgs is left"),
        ({"shown_at": {"table22": "small"}}, "shown_at: unknown artefact 'table22'; nearest: 'table2'"),
        ({"shown_at": {"table2": "smal"}}, "shown_at.table2: unknown scale 'smal'; nearest: 'small'"),
    ],
)
def test_what_a_scale_leaves_out_must_exist(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        at_a_scale(tmp_path, changes)


def test_nothing_left_to_run_says_how_it_can_be_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing is left to run: needs scale small \(nearest: whole=true"):
        at_a_scale(tmp_path, LEAVES_OUT, artefacts=["table2"])


def test_a_victim_whose_checkpoints_are_given_is_not_trained(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    victims = {"lenet-trained": {"dataset": "cifar10", "checkpoints": str(given)}}
    clients = {"*": {"seeds": [0], "targets": {"count": 1}}}
    with pytest.raises(SettingsError, match=re.escape(f"{given}: unknown checkpoint 'seed0.safetensors'")):
        at_a_scale(tmp_path, {"victims": victims, "clients": clients, "cells": {}})


def test_an_artefact_that_is_not_chosen_is_not_said_to_be_left_out() -> None:
    fewer = plan(artefacts=["fig2"], left_out={"resnet20-4-*": "no time", "*batch100": "no CIFAR-100"})
    described = describe(fewer)["artefacts"]
    assert described["table1"]["not_made"] == "not among the artefacts chosen for this run"
    assert described["fig7"]["not_made"] == "no CIFAR-100"
    assert not any("resnet20" in str(path) for path in fewer.shown("table1")), "asked for by name, it is the same"


def test_an_override_of_a_cell_that_is_left_out_changes_nothing_that_is_shown() -> None:
    change: Any = {"left_out": {"resnet20-4-*": "no time"}}
    changed = plan(**change, override={"cells": {"resnet20-4-trained-proposed": {"attack": {"total_variation": 0.1}}}})
    assert settings_hash(changed, "table1") == settings_hash(plan(**change), "table1")


def test_of_several_reasons_the_last_counts() -> None:
    both = plan(left_out={"lenet-*": "no time", "lenet-trained-proposed": "diverges"})
    assert both.project.left_out("lenet-trained-proposed") == "diverges"
    assert both.project.left_out("lenet-untrained-proposed") == "no time"


def test_leaving_cells_out_changes_no_training() -> None:
    """Epochs that only they attack are kept all the same, so that they can be run later."""
    every, without = plan(scale="small"), plan(scale="small", left_out={"lenet-epoch*": "no time"})
    assert every.train_json("lenet-trained", 0) == without.train_json("lenet-trained", 0)
    assert "20" in str(without.snapshots("lenet-trained"))


def test_only_what_an_override_changes_says_so() -> None:
    changed = plan(override={"cells": {"lenet-trained-proposed": {"attack": {"total_variation": 0.1}}}})
    said = " Settings changed by the user: total variation 0.1 (lenet-trained-proposed)."
    assert json.loads(notebook_json(changed, "table1"))["artefact"]["about"].endswith(said)
    assert "Settings changed by the user" not in notebook_json(changed, "fig6")


def test_one_setting_of_several_parts_is_said_once() -> None:
    changed = plan(override={"clients": {"lenet-*-baseline": {"seeds": [7]}}})
    assert overridden(changed.project, "table1") == ["seeds [7] (lenet-untrained-baseline, lenet-trained-baseline)"]


def test_what_an_override_adds_is_new() -> None:
    cell = plan().project.experiments.cells["lenet-untrained-proposed"].model_dump(mode="json")
    override = {"cells": {"mine": cell}, "artefacts": {"table1": {"cells": ["mine"]}}}
    assert overridden(plan(override=override).project, "table1") == ['cells ["mine"]', "new cell (mine)"]


def hashes(**changes: Any) -> dict[str, str]:
    every = plan(**changes)
    given = {name: json.loads(notebook_json(every, name))["artefact"] for name in every.artefacts}
    return {name: artefact["settings_hash"] for name, artefact in given.items()}


def changed_hashes(**changes: Any) -> set[str]:
    before, now = hashes(), hashes(**changes)
    return {name for name in before if before[name] != now[name]}


def test_a_settings_hash_is_of_what_its_artefact_shows() -> None:
    assert hashes() == hashes(figures="elsewhere", artefacts=["fig1"], memory=8.0)
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in hashes().values())
    shown = {"table1", "fig2", "seeds", "more-cifar", "activation-error", "hyperparameters"}
    for part in (
        {"cells": {"lenet-trained-proposed": {"attack": {"total_variation": 0.1}}}},
        {"clients": {"lenet-trained": {"seeds": [7]}}},
    ):
        assert changed_hashes(override=part) == shown
    assert changed_hashes(override={"victims": {"lenet-trained": {"training": {"epochs": 31}}}}) > shown
    assert changed_hashes(override={"artefacts": {"fig2": {"title": "Images"}}}) == {"fig2"}


def test_the_scale_and_the_sources_of_the_data_are_in_the_settings_hash() -> None:
    assert changed_hashes(scale="paper") == set(hashes())
    every = plan()
    moved = Plan(replace(every.project, sources={**every.project.sources, "cifar100": "folder"}))
    differing = {name for name in every.artefacts if settings_hash(every, name) != settings_hash(moved, name)}
    assert differing == {"fig7", "batch100", "hyperparameters"}


def test_costs_add_up_and_count_every_job() -> None:
    every = plan()
    speeds = map(Speed.read, (BENCH, GPU_BENCH))
    table = costs(every, *speeds).set_index("row")
    assert table.loc["table1", "cells"] == 8
    assert table.loc["fig2", "cells"] == 0, "counted with table1"
    assert table.cells.drop("total").sum() == table.loc["total", "cells"] == len(every.cells)
    assert table.loc["fig6", "jobs"] == 4


@pytest.mark.parametrize(("step", "file"), [("data", "datasets.yaml"), ("attack", "_winograd.cpp")])
def test_files_that_a_module_reads_are_part_of_a_step(step: str, file: str) -> None:
    assert file in {Path(name).name for name in step_code(step)}


def test_a_split_of_a_folder_depends_on_its_images(tmp_path: Path) -> None:
    image, out = tmp_path / "data/cifar10/test/cat/0_cat.png", tmp_path / "cifar10-validation.safetensors"
    image.parent.mkdir(parents=True)

    def digest(source: str, indices: list[int] | None = None) -> str | None:
        asked = settings_of_split("cifar10", "validation", source, tmp_path / "data", indices, out)
        return asked["images"]

    image.write_text("old")
    before = digest("folder")
    assert digest("packaged") is None
    image.touch()
    assert digest("folder") == before
    image.write_text("new")
    assert digest("folder") not in (None, before)
    assert digest("folder", [7]) not in (None, before), "one that is not there"


def test_a_fingerprint_is_of_contents_alone(tmp_path: Path) -> None:
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("x = 1")
    before = fingerprint(map(str, files))
    os.utime(files[0], (0, 0))
    assert fingerprint([str(file) for file in reversed(files)]) == before
    other = tmp_path / "elsewhere/a.py"
    other.parent.mkdir()
    other.write_text("x = 1")
    assert fingerprint([str(other), str(files[1])]) == before, "in another clone"
    other.write_text("x = 2")
    assert fingerprint([str(other), str(files[1])]) != before
