"""What `make` sets up and runs: versions that fit together, and tests that share what is costly to make."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from PIL import Image

from invgrad.tangent.kernels.builds import KINDS, carried_checksum, find_build, generations, source_checksum

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [*PROJECT["dependencies"], *EXTRAS["pipeline"], *EXTRAS["dev"]]
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


def test_what_make_starts_keeps_byte_code() -> None:
    """Whatever the environment says, as in most containers: else every process compiles torch."""
    make = ["make", "--silent", "--eval", "seen: ; @env", "seen"]
    variables = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    seen = subprocess.run(make, cwd=ROOT, env=variables, capture_output=True, text=True, check=True).stdout
    assert "PATH=" in seen
    assert "PYTHONDONTWRITEBYTECODE" not in seen


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


BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src")
NO_SOURCE = ("__pycache__", "*.so", "*.egg-info")
ABSENT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {names} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""
"""A module `sitecustomize`, which Python imports when it starts: these modules are as if they were not installed."""


@dataclass(frozen=True)
class Installed:
    """The wheel beside what it needs, without what only the pipeline needs, and an empty folder to run in."""

    package: Path
    folder: Path

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it there."""
        places = os.pathsep.join(map(str, (self.package, self.package.parent / "start")))
        variables = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False, timeout=100
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        source, copy = ROOT / name, folder / "source" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*NO_SOURCE))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    _reuse_builds(folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [
        *pip,
        "wheel",
        "--no-cache-dir",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        folder / "source",
    ]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "package", wheel], check=True)
    (folder / "start").mkdir()
    (folder / "start/sitecustomize.py").write_text(ABSENT.format(names=_modules_of(EXTRAS["pipeline"])))
    (folder / "empty").mkdir()
    return Installed(folder / "package", folder / "empty")


def _reuse_builds(source: Path) -> None:
    """Put the set-up's builds of the kernels where the wheel's are made, so that only what is older than its source is
    compiled, for half a minute; that a build is of this source, its checksum tells.
    """
    (source / "setup.cfg").write_text("[build]\nbuild_lib = build/lib\n[build_ext]\nforce = false\n")
    for build in [find_build(kind, generation) for kind in KINDS for generation in generations()]:
        if build:
            copy = source / "build/lib" / build.relative_to(ROOT / "src")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(build, copy)


def _modules_of(requirements: list[str]) -> set[str]:
    """What these packages are imported as."""
    packages = {canonicalize_name(Requirement(text).name) for text in requirements}
    modules = packages_distributions().items()
    return {module for module, names in modules if packages & {canonicalize_name(name) for name in names}}


def test_a_wheel_has_every_file_of_the_package_and_the_licence(installed: Installed) -> None:
    """Of the compiled kernels, which are optional, those that there is a compiler for."""
    source, skipped = ROOT / "src", ("*.so", "__pycache__/*", "*.cpp", "*.egg-info/*")
    files = [path for path in source.glob("*/**/*") if path.is_file() and not any(map(path.match, skipped))]
    assert [path for path in files if not (installed.package / path.relative_to(source)).is_file()] == []
    assert list(installed.package.glob("*.dist-info/licenses/LICENSE"))
    if shutil.which("c++"):
        (build,) = installed.package.rglob("_winograd_default*")
        assert carried_checksum(build) == source_checksum("winograd")


def test_the_commands_of_a_wheel_run_anywhere_without_the_pipeline(installed: Installed) -> None:
    assert "Usage: invgrad" in installed.python("-m", "invgrad", "--help").stdout
    environment = installed.python("-m", "invgrad", "env").stdout
    assert f"commit unknown ({installed.package / 'invgrad'})" in environment
    assert "(TypeError" not in environment
    Image.effect_noise((32, 32), 50).convert("RGB").save(installed.folder / "picture.png")
    attack = ["--set", "iterations=2", "--set", "restarts=1", "--out", "found"]
    command = ["-m", "invgrad", "reconstruct", "--image", "picture.png", "--network", "lenet-zhu", *attack]
    result = installed.python(*command)
    assert result.returncode == 0, result.stderr
    assert "PSNR" in result.stdout
    assert (installed.folder / "found/reconstruction.png").is_file()


FOREIGN = {
    "layers.py": "from torch import nn\ndef body(): return [nn.Conv2d(1, 4, 5, 2), nn.Sigmoid(), nn.Flatten()]\n",
    "theirs.py": "from layers import body, nn\nclass Net(nn.Sequential):\n"
    "    def __init__(self, outputs): super().__init__(*body(), nn.Linear(144, outputs))\n",
    "client.py": """
import torch
from theirs import Net

network = Net(7)
torch.save(network.state_dict(), "weights.pt")
torch.nn.functional.cross_entropy(network(torch.rand(2, 1, 16, 16)), torch.tensor([6, 2])).backward()
torch.save({name: parameter.grad for name, parameter in network.named_parameters()}, "gradient.pt")
""",
}
"""A project of other people's, whose files import each other and nothing of ours."""


def test_a_gradient_of_a_foreign_project_is_attacked_by_the_installed_script(installed: Installed) -> None:
    for name, text in FOREIGN.items():
        (installed.folder / name).write_text(text, encoding="utf-8")
    assert installed.python("client.py").returncode == 0
    images = ["--classes", "7", "--size", "16", "--channels", "1", "--images", "2", "--set", "iterations=2"]
    for out, network in {"by-module": "theirs:Net,outputs=7", "by-file": "theirs.py:Net,outputs=7"}.items():
        of = ["--gradient", "gradient.pt", "--network", network, "--checkpoint", "weights.pt", "--out", out]
        result = installed.python(installed.package / "bin/invgrad", "attack-gradient", *of, *images)
        assert result.returncode == 0, result.stderr
        assert "reconstruction-2.png: label 6, inferred" in result.stdout
        assert (installed.folder / out / "reconstruction-1.png").is_file()


def test_the_demo_of_one_photograph_runs_in_a_wheel(installed: Installed) -> None:
    short = "from invgrad.steps import demo; demo.ATTACK = demo.ATTACK.model_copy(update={'iterations': 2})"
    run = "import sys; from invgrad.cli.main import main; sys.argv = ['invgrad', 'demo']; main()"
    result = installed.python("-c", f"{short}; {run}")
    assert result.returncode == 0, result.stderr
    assert (installed.folder / "invgrad-demo.png").is_file()


def test_the_example_in_the_readme_runs_in_a_wheel(installed: Installed) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    result = installed.python("-c", re.sub(r"(iterations|restarts)=\d+", r"\1=2", example[1]))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "--network", "ImageNet"], "No module named 'torchvision'; `pip install 'invgrad[pipeline]'`"),
        (["notebook", "--source", __file__, "--out", "x", "--log", "y"], "No module named 'jupytext'; `pip install"),
        (["plan"], "params.yaml: not in"),
    ],
)
def test_what_a_wheel_alone_cannot_do_is_one_line(arguments: list[str], words: str, installed: Installed) -> None:
    result = installed.python("-m", "invgrad", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
