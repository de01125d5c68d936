"""Files are whole or not there, say how they came about, and are refused when they are something else."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from invgrad import __version__
from invgrad.networks.checkpoint import VictimFile, load_victim, save_victim
from invgrad.networks.settings import LeNetZhu
from invgrad.results import files, provenance
from invgrad.results.origin import Origin
from invgrad.settings import SettingsError

NO_PROCESS = 2**22 + 1
"""A number above that of any process."""
ABOUT = VictimFile(
    network=LeNetZhu(), dataset="cifar10", classes=10, size=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), seed=4
)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.csv"
    files.write(target, lambda path: path.write_text("old"))

    def fail(path: Path) -> None:
        path.write_text("half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write(target, fail)
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["table.csv"]


def test_others_may_read_a_result_if_they_may_read_files(tmp_path: Path) -> None:
    files.write_tensors(tmp_path / "x.safetensors", {"a": torch.rand(3)}, {})
    (tmp_path / "other").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "table[1].csv"
    others = {".table[1].json", f".table.{NO_PROCESS}.csv", f".table[1].v2.{NO_PROCESS}.csv"}
    for name in (f".table[1].{NO_PROCESS}.csv", *others):
        (tmp_path / name).write_text("half")
    files.write(target, lambda path: path.write_text("whole"))
    assert {path.name for path in tmp_path.iterdir()} == {"table[1].csv", *others}


@pytest.mark.skipif(sys.platform != "linux", reason="which processes run is known on Linux")
def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    """Jobs that run at once keep what they found out in one file."""
    (tmp_path / ".known.1.json").write_text("half")
    files.write(tmp_path / "known.json", lambda path: path.write_text("whole"))
    assert (tmp_path / ".known.1.json").exists()


def test_a_full_disk_is_an_error_of_the_system_for_tensors_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match=r"x\.safetensors: .*No space left"):
        files.write_tensors(tmp_path / "x.safetensors", {"a": torch.rand(3)}, {})
    assert list(tmp_path.iterdir()) == []


def test_tensors_come_back_with_what_was_said_of_them(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.rand(2, 3), "b": torch.arange(4)}
    files.write_tensors(path, tensors, {"names": ["p", "q"]})
    back, about = files.read_tensors(path)
    assert about == {"names": ["p", "q"]}
    assert {name: tensor.tolist() for name, tensor in back.items()} == {k: t.tolist() for k, t in tensors.items()}


@pytest.mark.parametrize("of", ["a tensor", "what is said"])
def test_a_file_in_which_a_bit_was_changed_is_refused(tmp_path: Path, of: str) -> None:
    path = tmp_path / "x.safetensors"
    files.write_tensors(path, {"a": torch.rand(100)}, {"names": ["a client of some name"]})
    content = bytearray(path.read_bytes())
    content[-1 if of == "a tensor" else content.index(b"some name")] ^= 1
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"x\.safetensors: damaged: its sha256 is"):
        files.read_tensors(path)


@pytest.mark.parametrize("damage", ["missing", "text", "truncated", "foreign"])
def test_a_file_that_is_not_a_result_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.safetensors"
    files.write_tensors(path, {"a": torch.rand(100)}, {})
    match damage:
        case "missing":
            path.unlink()
        case "text":
            path.write_text("hello")
        case "truncated":
            path.write_bytes(path.read_bytes()[:-40])
        case "foreign":
            save_file({"a": torch.rand(3)}, path)
    with pytest.raises(SettingsError, match=r"x\.safetensors: not a result file"):
        files.read_tensors(path)


def test_the_record_says_how_a_result_came_about(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    record = provenance.Record(Origin("measure", {"alpha": 0.01, "seed": 3}, "0a", {"truth": "1b"}))
    files.write_csv(path, pd.DataFrame({"a": [1]}))
    record.write(path, images=2)
    content = json.loads((tmp_path / "rows.json").read_text())
    facts = {"step": "measure", "settings": {"alpha": 0.01, "seed": 3}, "code": "0a", "inputs": {"truth": "1b"}}
    assert content | facts == content
    assert content["sha256"] == files.sha256(path)
    assert content["images"] == 2
    assert content["versions"]["torch"] == version("torch")
    assert {"commit", "uncommitted_changes", "device", "threads", "seconds", "started", "command"} <= set(content)


def commit(checkout: Path) -> None:
    for command in (["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module of provenance in a checkout of its own."""
    module = tmp_path / "src/invgrad/provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("1")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit(tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(module))
    provenance.source_version.cache_clear()
    yield module
    provenance.source_version.cache_clear()


