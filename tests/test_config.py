"""The configuration is closed, checked as a whole, and says what a scale changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from invgrad.config import CONFIG, load, schema
from invgrad.settings import SettingsError, read_yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def change(**changes: Any) -> Any:
    return load(read_yaml(CONFIG) | changes)


@pytest.mark.parametrize("scale", [path.stem for path in (ROOT / "config/scales").glob("*.yaml")])
def test_every_scale_is_valid(scale: str) -> None:
    assert change(scale=scale).config.scale == scale


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": "nonsense"}, "unknown scale 'nonsense'; nearest: 'demo'"),
        ({"scal": "demo"}, "unknown key 'scal'; nearest: 'scale'"),
        ({"override": {"attacks": {"proposed": {"total_variation": -1}}}}, "total_variation: -1 is out of range"),
        ({"override": {"attacks": {"proposed": {"total_variation": "a lot"}}}}, "total_variation: input should be"),
        ({"override": {"attacks": {"proposed": {"iteration": 5}}}}, "unknown key 'iteration'; nearest: 'iterations'"),
        ({"override": {"attacks": {"propose": {"iterations": 5}}}}, "unknown name 'propose'; nearest: 'proposed'"),
        (
            {"override": {"victims": {"lenet-trained": {"network": {"name": "lenet-zoo"}}}}},
            "unknown name 'lenet-zoo'; nearest: 'lenet-zhu'",
        ),
        ({"override": {"victims": {"lenet-trained": {"dataset": "cifar11"}}}}, "unknown data set 'cifar11'"),
        ({"override": {"cells": {"lenet-trained-proposed": {"attack": "propsed"}}}}, "unknown attack 'propsed'"),
        ({"override": {"clients": {"lenet-trained": {"targets": {"count": 0}}}}}, "count"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        change(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scale_changes_counts_and_data_only(tmp_path: Path) -> None:
    scales = tmp_path / "scales"
    shutil.copytree("config/scales", scales)
    demo = yaml.safe_load((scales / "demo.yaml").read_text())
    demo["attacks"] = {"proposed": {"total_variation": 0.1}}
    (scales / "demo.yaml").write_text(yaml.safe_dump(demo))
    with pytest.raises(SettingsError, match=r"attacks\.proposed\.total_variation: a scale may change nothing but"):
        change(scales=str(scales))


def test_what_changed_is_why_a_cell_is_not_comparable() -> None:
    project = change(override={"attacks": {"proposed": {"total_variation": 0.1, "iterations": 10}}})
    assert project.obstacles("lenet-untrained-proposed") == [
        "iterations 10 instead of 4800",
        "total variation 0.1 instead of 0.01",
    ]
    assert "other data: photos10 instead of cifar10" in project.obstacles("lenet-trained-proposed")


def test_fewer_images_and_more_seeds_are_comparable() -> None:
    project = change()
    assert project.experiments.clients["lenet-untrained"].targets.count == 20
    assert project.paper.clients["lenet-untrained"].targets.count == 100
    assert project.obstacles("lenet-untrained-proposed") == []


def test_the_written_schema_is_that_of_the_code() -> None:
    assert json.loads(Path("config/schema.json").read_text()) == schema(), "run: invgrad schema > config/schema.json"
