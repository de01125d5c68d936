"""Attacks on a gradient in a file, of a network of the user's own, from the command line to the files."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from invgrad.cli.main import app
from invgrad.metrics.image_quality import psnr
from invgrad.networks.checkpoint import save_victim, untrained
from invgrad.networks.settings import LeNetZhu
from invgrad.results.files import sha256
from invgrad.settings import SettingsError

FACTORY = """
from torch import nn


def small(channels=1, *, width=6):
    body = [nn.Conv2d(channels, width, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(width, width, 5, 2, 2), nn.Sigmoid()]
    network = nn.Sequential(*body, nn.Flatten(), nn.Linear(16 * width, 5))
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return network
"""
NETWORK = ["--network", "nets_with_gradients.py:small,width=8"]
GREY = [*NETWORK, "--classes", "5", "--size", "16", "--channels", "1", "--mean", "0.4", "--std", "0.3"]
SHORT = ["--set", "iterations=2"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a clone, in which the user has a module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "nets_with_gradients", raising=False)
    Path("nets_with_gradients.py").write_text(FACTORY, encoding="utf-8")


def network(channels: int = 1, seed: int = 0) -> nn.Sequential:
    """As the command builds it."""
    names: dict[str, Any] = {}
    exec(FACTORY, names)
    torch.manual_seed(seed)
    made: nn.Sequential = names["small"](channels, width=8)
    return made


def images(channels: int = 1, count: int = 1) -> Tensor:
    """Smooth ones, in [0, 1]."""
    steps = torch.linspace(0, 3, 16)
    waves = [
        (steps * (1 + c) + n).sin()[:, None] * (steps + c + n).cos() for n in range(count) for c in range(channels)
    ]
    return torch.stack(waves).reshape(count, channels, 16, 16) / 2 + 0.5


def gradient(channels: int = 1, count: int = 1, labels: tuple[int, ...] = (3,), seed: int = 0) -> dict[str, Tensor]:
    """What a client with these images shares, whose network takes a mean of 0.4 and a standard deviation of 0.3."""
    victim = network(channels, seed)
    logits = victim((images(channels, count) - 0.4) / 0.3)
    tensors = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.tensor(labels)), [*victim.parameters()])
    return dict(zip(dict(victim.named_parameters()), tensors, strict=True))


def attack(file: str | Path, out: str, *options: str) -> str:
    """What the command prints."""
    arguments = ["attack-gradient", "--gradient", str(file), "--out", out, "--device", "cpu", *options]
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def found(out: str) -> Tensor:
    """Images in [0, 1]."""
    return load_file(Path(out) / "reconstruction.safetensors")["images"]


def test_a_gradient_of_grey_images_gives_the_image() -> None:
    save_file(gradient(), "gradient.safetensors")
    said = attack("gradient.safetensors", "out", *GREY, "--set", "iterations=400", "--set", "restarts=2")
    assert "out/reconstruction.png: label 3, inferred; gradient-matching loss" in said
    assert psnr(found("out"), images()).item() > 25
    picture = Image.open("out/reconstruction.png")
    assert (picture.mode, picture.size) == ("L", (16, 16))
    assert abs(np.asarray(picture) / 255 - found("out")[0, 0].clamp(0, 1).numpy()).max() < 0.003
    record = json.loads(Path("out/reconstruction.json").read_text(encoding="utf-8"))
    assert record["sha256"] == sha256(Path("out/reconstruction.safetensors"))
    assert record["also"] == {"reconstruction.png": sha256(Path("out/reconstruction.png"))}
    assert record["inputs"] == {"gradient": sha256(Path("gradient.safetensors"))}
    assert (record["settings"]["size"], record["settings"]["attack"]["iterations"]) == (16, 400)
    assert record["settings"]["network"]["arguments"] == {"width": 8}
    assert {path.name for path in Path("out").iterdir()} == {
        f"reconstruction.{kind}" for kind in ("png", "safetensors", "json")
    }


WRITERS: dict[str, Callable[[dict[str, Tensor]], None]] = {
    "a.safetensors": lambda tensors: save_file(tensors, "a.safetensors"),
    "a.pt": lambda tensors: torch.save(dict(reversed(tensors.items())), "a.pt"),
    "a.pth": lambda tensors: torch.save([*tensors.values()], "a.pth"),
    "a.npz": lambda tensors: np.savez("a.npz", **{name: each.numpy() for name, each in tensors.items()}),
    "b.npz": lambda tensors: np.savez("b.npz", *[each.numpy() for each in tensors.values()]),
    "wrapped.pt": lambda tensors: torch.save({f"module.{name}": each for name, each in tensors.items()}, "wrapped.pt"),
}


@pytest.fixture
def plain() -> Tensor:
    """What two iterations find."""
    save_file(gradient(), "gradient.safetensors")
    attack("gradient.safetensors", "plain", *GREY, *SHORT)
    return found("plain")


@pytest.mark.parametrize("name", WRITERS)
def test_a_gradient_may_be_in_any_file(name: str, plain: Tensor) -> None:
    WRITERS[name](gradient())
    attack(name, "out", *GREY, *SHORT)
    assert torch.equal(found("out"), plain)


def test_a_change_by_training_is_a_gradient(plain: Tensor) -> None:
    torch.save({name: -0.25 * each for name, each in gradient().items()}, "change.pt")
    attack("change.pt", "out", *GREY, *SHORT, "--learning-rate", "0.25")
    assert torch.equal(found("out"), plain)


@pytest.mark.parametrize("end", [".pt", ".safetensors", ".npz"])
def test_parameters_of_the_users_own_are_loaded(end: str, plain: Tensor) -> None:
    state = network(seed=7).state_dict()
    match end:
        case ".pt":
            torch.save({f"module.{name}": each for name, each in state.items()}, "weights.pt")
        case ".safetensors":
            save_file(state, "weights.safetensors")
        case _:
            np.savez("weights.npz", **{name: each.numpy() for name, each in state.items()})
    save_file(gradient(seed=7), "seven.safetensors")
    said = attack("seven.safetensors", "out", *GREY, "--checkpoint", f"weights{end}", "--set", "iterations=100")
    assert "label 3, inferred" in said
    assert psnr(found("out"), images()).item() > 15
    record = json.loads(Path("out/reconstruction.json").read_text(encoding="utf-8"))
    assert record["checkpoint"] == sha256(Path(f"weights{end}"))


def test_a_checkpoint_of_ours_says_what_it_is_of() -> None:
    about = untrained(LeNetZhu(), "cifar10", 0)
    victim = about.build()
    save_victim(Path("victim.safetensors"), about, victim)
    loss = nn.functional.cross_entropy(victim(torch.rand(2, 3, 32, 32)), torch.tensor([1, 5]))
    torch.save(torch.autograd.grad(loss, [*victim.parameters()]), "gradient.pt")
    said = attack("gradient.pt", "out", "--checkpoint", "victim.safetensors", "--labels", "1,5", *SHORT)
    assert "reconstruction-2.png: label 5, as given" in said
    assert Image.open("out/reconstruction-1.png").mode == "RGB"
    attack("gradient.pt", "same", "--network", "lenet-zhu", "--dataset", "cifar10", "--labels", "1,5", *SHORT)
    assert torch.equal(found("out"), found("same"))
    for option in ("--classes", "--channels"):
        with pytest.raises(SettingsError, match=rf"{option}: .*says it; leave it out"):
            attack("gradient.pt", "not", "--checkpoint", "victim.safetensors", option, "3")


def test_channels_that_no_picture_has_are_shown_beside_each_other() -> None:
    save_file(gradient(channels=4), "gradient.safetensors")
    attack("gradient.safetensors", "out", *NETWORK, "--classes", "5", "--size", "16", "--channels", "4", *SHORT)
    picture = Image.open("out/reconstruction.png")
    assert (picture.mode, picture.size) == ("L", (64, 16))
    assert np.asarray(picture)[:, 16:32].tolist() == (255 * found("out")[0, 1].clamp(0, 1)).round().tolist()


def test_nothing_is_overwritten(plain: Tensor) -> None:
    before = {path: path.read_bytes() for path in Path("plain").iterdir()}
    with pytest.raises(SettingsError, match=r"plain/reconstruction\.safetensors is there already; name another folder"):
        attack("gradient.safetensors", "plain", *GREY, *SHORT)
    torch.save([*gradient().values()][:3], "short.pt")
    with pytest.raises(SettingsError, match="gradient: 3 tensors"):  # a wrong input is told first
        attack("short.pt", "plain", *GREY, *SHORT)
    assert {path: path.read_bytes() for path in Path("plain").iterdir()} == before


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("run",)


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("code.pt", GREY, "reading these could run code"),
        ("code.npz", GREY, "not readable: Object arrays cannot be loaded"),
        ("broken.pt", GREY, "broken.pt: "),
        ("broken.safetensors", GREY, "broken.safetensors: not readable"),
        ("empty.pt", GREY, "empty.pt: not readable: EOFError"),
        ("list.csv", GREY, "unknown kind of file '.csv'; nearest: '.pt' (known: .npz, .pt, .pth, .safetensors)"),
        ("short.pt", GREY, "gradient: 3 tensors"),
        ("gradient.pt", NETWORK, "--classes: say how the network's images are"),
        ("gradient.pt", [*NETWORK, "--classes", "5"], "--size: say how"),
        ("gradient.pt", [*GREY, "--mean", "1,2"], "--mean: 2 values for 1 channels"),
        ("gradient.pt", [*GREY, "--std", "0"], "std.0: 0 is out of range"),
        ("gradient.pt", [*GREY, "--dataset", "cifar10"], "--classes: data set cifar10 says it"),
        ("gradient.pt", [*GREY, "--size", "17"], "takes no 17×17 images"),
        ("gradient.pt", [*GREY, "--labels", "5"], "labels: must lie in 0..4"),
        ("gradient.pt", [*GREY, "--labels", "1,2", "--images", "3"], "labels: [1, 2] instead of [1, 3]"),
        ("gradient.pt", [*GREY, "--labels", "[1"], "--labels: [1: not valid YAML"),
        ("gradient.pt", [*GREY, "--learning-rate", "0"], "learning_rate"),
        ("gradient.pt", [*GREY, "--set", "snapshots=3"], "kept in the pipeline only"),
        ("gradient.pt", [*GREY, "--checkpoint", "gradient.pt"], "gradient.pt: does not fit the network"),
        ("gradient.pt", [*GREY, "--checkpoint", "short.pt"], "save network.state_dict()"),
        ("gradient.pt", [*GREY, "--checkpoint", "numbered.pt"], "numbered.pt: does not fit the network"),
        ("gradient.pt", [], "--network: name one, or a checkpoint of ours"),
        (
            "gradient.pt",
            [*GREY, "--network", "nets_with_gradients.py:smal"],
            "unknown factory 'smal'; nearest: 'small'",
        ),
        ("gradient.pt", [*GREY, "--network", "lenet-zhu"], "3 channels, not of 1"),
    ],
)
def test_a_mistake_stops_before_any_file(file: str, options: list[str], words: str) -> None:
    tensors = gradient()
    torch.save({**tensors, "1.weight": tensors["0.weight"]} if "gradient.pt" in options else tensors, "gradient.pt")
    torch.save([*tensors.values()][:3], "short.pt")
    torch.save(dict(enumerate(tensors.values())), "numbered.pt")
    torch.save([Code()], "code.pt")
    np.savez("code.npz", np.array([Code()], dtype=object))
    Path("empty.pt").touch()
    for name in ("broken.pt", "broken.safetensors", "list.csv"):
        Path(name).write_bytes(b"PK\3\4 not this")
    with pytest.raises(SettingsError) as error:
        attack(file, "out", *options, *SHORT)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("out").exists()
    assert not Path("run").exists()
