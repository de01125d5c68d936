"""The configuration is closed, checked as a whole, and says what a scale changed."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import configuration

from invgrad.attack.settings import SGD, Analytic, Attack
from invgrad.defences.settings import Sign
from invgrad.experiments.config import Project, load, schema
from invgrad.experiments.deviations import deviations
from invgrad.experiments.feasibility import refuse_absent_gpu
from invgrad.networks.settings import ResNet
from invgrad.paper.verdicts import read_values
from invgrad.settings import SettingsError, read_yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


SOURCES = {"cifar10": ["packaged"], "cifar100": ["packaged"], "imagenet64": ["packaged"]}
FEDERATED = {"kind": "federated-averaging", "steps": 1}
UNTRAINED, TRAINED, OWL = "lenet-untrained-proposed", "lenet-trained-proposed", "imagenet-resnet152-owl"
CELL = {"label": "x", "clients": "lenet-trained", "attack": {"iterations": 1}}
LONG = "x" * 300
ARTEFACT = {"title": "x", "where": "x", "about": "x", "cells": [TRAINED], "writes": ["png"]}


def change(**changes: Any) -> Project:
    return load(configuration(**changes))


def attack(**settings: Any) -> dict[str, Any]:
    """An override of one cell's attack."""
    return {"cells": {UNTRAINED: {"attack": settings}}}


def of_clients(**settings: Any) -> dict[str, Any]:
    """An override of one group of clients."""
    return {"clients": {"lenet-untrained": settings}}


def network_of(**settings: Any) -> dict[str, Any]:
    """An override of one victim's network, by default a ConvNet."""
    return {"victims": {"lenet-untrained": {"network": {"name": "convnet"} | settings}}}


