"""Facts for a bug report, also where the installation is broken."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import torch

from invgrad.results.fingerprints import PACKAGE
from invgrad.results.provenance import source_version
from invgrad.runtime.environment import environment


def failing(error: Exception) -> object:
    def fail(*arguments: object) -> NoReturn:
        raise error

    return fail


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one folder of the search path, empty; git is asked there anew."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    source_version.cache_clear()
    yield folder
    source_version.cache_clear()


def test_the_command_works_anywhere_and_aligns_its_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "invgrad", "env"]
    lines = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout.splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    assert len({len(fact) - len(fact.lstrip()) + len(name) for name, fact in facts.items()}) == 1
    assert str(tmp_path) in facts["free disk"]
    assert facts["torch"].strip() == version("torch")
    assert not [fact for fact in facts.values() if "unknown (" in fact]


def test_machine_kernels_and_threads_are_told() -> None:
    facts = environment()
    assert f"{torch.get_num_threads()} threads" in facts["torch build"]
    assert {"processor", "usable cores", "memory"} <= set(facts)
    kernels = {name.removeprefix("kernel ") for name in facts if name.startswith("kernel ")}
    assert kernels == {file.stem.lstrip("_") for file in (PACKAGE / "tangent/kernels").glob("*.cpp")}
    assert all(len(fact.splitlines()) == 1 for fact in facts.values())


def test_gpus_that_are_alike_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [("H100", 9), ("H100", 9), ("T4", 7)]
    found = [SimpleNamespace(name=name, total_memory=16 * 2**30, major=major, minor=0) for name, major in models]
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_properties", found.__getitem__)
    alike, other = environment()["GPUs"].split("; ")
    assert alike == "2 x H100, 16.0 GiB, compute capability 9.0"
    assert other == "1 x T4, 16.0 GiB, compute capability 7.0"


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_a_missing_gpu_has_a_reason(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    monkeypatch.setattr(torch.cuda, "init", failing(kind("Found no driver. Install one")))
    assert environment()["GPUs"] == "none (Found no driver)"


def test_variables_of_the_machine_are_told_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JWT", "password")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_PLACES", "one\nother\udcff")
    monkeypatch.setenv("HOME_OF_NOBODY", "17")
    facts = environment()
    assert facts["SLURM_JOB_ID"] == "17"
    assert facts["CUDA_VISIBLE_DEVICES"] == "(empty)"
    assert facts["OMP_PLACES"] == r"one other\udcff"
    assert "HOME_OF_NOBODY" not in facts
    assert "password" not in "".join(facts.values())


def test_programs_that_are_missing_fail_or_hang_do_not_stop_the_rest(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invgrad.runtime.environment.PATIENCE", 0.2)
    program(programs, "dvc", "echo 3.67.1; echo more")
    program(programs, "sbatch", "echo 'no cluster' >&2; exit 3")
    program(programs, "nvidia-smi", "while :; do :; done")
    facts = environment()
    assert facts["command git"] == "not found"
    assert "commit unknown" in facts["invgrad"], "without git"
    assert facts["command dvc"] == f"3.67.1 ({programs / 'dvc'})"
    assert facts["command sbatch"] == f"fails with exit code 3: no cluster ({programs / 'sbatch'})"
    assert facts["command nvidia-smi"].startswith("unknown (TimeoutExpired")


def test_a_broken_installation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("invgrad.runtime.environment.version", failing(PackageNotFoundError("pandas")))
    monkeypatch.setattr("os.sysconf", failing(OSError("no such value")))
    facts = environment()
    assert facts["GPUs"].startswith("unknown (ModuleNotFoundError")
    assert facts["torch build"].startswith("unknown (ModuleNotFoundError")
    assert facts["memory"] == "unknown (OSError: no such value)"
    assert facts["pandas"] == "not installed"
    assert facts["python"].endswith(f"({sys.executable})")


def test_a_package_that_is_used_from_a_folder_has_no_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invgrad.runtime.environment.requires", failing(PackageNotFoundError("invgrad")))
    facts = environment()
    assert "pandas" not in facts
    assert facts["snakemake-executor-plugin-slurm"] == version("snakemake-executor-plugin-slurm")
