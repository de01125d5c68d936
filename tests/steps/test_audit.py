"""Audits, from the command line to the files: what the page and its JSON say, and when a build fails."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from invgrad.cli.main import app
from invgrad.data.sources import load
from invgrad.metrics.recovery import interval
from invgrad.results.files import sha256
from invgrad.settings import SettingsError

LENET = ["--network", "lenet-zhu", "--set", "iterations=2"]
MLP = ["--network", "mlp:widths=[8]", "--set", "iterations=1"]
"""A network that begins with a fully connected layer: the image follows in closed form, whatever the attack finds."""


def audit(out: Path, *options: str, code: int = 0) -> str:
    """What the command prints; without --images the images are the 20 of CIFAR-10 that are packaged."""
    result = CliRunner().invoke(app, ["audit", "--out", str(out), "--device", "cpu", *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def content(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty images, ten of them in a subfolder."""
    for number, image in enumerate(load("cifar10", "validation", "packaged", None).images):
        path = tmp_path / "mine" / ("a" if number % 2 else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "mine"


def test_an_attack_that_finds_nothing_says_so_and_claims_no_more(tmp_path: Path) -> None:
    said = audit(tmp_path / "out", *LENET)
    found, page = content(tmp_path / "out"), (tmp_path / "out/audit.html").read_text(encoding="utf-8")
    assert found["outcome"]["recovered"] == {"images": 0, "share": 0, "interval": list(interval(0, 20))}
    assert found["answer"] in said
    assert "recovered none of 20 images (0 % to 16.8 % of all such images" in found["answer"]
    assert found["caveat"] == "Not recovered by this attack is no proof of safety."
    assert page.count(found["caveat"]) == 2
    assert "at least\n72 clients" in page
    assert found["passed"] is None
    assert sorted(row["name"] for row in found["per_image"]) == sorted(f"cifar10-validation-{n}" for n in range(20))
    assert {row["others"] for row in found["per_image"]} == {19}


def test_the_page_loads_nothing_and_the_record_names_it(tmp_path: Path) -> None:
    audit(tmp_path / "out", *LENET)
    page = (tmp_path / "out/audit.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 40
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    record = json.loads((tmp_path / "out/audit.record.json").read_text(encoding="utf-8"))
    assert record["sha256"] == sha256(tmp_path / "out/audit.json")
    assert record["also"] == {"audit.html": sha256(tmp_path / "out/audit.html")}
    assert record["settings"]["clients"] == 20


def test_the_analytic_leak_counts_as_recovered_and_fails_a_build(tmp_path: Path) -> None:
    said = audit(tmp_path / "out", *MLP, "--fail-if-recovered", "50%", code=1)
    found = content(tmp_path / "out")
    assert found["passed"] is False
    assert "failed; the upper end of the interval is 100 %" in said
    assert found["outcome"]["recovered"]["images"] == 20
    assert {row["attack"] for row in found["per_image"]} == {"analytic"}
    assert [(layer["inputs"], layer["of_pixels"], layer["exact"]) for layer in found["layers"]] == [
        (3072, True, 20),
        (8, False, 20),
    ]


def test_a_defence_is_what_is_attacked(tmp_path: Path) -> None:
    shares = json.dumps({"kind": "gradient", "defence": {"kind": "noise", "clip": 1, "multiplier": 1}})
    audit(tmp_path / "out", *MLP, "--shares", shares, "--fail-if-recovered", "0.5")
    found, page = content(tmp_path / "out"), (tmp_path / "out/audit.html").read_text(encoding="utf-8")
    assert found["passed"] is True
    assert found["outcome"]["recovered"]["images"] == 0
    assert [layer["exact"] for layer in found["layers"]] == [0, 0]
    assert "with Gaussian noise of standard deviation 1 added; sent once, this update is (" in page
    assert "The attack does not know of the defence." in page


@pytest.mark.parametrize("shared", ["difference", "parameters"])
def test_one_local_step_leaks_as_the_gradient_does(shared: str, tmp_path: Path) -> None:
    audit(tmp_path / "out", *MLP, "--shares", f"federated-averaging:steps=1,learning_rate=0.1,shared={shared}")
    assert content(tmp_path / "out")["outcome"]["recovered"]["images"] == 20


def test_images_of_one_client_count_as_one_draw(tmp_path: Path) -> None:
    audit(tmp_path / "out", *LENET, "--clients", "5", "--images-per-client", "4")
    found = content(tmp_path / "out")
    assert (found["images"], found["clients"]) == (20, 5)
    assert found["outcome"]["not recovered"]["interval"] == list(interval(1, 5))
    clients = [row["client"] for row in found["per_image"]]
    assert [clients.count(client) for client in range(5)] == [4] * 5


def test_a_sample_that_cannot_show_it_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"20 clients cannot show less than 5 %.*nearest: --clients 72"):
        audit(tmp_path / "out", *LENET, "--fail-if-recovered", "5%")
    with pytest.raises(SettingsError, match=r"20 images, but 72 are needed"):
        audit(tmp_path / "out", *LENET, "--fail-if-recovered", "5%", "--clients", "72")
    with pytest.raises(SettingsError, match=r"--fail-if-recovered: much is no share"):
        audit(tmp_path / "out", *LENET, "--fail-if-recovered", "much")
    with pytest.raises(SettingsError, match=r"fail_if_recovered: 1.5 is out of range"):
        audit(tmp_path / "out", *LENET, "--fail-if-recovered", "150%")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "audit.record.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"audit\.record\.json is there already"):
        audit(tmp_path, *LENET)


def test_a_folder_of_images_serves_as_well(folder: Path, tmp_path: Path) -> None:
    options = ["--images", str(folder), "--clients", "3"]
    audit(tmp_path / "out", *LENET, *options)
    found, page = content(tmp_path / "out"), (tmp_path / "out/audit.html").read_text(encoding="utf-8")
    assert {row["name"] for row in found["per_image"]} < {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.png")
    }
    assert "the network&#39;s own predictions, known to the server" in page
    assert "3 drawn at random from 20 of the folder mine" in page
    with pytest.raises(SettingsError, match=r"--root: .*leave one of the two out"):
        audit(tmp_path / "b", *LENET, *options, "--root", str(tmp_path))
    (folder / "0.png").unlink()
    with pytest.raises(
        SettingsError,
        match=r"--images: the folder .*mine and its subfolders \(.jpg, .jpeg, .png\): 19 images, but 20 are needed",
    ):
        audit(tmp_path / "b", *LENET, *options)


def test_a_network_of_no_known_data_set_needs_images(folder: Path, tmp_path: Path) -> None:
    own = [*MLP, "--classes", "4", "--size", "16", "--clients", "2"]
    with pytest.raises(SettingsError, match=r"--images: name a folder"):
        audit(tmp_path / "out", *own)
    audit(tmp_path / "out", *own, "--images", str(folder))
    assert content(tmp_path / "out")["outcome"]["recovered"]["images"] == 2


def test_the_seed_says_which_images_are_attacked(tmp_path: Path) -> None:
    names = {}
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        audit(tmp_path / out, *LENET, "--clients", "6", "--seed", seed)
        names[out] = {row["name"]: row["psnr"] for row in content(tmp_path / out)["per_image"]}
    assert names["a"] == names["b"]
    assert set(names["a"]) != set(names["c"])
