"""Facts of networks that a plan needs: asked once, without torch the next time, and never those of other code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from invgrad.networks import build, facts
from invgrad.networks.catalogue import catalogue
from invgrad.networks.facts import NetworkCost, cost_of, size_of
from invgrad.networks.parallelism import NetworkSize
from invgrad.networks.settings import ConvNet, Custom, LeNetZhu, Network, ResNet, Torchvision
from invgrad.settings import SettingsError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "invgrad"


def asked(monkeypatch: pytest.MonkeyPatch) -> list[Network]:
    """The networks that are built from now on."""
    networks, outline = [], build.outline

    def noted(network: Network, *, classes: int, size: int) -> object:
        networks.append(network)
        return outline(network, classes=classes, size=size)

    monkeypatch.setattr(build, "outline", noted)
    return networks


def test_a_network_is_measured_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = asked(monkeypatch)
    for _ in range(2):
        assert size_of(LeNetZhu(), classes=10, size=32) == NetworkSize(parameters=15_826, channels=12)
        assert size_of(LeNetZhu(), classes=100, size=32).parameters == 15_826 + 90 * 769
        assert size_of(ConvNet(width=8), classes=10, size=32).channels == 32
    assert networks == [LeNetZhu(), LeNetZhu(), ConvNet(width=8)]
    assert len(list(folder.glob("networks-*.json"))) == len(list(folder.iterdir())) == 1


def test_a_networks_cost_is_counted_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = asked(monkeypatch)
    for _ in range(2):
        lenet, resnet = (cost_of(each, classes=10, size=32) for each in (LeNetZhu(), ResNet(depth=20, width=4)))
        assert lenet == NetworkCost(
            size=NetworkSize(parameters=15_826, channels=12),
            gigaflops=2 * (256 * 12 * 75 + 2 * 64 * 12 * 300 + 768 * 10) / 1e9,
            parameter_bytes=4 * 15_826,
            state_bytes=4 * 15_826,
        )
        assert resnet.state_bytes > resnet.parameter_bytes, "with the statistics of batch-norm"
    assert len(networks) == 2
    assert len(list(folder.glob("costs-*.json"))) == len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"{", b"[]", b"3", b"{}", b"null", b"\xff\x00", b"other answers"])
def test_what_is_damaged_is_asked_again(damage: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = size_of(LeNetZhu(), classes=10, size=32)
    (file,), networks = folder.glob("networks-*.json"), asked(monkeypatch)
    wrong = {key: {"parameters": -1} for key in json.loads(file.read_text())}
    file.write_bytes(json.dumps(wrong).encode() if damage == b"other answers" else damage)
    for _ in range(2):
        assert size_of(LeNetZhu(), classes=10, size=32) == expected
    assert networks == [LeNetZhu()]


def test_what_another_process_has_kept_meanwhile_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outline = build.outline

    def other_first(network: Network, *, classes: int, size: int) -> object:
        monkeypatch.setattr(build, "outline", outline)
        size_of(LeNetZhu(), classes=100, size=32)
        return outline(network, classes=classes, size=size)

    monkeypatch.setattr(build, "outline", other_first)
    size_of(LeNetZhu(), classes=10, size=32)
    (file,) = folder.glob("networks-*.json")
    assert len(json.loads(file.read_text())) == 2


def test_what_is_of_other_code_is_asked_again_and_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two clones of the project that take turns, each asks once."""
    networks, own = asked(monkeypatch), facts._origin()
    for code in ("other", own["code"]) * 2:
        monkeypatch.setattr(facts, "_origin", lambda code=code: own | {"code": code})
        assert size_of(LeNetZhu(), classes=10, size=32).channels == 12
    assert len(networks) == len(list(folder.iterdir())) == 2


def test_nothing_is_kept_where_the_folder_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a file")
    networks = asked(monkeypatch)
    for _ in range(2):
        assert size_of(LeNetZhu(), classes=10, size=32).channels == 12
    assert len(networks) == 2


def test_a_network_of_the_users_own_is_asked_each_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\ndef net(*, classes, size): return nn.Sequential(nn.Flatten(), nn.Linear(3, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    networks, own = asked(monkeypatch), Custom(factory="own_net:net")
    for _ in range(2):
        assert size_of(own, classes=10, size=1) == NetworkSize(parameters=40, channels=0)
    assert len(networks) == 2
    assert not folder.exists()


def test_a_network_that_cannot_be_built_is_an_error_each_time() -> None:
    for _ in range(2):
        with pytest.raises(SettingsError, match="the weights are for 1000 classes, the data has 10"):
            size_of(Torchvision(model="resnet18", weights="DEFAULT"), classes=10, size=32)


def test_the_catalogue_names_what_default_stands_for(folder: Path) -> None:
    for _ in range(2):
        assert catalogue()["resnet50"] == {
            name: name.replace("DEFAULT", "IMAGENET1K_V2") for name in ("IMAGENET1K_V1", "IMAGENET1K_V2", "DEFAULT")
        }
    (file,) = folder.glob("torchvision-*.json")
    assert json.loads(file.read_text())["classifiers"] == catalogue()


@pytest.mark.parametrize(
    ("parameters", "channels", "small", "narrow"),
    [(1_000_000, 16, True, True), (1_000_001, 16, False, False), (1_000_000, 17, True, False), (10, 0, True, True)],
)
def test_many_trials_of_a_narrow_network_run_together(
    parameters: int, channels: int, small: bool, narrow: bool
) -> None:
    size = NetworkSize(parameters=parameters, channels=channels)
    assert (size.is_small, size.is_narrow) == (small, narrow)
    assert size.runs_together(on_gpu=False) == narrow
    assert size.runs_together(on_gpu=True)


IMPORTED = "print(*{'torch', 'torchvision'} & set(sys.modules))"


def loaded(code: str) -> list[str]:
    """Which of torch and torchvision this code imports."""
    command = [sys.executable, "-c", f"import sys\n{code}\n{IMPORTED}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_settings_need_no_torch() -> None:
    assert loaded("import invgrad.networks.settings, invgrad.networks.facts, invgrad.networks.parallelism") == []


def test_what_is_known_needs_no_torch() -> None:
    networks = [ResNet(depth=20), Torchvision(model="resnet18", weights="DEFAULT")]
    code = "from invgrad.networks.facts import cost_of, size_of\n"
    code += "from invgrad.networks.settings import ResNet, Torchvision\n"
    code += "\n".join(
        f"{ask}({network!r}, classes=1000, size=32)" for network in networks for ask in ("size_of", "cost_of")
    )
    assert "torch" in loaded(code)
    assert loaded(code) == []