def test_what_a_result_comes_from_has_changed_or_not(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures, and what users put beside the sources, are no changes."""
    found = provenance.source_version.__wrapped__
    (tmp_path / "figures").mkdir()
    for beside in ("run-tonight.sh", "figures/rows.csv"):
        (tmp_path / beside).write_text("2")
    assert found()[1] is False
    new = code.with_name("new.py")
    new.write_text("2")
    assert found()[1] is True
    monkeypatch.setattr(provenance, "__file__", str(new))
    assert found() == ("unknown", None), "installed into the checkout of something else"


def test_a_record_names_the_commit_that_ran_and_leaves_the_index_to_the_user(tmp_path: Path, code: Path) -> None:
    os.utime(code, (1, 1))
    index = (tmp_path / ".git/index").read_bytes()
    ran = provenance.source_version.__wrapped__()[0]
    records = [provenance.Record(Origin("measure", {}, "0a", {}))]
    assert (tmp_path / ".git/index").read_bytes() == index
    code.write_text("2")
    commit(tmp_path)
    records.append(provenance.Record(Origin("measure", {}, "0a", {})))  # of the same process, so of the same code
    result = tmp_path / "rows.csv"
    result.touch()
    for record in records:
        record.write(result)
        assert provenance.read_record(result)["commit"] == ran
        assert provenance.read_record(result)["uncommitted_changes"] is False


def test_packages_that_are_not_installed_are_left_out_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "RECORDED_PACKAGES", ("torch", "no-such-package"))
    assert provenance._versions() == {"invgrad": __version__, "torch": version("torch")}


def test_tables_with_other_columns_are_not_joined(tmp_path: Path) -> None:
    for name, column in (("a", "psnr"), ("b", "mse")):
        pd.DataFrame({column: [1.0]}).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(SettingsError, match=r"b\.csv: columns \['mse'\] differ"):
        files.read_tables([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_a_victim_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "victim.safetensors"
    network = ABOUT.build()
    with torch.no_grad():
        next(network.parameters()).add_(1)
    save_victim(path, ABOUT, network)
    loaded, about = load_victim(path, torch.device("cpu"))
    assert about == ABOUT
    for mine, theirs in zip(network.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not loaded.training
    assert stat.S_IMODE(path.stat().st_mode) & 0o444


def test_a_victim_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "victim.safetensors"
    save_victim(path, ABOUT, ABOUT.with_(classes=7).build())
    with pytest.raises(SettingsError, match="does not fit its own description"):
        load_victim(path, torch.device("cpu"))


SHAPES = ["5", "[]", '"text"', "null", "{}", '[["file", "x"]]', "[" * 5000 + "]" * 5000, '{"file": ["x.csv"]}']
"""JSON that is not that of a record."""


@pytest.mark.parametrize("text", SHAPES)
def test_json_of_another_shape_is_no_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SettingsError, match=r"x\.json: not the record of x\.csv: "):
        provenance.read_record(tmp_path / "x.csv")


@pytest.mark.parametrize("about", ["5", "[1]", '"text"', "null", "[" * 5000 + "]" * 5000])
def test_a_description_of_another_shape_is_no_result(about: str, tmp_path: Path) -> None:
    metadata = {"invgrad": f'{{"about": {about}, "sha256": "x"}}'}
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(SettingsError, match=r"x\.safetensors: not a result file of invgrad: "):
        files.read_tensors(tmp_path / "x.safetensors")
