"""Attacks on images of the user's own, from the command line to the files."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from invgrad.cli.main import app
from invgrad.cli.parsing import nested, short_form
from invgrad.data.images import fit_image, to_unit
from invgrad.data.registry import describe
from invgrad.data.sources import load
from invgrad.defences.updates import delta_of
from invgrad.metrics.image_quality import psnr
from invgrad.networks.checkpoint import save_victim, untrained
from invgrad.networks.settings import LeNetZhu
from invgrad.results.files import sha256
from invgrad.results.fingerprints import fingerprint, step_code
from invgrad.settings import SettingsError

ROOT = Path(__file__).parents[2]
LENET = ["--network", "lenet-zhu"]
SHORT = ["--set", "iterations=2"]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """CIFAR-10's first two validation images, a cat and a ship."""
    monkeypatch.chdir(ROOT)
    images = load("cifar10", "validation", "packaged", None, limit=2).images
    paths = [tmp_path / "cat.png", tmp_path / "ship.png"]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return paths


def reconstruct(pictures: list[Path], out: Path, *options: str) -> str:
    """What the command prints."""
    images = [word for picture in pictures for word in ("--image", str(picture))]
    result = CliRunner().invoke(app, ["reconstruct", *images, "--out", str(out), "--device", "cpu", *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_an_image_is_recovered_from_its_gradient(pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    reconstruct(pictures[:1], out, *LENET, "--label", "3", "--set", "iterations=300")
    assert torch.equal(pixels(out / "original.png"), pixels(pictures[0]))
    table = pd.read_csv(out / "metrics.csv")
    assert (table.label[0], table.attacked_label[0], table.iterations[0], table.status[0]) == (3, 3, 300, "ok")
    assert table.psnr[0] > 18
    assert table.seconds[0] > 0
    shown, original = (
        to_unit(pixels(out / f"{name}.png"), torch.float32, "cpu") for name in ("reconstruction", "original")
    )
    assert psnr(shown[None], original[None]).item() == pytest.approx(table.psnr[0], abs=0.1)
    errors = pd.read_csv(out / "activation_errors.csv")
    assert errors.kind.tolist() == ["Conv2d", "Sigmoid"] * 3 + ["Flatten", "Linear"]
    assert errors.relative_error.iloc[-1] < 0.1
    record = json.loads((out / "metrics.json").read_text())
    assert record["sha256"] == sha256(out / "metrics.csv")
    assert record["settings"]["attack"]["iterations"] == 300
    assert record["images"] == {str(pictures[0]): sha256(pictures[0])}


def test_the_code_of_a_network_of_ones_own_is_recorded(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "net_in_record.py"
    file.write_text(
        "from torch.nn import Flatten, Linear, Sequential\n"
        "def make(classes, size): return Sequential(Flatten(), Linear(3 * size**2, classes))"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    reconstruct(pictures[:1], tmp_path / "out", "--network", f"{file}:make", "--label", "3", "--set", "iterations=1")
    record = json.loads((tmp_path / "out/metrics.json").read_text())
    assert record["code"] == fingerprint([*step_code("reconstruct"), file])


def test_labels_that_are_not_given_are_predicted_and_said(pictures: list[Path], tmp_path: Path) -> None:
    said = reconstruct(pictures[:1], tmp_path / "out", *LENET, *SHORT)
    label = pd.read_csv(tmp_path / "out/metrics.csv").label[0]
    name = describe("cifar10").class_names[label]
    assert f"cat.png: label {label} ({name}), the network's own prediction" in said
    network = untrained(LeNetZhu(), "cifar10", 0).build()
    split = load("cifar10", "validation", "packaged", None, limit=1)
    mean, std = (torch.tensor(each)[:, None, None] for each in (split.mean, split.std))
    assert network((to_unit(split.images, torch.float32, "cpu") - mean) / std).argmax() == label


def test_several_images_are_one_client_whose_labels_may_be_hidden(pictures: list[Path], tmp_path: Path) -> None:
    """Inferred labels come in ascending order: the ship's reconstruction is the second, whatever the client's order."""
    options = [*LENET, "--label", "8", "--label", "3", "--set", "iterations=200"]
    said = reconstruct(pictures[::-1], tmp_path / "hidden", *options, "--unknown-labels")
    assert said.count("hidden from the server") == 2
    table = pd.read_csv(tmp_path / "hidden/metrics.csv")
    assert table.label.tolist() == [8, 3]
    assert table.attacked_label.tolist() == [8, 3]
    assert set(table.matched_by) == {"assignment"}
    reconstruct(pictures[::-1], tmp_path / "known", *options)
    assert set(pd.read_csv(tmp_path / "known/metrics.csv").matched_by) == {"position"}
    names = {"original-1.png", "original-2.png", "reconstruction-1.png", "reconstruction-2.png"}
    assert {path.name for path in (tmp_path / "known").glob("*.png")} == names


def test_labels_that_are_hidden_may_be_the_same(pictures: list[Path], tmp_path: Path) -> None:
    options = [*LENET, *SHORT, "--label", "8", "--label", "8", "--unknown-labels"]
    reconstruct(pictures, tmp_path / "out", *options)
    assert pd.read_csv(tmp_path / "out/metrics.csv").attacked_label.tolist() == [8, 8]


def test_the_options_reach_the_attack(pictures: list[Path], tmp_path: Path) -> None:
    """Where they come from: defaults, then the file, then --set; another kind drops the defaults of the former."""
    (tmp_path / "attack.yaml").write_text("{iterations: 9, restarts: 2, optimiser: {step_size: 0.5}}")
    shares = "federated-averaging:steps=2,learning_rate=1e-3"
    options = ["--attack", str(tmp_path / "attack.yaml"), "--shares", shares, "--seed", "5", "--label", "1"]
    reconstruct(pictures[:1], tmp_path / "a", *LENET, *options, *SHORT)
    settings = json.loads((tmp_path / "a/metrics.json").read_text())["settings"]
    assert settings["attack"]["optimiser"] == {"kind": "adam", "step_size": 0.5, "signed": True}
    assert (settings["attack"]["iterations"], settings["attack"]["restarts"], settings["seed"]) == (2, 2, 5)
    assert (settings["shares"]["steps"], settings["shares"]["learning_rate"]) == (2, 1e-3)
    reconstruct(pictures[:1], tmp_path / "b", *LENET, *SHORT, "--set", "optimiser.kind=lbfgs", "--attack", "{}")
    settings = json.loads((tmp_path / "b/metrics.json").read_text())["settings"]
    assert settings["attack"]["optimiser"] == {"kind": "lbfgs", "step_size": 1.0}


def test_a_client_may_defend_what_it_shares(pictures: list[Path], tmp_path: Path) -> None:
    options = [*LENET, *SHORT, "--label", "3"]
    defence = {"kind": "noise", "clip": 1.0, "multiplier": 2.0}
    shares = json.dumps({"kind": "gradient", "defence": defence})
    said = reconstruct(pictures[:1], tmp_path / "a", *options, "--shares", shares)
    epsilon = float(re.search(r"this update is \(([\d.]+), 1e-05\)-differentially private", said)[1])  # type: ignore[index]
    assert delta_of(epsilon, 2.0) == pytest.approx(1e-5, rel=0.02)
    assert json.loads((tmp_path / "a/metrics.json").read_text())["settings"]["shares"]["defence"] == defence
    assert "private" not in reconstruct(pictures[:1], tmp_path / "b", *options)
    costs = [pd.read_csv(tmp_path / f"{name}/metrics.csv").matching_cost[0] for name in ("a", "b")]
    assert costs[0] > costs[1], "noise is not matched"


def test_a_checkpoint_serves_as_well(pictures: list[Path], tmp_path: Path) -> None:
    about = untrained(LeNetZhu(), "cifar10", 0)
    checkpoint = tmp_path / "victim.safetensors"
    save_victim(checkpoint, about, about.build())
    reconstruct(pictures[:1], tmp_path / "a", "--victim", str(checkpoint), *SHORT)
    reconstruct(pictures[:1], tmp_path / "b", *LENET, *SHORT)
    assert torch.equal(pixels(tmp_path / "a/reconstruction.png"), pixels(tmp_path / "b/reconstruction.png"))
    for option, value in (("--dataset", "cifar100"), ("--network", "mlp")):
        with pytest.raises(SettingsError, match=f"{option}: .*leave it out"):
            reconstruct(pictures[:1], tmp_path / "c", "--victim", str(checkpoint), option, value)


@pytest.mark.parametrize("option", ["--checkpoint", "--image"])
def test_a_file_that_is_not_there_is_named(option: str, pictures: list[Path], tmp_path: Path) -> None:
    arguments = ["--image", str(pictures[0]), option, "absent", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["reconstruct", *arguments])
    assert result.exit_code == 2
    assert "'absent' does not" in result.output


def test_a_grey_network_sees_a_grey_image(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = tmp_path / "grey_net_of_mine.py"
    module.write_text(
        "from torch import nn\ndef grey(): return nn.Sequential(nn.Flatten(), nn.Linear(256, 4))", encoding="utf-8"
    )
    images = ["--classes", "4", "--size", "16", "--channels", "1", "--mean", "0.5", "--std", "0.25", "--label", "2"]
    said = reconstruct(pictures[:1], tmp_path / "out", "--network", f"{module}:grey", *images, *SHORT)
    assert "32x32 pixels, shorter side resized to 16" in said
    assert "label 2, as given" in said
    original, found = (Image.open(tmp_path / f"out/{name}.png") for name in ("original", "reconstruction"))
    assert (original.mode, found.mode) == ("L", "L")
    smaller = Image.open(pictures[0]).resize((16, 16), Image.Resampling.BILINEAR).convert("L")
    assert (np.asarray(original) == np.asarray(smaller)).all()
    assert json.loads((tmp_path / "out/metrics.json").read_text())["victim"]["mean"] == [0.5]


def test_an_image_of_another_size_is_cropped_at_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((40, 100, 3), dtype=np.uint8)
    wide[:, 30:70] = (10, 20, 30)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image, change = fit_image(tmp_path / "wide.png", size=8, resize=None)
    assert image.shape == (3, 8, 8)
    assert (image[:, :, 1:-1] == torch.tensor([10, 20, 30])[:, None, None]).all()
    assert change == "100x40 pixels, shorter side resized to 8, centre cropped to 8x8"
    Image.fromarray(wide[:8, :8]).save(tmp_path / "small.png")
    assert fit_image(tmp_path / "small.png", size=8, resize=10)[1] == ""


def test_nothing_is_overwritten(pictures: list[Path], tmp_path: Path) -> None:
    reconstruct(pictures[:1], tmp_path / "out", *LENET, *SHORT)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(SettingsError, match=r"out/metrics\.json is there already"):
        reconstruct(pictures[1:], tmp_path / "out", *LENET, *SHORT)
    with pytest.raises(SettingsError, match="no class 10"):  # a wrong input is told first
        reconstruct(pictures[:1], tmp_path / "out", *LENET, *SHORT, "--label", "10")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--network: name one"),
        (["--network", "resnt:depth=18"], "unknown name 'resnt'; nearest: 'resnet'"),
        (["--network", "resnet:depth=[18"], "not valid YAML"),
        (["--network", "resnet:dept=18"], "unknown key 'dept'; nearest: 'depth'"),
        ([*LENET, "--dataset", "cifar"], "unknown data set 'cifar'; nearest: 'cifar10'"),
        ([*LENET, "--dataset", "photos10"], "no published mean and std"),
        ([*LENET, "--classes", "10"], "--size: say how the network's images are"),
        (
            [*LENET, "--classes", "10", "--size", "6"],
            "--size: the structural similarity takes at least 7 pixels, got 6",
        ),
        ([*LENET, "--dataset", "cifar10", "--size", "32"], "--size: data set cifar10 says it"),
        ([*LENET, "--channels", "1", "--size", "32", "--classes", "10"], "3 channels, not of 1"),
        ([*LENET, "--label", "10"], "no class 10; nearest: 9"),
        ([*LENET, "--label", "1", "--label", "2"], "2 labels for 1 images"),
        ([*LENET, "--image", "README.md"], "not a readable image"),
        ([*LENET, "--shares", "federated-averaging:steps=1,batch_size=2"], "batch_size 2 does not divide 1"),
        ([*LENET, "--shares", "federated-averaging:steps=1", "--unknown-labels"], "from a gradient only"),
        ([*LENET, "--set", "optimiser.kind=adamw"], "unknown kind 'adamw'; nearest: 'adam'"),
        ([*LENET, "--set", "restarts=2", "--set", "restarts.x=2"], "'restarts' is 2 already"),
        ([*LENET, "--attack", "README.md"], "README.md"),
    ],
)
def test_a_mistake_stops_before_any_file(pictures: list[Path], tmp_path: Path, options: list[str], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        reconstruct(pictures[:1], tmp_path / "out", *options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("mlp", {"name": "mlp"}),
        ("resnet:depth=18,width=64", {"name": "resnet", "depth": 18, "width": 64}),
        ("resnet:depth=18, strides=[1,1,2,2]", {"name": "resnet", "depth": 18, "strides": [1, 1, 2, 2]}),
        (
            "custom:factory=my.nets:make,arguments={k: 1}",
            {"name": "custom", "factory": "my.nets:make", "arguments": {"k": 1}},
        ),
        ('{"name": "mlp", "widths": [5]}', {"name": "mlp", "widths": [5]}),
    ],
)
def test_short_forms(text: str, meaning: dict[str, object]) -> None:
    assert short_form(text, "name", "--network") == meaning


def test_settings_of_one_group_come_together_in_any_order() -> None:
    wanted = {"optimiser": {"kind": "sgd", "step_size": 0.5}, "box": False}
    assert nested(["optimiser.step_size=0.5", "box=false", "optimiser.kind=sgd"]) == wanted
    assert nested(["optimiser={kind: sgd}", "optimiser.step_size=0.5", "box=false"]) == wanted
