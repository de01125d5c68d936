"""What `make` sets up and runs: versions that fit together, and tests that share what is costly to make."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
ENVIRONMENT = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())["dependencies"]
MODULE = """
import os
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(6))
def test(number):
    time.sleep(0.05)
    Path(f"{__name__}-{number}").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def pins(lines: list[str]) -> dict[str, str]:
    """The version of every package; each is there once."""
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    assert len({canonicalize_name(name) for name, _ in pairs}) == len(pairs)
    return {canonicalize_name(name): version for name, version in pairs}


def locked() -> dict[str, str]:
    return pins((ROOT / "envs/requirements.lock").read_text().splitlines())


def test_pip_and_conda_install_the_same_versions() -> None:
    (by_pip,) = (entry["pip"] for entry in ENVIRONMENT if isinstance(entry, dict))
    assert pins(by_pip) == locked()


def test_the_python_of_conda_is_one_that_the_package_allows() -> None:
    (python,) = (entry for entry in ENVIRONMENT if isinstance(entry, str) and entry.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.partition("=")[2])


@pytest.mark.parametrize("text", DIRECT)
def test_every_direct_dependency_is_locked_at_a_version_that_it_allows(text: str) -> None:
    requirement = Requirement(text)
    version = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True), version


def test_tests_of_a_file_run_in_one_process(tmp_path: Path) -> None:
    """With the options of `make test`: else the module-scoped run of the whole DAG would be made by every worker."""
    options = re.search(r"/pytest (.*)", (ROOT / "Makefile").read_text())
    assert options
    for name in ("test_one.py", "test_other.py"):
        (tmp_path / name).write_text(MODULE)
    command = [sys.executable, "-m", "pytest", *options[1].split(), "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    workers = defaultdict(set)
    for path in tmp_path.glob("test_*-*"):
        workers[path.name.partition("-")[0]].add(path.read_text())
    assert sorted(map(len, workers.values())) == [1, 1]
    assert workers["test_one"] != workers["test_other"]


def test_files_with_slow_tests_come_first(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    (tmp_path / "test_b.py").write_text(
        "import pytest\n\ndef test_b(): pass\n\n@pytest.mark.slow\ndef test_slow(): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert listed[:3] == ["test_b.py::test_b", "test_b.py::test_slow", "test_a.py::test_a"]