def endless() -> list[Any]:
    """A list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


def attack_of(**settings: Any) -> dict[str, Any]:
    """What an override says of a cell."""
    return {"attack": settings}


@pytest.mark.parametrize("scale", [path.stem for path in (ROOT / "config/scales").glob("*.yaml")])
def test_every_scale_is_valid(scale: str) -> None:
    assert change(scale=scale).config.scale == scale


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": "nonsense"}, "unknown scale 'nonsense'; nearest: 'demo'"),
        ({"scal": "demo"}, "unknown key 'scal'; nearest: 'scale'"),
        ({"artefacts": ["table9"]}, "unknown artefact 'table9'; nearest: 'table2'"),
        ({"left_out": {"resnet21-4-*": "no time"}}, "left_out: unknown cell 'resnet21-4-*'; nearest: 'resnet20-4-"),
        ({"left_out": {"resnet20-4-*": " "}}, "left_out.resnet20-4-*: "),
        ({"left_out": {"*": "no time"}, "artefacts": ["table1"]}, "nothing is left to run: no time"),
        ({"sources": {"cifar10": "web"}}, "sources.cifar10: unknown source 'web'"),
        ({"sources": {"cifar11": "folder"}}, "unknown data set 'cifar11'"),
        ({"override": attack(total_variation=-1)}, "total_variation: -1 is out of range"),
        ({"override": attack(total_variation="a lot")}, "total_variation: input should be"),
        ({"override": attack(iteration=5)}, "unknown key 'iteration'; nearest: 'iterations'"),
        ({"override": attack(kind="analitic")}, "unknown kind 'analitic'; nearest: 'analytic'"),
        (
            {"override": {"cells": {"lenet-untraind-proposed": {"attack": {}}}}},
            "nearest: 'lenet-untrained-proposed', '",
        ),
        ({"override": {"cells": {"lenet-untraind*": {"attack": {"iterations": 1}}}}}, "unknown name 'lenet-untraind*'"),
        (
            {"override": {"victims": {"lenet-trained": {"network": {"name": "lenet-zoo"}}}}},
            "unknown name 'lenet-zoo'; nearest: 'lenet-zhu'",
        ),
        ({"override": {"victims": {"lenet-trained": {"dataset": "cifar11"}}}}, "unknown data set 'cifar11'"),
        ({"override": {"cells": {TRAINED: {"clients": "lenet-traind"}}}}, "unknown clients 'lenet-traind'"),
        ({"override": {"cells": {TRAINED: {"provenance": {"attack": "code"}}}}}, "unknown key 'provenance'"),
        (
            {"override": {"cells": {"lenet-*": attack_of(totalvariation=1)}}},
            "'totalvariation'; nearest: 'total_variation'",
        ),
        ({"override": {"artefacts": {"fig2": {"cells": ["lenet-untraind-*"]}}}}, "unknown cell 'lenet-untraind-*'"),
        (
            {"override": {"cells": {"lenet-*": attack_of(restarts=2), "*-proposed": attack_of(restarts=3)}}},
            "'lenet-*' and '*-proposed' both change attack.restarts of lenet-untrained-proposed, and neither is",
        ),
        (
            {"left_out": {"lenet-*": "no time", "*-proposed": "no need"}},
            "'lenet-*' and '*-proposed' both say why lenet-untrained-proposed is left out, and neither is narrower",
        ),
        ({"override": {"cells": {TRAINED: {"variant_of": "lenet-traind"}}}}, "unknown cell 'lenet-traind'"),
        (
            {"override": {"cells": {TRAINED: {"variant_of": UNTRAINED}}}},
            "attacks the clients 'lenet-untrained', which have",
        ),
        ({"override": {"clients": {"lenet-trained": {"targets": {"count": 0}}}}}, "count"),
        ({"override": {"clients": {"lenet-untrained": {"targets": {"count": 21}}}}}, "but packaged has 20"),
        ({"override": {"clients": {"convnet": {"targets": {"indices": [3, 20]}}}}}, "but packaged has 20"),
        ({"override": {"clients": {"fig1-x": {"targets": {"indices": [3]}}}}}, "unknown name 'fig1-x'"),
        ({"override": {"clients": {"lenet-epoch1": {"epoch": 99}}}}, "lenet-trained has no epoch 99; nearest: 30"),
        ({"override": {"victims": {"lenet-trained": {"dataset": "cifar10"}}}}, "has no train images of cifar10"),
        (
            {"override": {"clients": {"lenet-trained": {"labels_known": False, "shares": FEDERATED}}}},
            "labels can be inferred",
        ),
        ({"override": {"clients": {"mlp-n1": {"shares": FEDERATED}}}}, "an analytic attack needs a gradient"),
        ({"override": {"artefacts": {"fig99": ARTEFACT}}}, "there is no notebook notebooks/fig99.py"),
        ({"override": {"cells": {"Bad_Name": CELL}}}, "Bad_Name"),
        ({"device": "gpu"}, "device: string should match pattern"),
        ({"results": "my results"}, "no spaces"),
        ({"paper_values": "nope.csv"}, "nope.csv: cannot be read"),
        ({"experiments": "figures/small/fig2.png"}, "cannot be read"),
        ({"open_details": "params.yaml"}, "params.yaml: unknown key 'scale'"),
        ({"paper_values": "config/README.md"}, "config/README.md: line 1: unknown column"),
        ({"results": "a;b"}, "no spaces and no other than"),
        ({"paper_values": "{seed}.csv"}, "no spaces and no other than"),
        ({"figures": "x" * 300}, "a name of 300 characters"),
        ({"data_root": "a\0b"}, "data_root: a\\x00b: holds a control character"),
        ({"scale": yaml.safe_load("2020-01-01")}, "scale: must be text, a number, true, false or null, but is a date"),
        ({"artefacts": []}, "artefacts: value should have at least 1 item"),
        ({"artefacts": ["fig2", "fig2"]}, "artefacts: 'fig2' is there twice"),
        ({"memory": 1e300}, "memory: 1e+300 is out of range"),
        ({"checkpoint": {"seconds": 1e-300}}, "checkpoint.seconds: 1e-300 is out of range"),
        ({"device": "cuda:100"}, "device: string should match"),
        ({"left_out": {"*": "x" * 30_000}}, "left_out: *: a text of 30,000 characters"),
        ({"override": of_clients(seeds=[0, 0])}, "clients.lenet-untrained.seeds: 0 is there twice"),
        ({"override": of_clients(seeds=[10**30])}, "seeds: a number out of range (nearest: 9007199254740992)"),
        ({"override": of_clients(seeds=[-(10**5000)])}, "seeds: a number out of range (nearest: -9007199254740992)"),
        ({"override": of_clients(targets={"indices": [3, 4, 3]})}, "targets.indices: 3 is there twice"),
        ({"override": of_clients(victim={"name": "mlp"})}, "victim: input should be a valid string"),
        ({"override": of_clients(victim=["mlp"])}, "victim: input should be a valid string"),
        ({"override": of_clients(shares=FEDERATED | {"steps": 10**9})}, "1,000,000,000 local steps (nearest: 100,000)"),
        ({"override": {"cells": {"lenet-*": 5}}}, "override.cells.lenet-*: input should be a valid dictionary"),
        ({"override": {"cells": [UNTRAINED]}}, "override.cells: input should be a valid dictionary"),
        ({"override": {"cell": {}}}, "override.cell"),
        ({"override": {"artefacts": {"fig2": {"cells": {"a": 1}}}}}, "cells: input should be a valid tuple"),
        ({"override": {"artefacts": {"fig2": {"cells": [["a"]]}}}}, "cells.0: input should be a valid string"),
        ({"override": {"artefacts": {"all": ARTEFACT}}}, "the workflow has a rule or a file of this name"),
        ({"override": {"artefacts": {"verdicts": ARTEFACT}}}, "the workflow has a rule or a file of this name"),
        ({"override": attack(iterations=10**15)}, "iterations: 1000000000000000 is out of range"),
        ({"override": attack(total_variation=float("nan"))}, "total_variation: nan is not a finite number"),
        ({"override": attack(start={"kind": "picture", "path": "nope.png"})}, "start.path: there is no file nope.png"),
        ({"override": attack(layers=endless())}, "config: holds more than 50 levels or 1,000,000 values"),
        (
            {"override": {"cells": {LONG: CELL}, "artefacts": {"fig2": {"cells": [LONG]}}}},
            "string should have at most 200 characters",
        ),
        ({"override": network_of(width=10**9)}, "width: 1000000000 is out of range"),
        ({"override": network_of(width=2**16)}, "parameters (nearest: 4,294,967,296)"),
        ({"override": network_of(name="densenet", blocks=[10**9])}, "blocks.0: 1000000000 is out of range"),
        ({"override": network_of(name="torchvision", model="alexnet")}, "takes no 32×32 images"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        change(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"cells": {UNTRAINED: {"attack": {"total_variation": 0.1}}}}, "attack.total_variation: a scale may change"),
        ({"cells": {"*": {"attack": {"total_variation": 0.1}}}}, "cells.*.attack.total_variation: a scale may change"),
        ({"cells": {UNTRAINED: {"attack": {"layers": {"count": 1}}}}}, "attack.layers.count: a scale may change"),
        ({"victims": {"lenet-untrained": {"training": {"epochs": 1}}}}, "training.epochs: a scale may change"),
        ({"victims": {"lenet-*": {"training": {"epochs": 1}}}}, "lenet-*.training.epochs: a scale may change"),
        ({"clients": {"lenet-epoch1": {"epoch": 2}}}, "clients.lenet-epoch1.epoch: a scale may change"),
        ({"artefacts": {"table1": {"cells": [UNTRAINED, "fedavg-e1-n4-b2"]}}}, "unknown cell 'fedavg-e1-n4-b2'"),
        ({"sources": {"cifar10": ["packaged"]}}, "unknown data set"),
        ({"sources": SOURCES | {"photos10": ["web"]}}, "sources.photos10: unknown source 'web'"),
        ({"sources": SOURCES | {"photos10": []}}, "sources.photos10: tuple should have at least 1 item"),
        ({"artefacts": {"table1": {"cells": 5}}}, "artefacts.table1.cells: input should be a valid tuple"),
        ({"artefacts": {"table1": {"cells": [{"a": 1}]}}}, "artefacts.table1.cells.0: input should be a valid string"),
    ],
)
def test_a_scale_changes_counts_and_data_only(patch: dict[str, Any], words: str, tmp_path: Path) -> None:
    example = read_yaml(Path("tests/scales/example.yaml"))
    (tmp_path / "example.yaml").write_text(yaml.safe_dump(example | patch))
    with pytest.raises(SettingsError) as caught:
        change(scales=str(tmp_path))
    assert words in str(caught.value)


def test_values_of_an_override_may_be_text_as_snakemake_hands_them_on() -> None:
    override = {"victims": {"lenet-trained": {"training": "null", "network": {"name": "resnet", "depth": "20"}}}}
    override |= {"artefacts": {"training-curve": {"cells": ["lenet-epoch0"]}}}
    victim = change(override=override).experiments.victims["lenet-trained"]
    assert victim.training is None
    assert victim.network == ResNet(depth=20)


def test_another_kind_of_optimiser_brings_its_own_defaults() -> None:
    found = change(override=attack(optimiser={"kind": "sgd"})).experiments.cells[UNTRAINED].attack
    assert isinstance(found, Attack)
    assert found.optimiser == SGD()


def test_a_pattern_changes_every_part_that_it_fits() -> None:
    cells = change(override={"cells": {"[!p]*": attack_of(iterations=7), "lenet-*": attack_of(restarts=2)}})
    attacks = {name: cell.attack for name, cell in cells.experiments.cells.items()}
    assert {each.iterations for each in attacks.values() if isinstance(each, Attack)} == {7}
    assert isinstance(attacks["prop1-n1"], Analytic)
    restarts = {name: each.restarts for name, each in attacks.items() if isinstance(each, Attack)}
    assert restarts["lenet-untrained-proposed"] == 2
    assert restarts["convnet-zeros"] == 1


@pytest.mark.parametrize("name", ["lenet-untrained", "lenet-*", "lenet-untrained*"])
def test_a_change_adds_what_a_part_has_only_as_a_default(name: str) -> None:
    experiments = change(override={"clients": {name: {"shares": {"defence": {"kind": "sign"}}}}}).experiments
    changed = [part for part in experiments.clients if fnmatch(part, name)]
    assert {experiments.clients[part].shares.defence for part in changed} == {Sign()}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_patterns_the_narrower_wins_in_any_order(order: int) -> None:
    changes = {UNTRAINED: attack_of(restarts=4), "[!p]*": attack_of(restarts=2), "lenet-*": attack_of(restarts=3)}
    cells = change(override={"cells": dict([*changes.items()][::order])}).experiments.cells
    names = [UNTRAINED, TRAINED, "convnet-zeros"]
    assert [each.restarts for name in names if isinstance(each := cells[name].attack, Attack)] == [4, 3, 2]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_reasons_the_narrower_counts(order: int) -> None:
    project = change(left_out=dict([("lenet-*", "wide"), ("lenet-*-proposed", "narrow")][::order]))
    assert project.left_out(UNTRAINED) == "narrow"
    assert project.left_out("lenet-untrained-lbfgs") == "wide"


def test_patterns_name_the_cells_of_an_artefact() -> None:
    shown = change(
        override={"artefacts": {"fig2": {"cells": ["lenet-*trained-proposed", UNTRAINED]}}}
    ).experiments.artefacts
    assert shown["fig2"].cells == (UNTRAINED, TRAINED)
    assert len(change(scale="paper").experiments.artefacts["tv-sweep"].cells) == 48


def test_a_label_is_no_deviation() -> None:
    assert deviations(change(override={"cells": {UNTRAINED: {"label": "A", "variant": "B"}}}), UNTRAINED) == []


def test_labels_say_what_the_network_really_is() -> None:
    experiments, papers = (each.experiments for each in (change(), change(scale="paper")))
    assert experiments.names("resnet18-w16-untrained-proposed")["label"] == "ResNet-18, base width 2"
    assert experiments.names("resnet20-4-trained-proposed")["label"] == "ResNet-20, base width 8, 2 epochs: proposed"
    assert papers.names("resnet20-4-untrained-lbfgs")["label"].startswith("ResNet20-4, untrained")


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("{network}: {training}", "LeNet (Zhu): untrained"),
        ("{foo} {0} {} {", "{foo} {0} {} {"),
        ("{network:>30000000000}", "{network:>30000000000}"),
        ("{network!r} {network.__class__}", "{network!r} {network.__class__}"),
    ],
)
def test_other_braces_in_a_label_stay(label: str, shown: str) -> None:
    experiments = change(override={"cells": {UNTRAINED: {"label": label}}}).experiments
    assert experiments.names(UNTRAINED)["label"] == shown


@pytest.mark.parametrize("key", ["results", "figures"])
def test_dvc_is_told_at_once_that_a_folder_is_on_another_disk(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake alone may have its results there."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / key).symlink_to(tmp_path / "disk")
    changes = {name: str(tmp_path / "repository" / name) for name in ("results", "figures")}
    assert change(**changes).config.device == "auto"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    with pytest.raises(SettingsError, match=f"config: {key}: .*outside of the repository.*`dvc cache dir FOLDER`"):
        change(**changes)


def test_a_gpu_that_is_not_there_is_named_where_there_are_some(tmp_path: Path) -> None:
    refuse_absent_gpu("cuda:99", tmp_path / "none")
    for number in range(2):
        (tmp_path / str(number)).mkdir()
    for device in ("auto", "cpu", "cuda", "cuda:1"):
        refuse_absent_gpu(device, tmp_path)
    with pytest.raises(SettingsError, match=r"there is no cuda:2 \(nearest: cuda:1\)"):
        refuse_absent_gpu("cuda:2", tmp_path)


def test_a_variant_stands_behind_the_label() -> None:
    assert change(scale="paper").experiments.names("lenet-trained-lbfgs-tv1e-4") == {
        "network": "LeNet (Zhu)",
        "training": "120 epochs",
        "attack": "LeNet (Zhu), 120 epochs: Eucl. loss + L-BFGS",
        "variant": "α = 1e-4",
        "label": "LeNet (Zhu), 120 epochs: Eucl. loss + L-BFGS, α = 1e-4",
    }


def test_what_changed_is_why_a_cell_is_not_comparable() -> None:
    project = change(override=attack(total_variation=0.1, iterations=10))
    assert sorted(deviations(project, UNTRAINED)) == [
        "10 instead of 4,800 iterations",
        "α = 0.1 instead of 0.01",
    ]
    assert "other data: ten photographs instead of CIFAR-10" in deviations(project, TRAINED)


@pytest.mark.parametrize(
    ("cell", "change_of", "words"),
    [
        (OWL, {"victims": {"imagenet-resnet152": {"network": {"weights": None}}}}, "untrained instead of pretrained"),
        (OWL, {"clients": {OWL: {"targets": {"indices": [2, 3]}}}}, "other images: 2, 3 instead of 1200"),
        (OWL, {"clients": {OWL: {"targets": {"start": 5}}}}, "images from position 5 instead of 0 on"),
        ("ablation-lbfgs", {"victims": {"resnet18-trained": {"training": None}}}, "untrained instead of trained"),
        (TRAINED, {"victims": {"lenet-trained": {"training": {"epochs": 90}}}}, "90 instead of 120 epochs of training"),
        ("fedavg-e5-n1-b1", {"clients": {"fedavg-e5-n1-b1": {"shares": {"epochs": 2}}}}, "2 instead of 5 local epochs"),
        (UNTRAINED, attack(box=False), "box no instead of yes"),
        (UNTRAINED, attack(median_filter_every=500), "median filter every 500 instead of none"),
        (UNTRAINED, attack(weighting="linear"), "weighting linear instead of equal"),
    ],
)
def test_deviations_are_told_as_a_reader_of_the_paper_would(cell: str, change_of: dict[str, Any], words: str) -> None:
    assert words in deviations(change(scale="paper", override=change_of), cell)


def test_fewer_images_and_more_seeds_are_comparable() -> None:
    project = change()
    assert project.experiments.clients["lenet-untrained"].targets.count == 20
    assert project.paper.clients["lenet-untrained"].targets.count == 100
    assert deviations(project, UNTRAINED) == []
    assert deviations(change(scale="paper"), UNTRAINED) == []


def test_data_that_is_nowhere_is_missing_and_no_error(tmp_path: Path) -> None:
    project = change(scale="paper", data_root=str(tmp_path))
    assert set(project.missing) == {"imagenet"}
    assert str(tmp_path / "imagenet") in project.missing["imagenet"]
    (tmp_path / "imagenet/val").mkdir(parents=True)
    assert not change(scale="paper", data_root=str(tmp_path)).missing


def test_every_setting_of_the_paper_has_a_source() -> None:
    """But for what is beyond the paper, where we chose, and how much is run, which a reader sees."""
    project = change(scale="paper")
    for name, cell in project.paper.cells.items():
        settings = {f"attack.{setting}" for setting in type(cell.attack).model_fields}
        assert set(project.written.sources["cells"][name]) >= settings, name
    for name, victim in project.paper.victims.items():
        known = project.written.sources["victims"][name]
        assert set(known) >= {"network", "dataset"} | ({"training"} if victim.epochs else set()), name


def test_only_the_quoted_weight_is_marked_as_quoted() -> None:
    sources = change(scale="paper").written.sources["cells"]
    quoted = {(name, path) for name, cell in sources.items() for path, source in cell.items() if source == "quoted"}
    assert quoted == {(UNTRAINED, "attack.total_variation")}


def test_every_value_that_the_paper_reports_has_its_cell_and_artefact() -> None:
    project = change(scale="paper")
    for value in read_values(project.config.paper_values).to_dict("records"):
        assert value["cell"] in project.experiments.artefacts[value["id"]].cells


def test_the_written_schema_is_that_of_the_code() -> None:
    assert json.loads(Path("config/schema.json").read_text()) == schema(), "run: invgrad schema > config/schema.json"
