"""Provenance records of results."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invgrad import __version__
from invgrad.results.files import sha256, write_json
from invgrad.settings import SettingsError

if TYPE_CHECKING:
    import torch

    from invgrad.results.origin import Origin


RECORDED_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "safetensors", "scikit-image", "snakemake")


SOURCES = (
    "src",
    "workflow",
    "config",
    "notebooks",
    "data",
    "envs",
    "Snakefile",
    "params.yaml",
    "pyproject.toml",
    "setup.py",
)
"""Paths in a checkout that results depend on; other files there, such as figures, may change at any time."""


RECORDED_VARIABLES = ("SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")


def record_path(result: Path) -> Path:
    """The path of a result's record, beside it."""
    return result.with_suffix(".record.json" if result.suffix == ".json" else ".json")


def has_record(result: Path) -> bool:
    """Return whether there is a record of this file; one beside it may be of another file of the same stem."""
    try:
        return bool(json.loads(record_path(result).read_text(encoding="utf-8"))["file"] == result.name)
    except (OSError, KeyError, TypeError, ValueError):
        return False


def read_record(result: Path) -> dict[str, Any]:
    """Read the record that `Record.write` wrote beside a result; `SettingsError` if there is none."""
    path = record_path(result)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["file"] != result.name:
            raise ValueError(f"it is about {content['file']}")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not the record of {result.name}: {error}") from None
    return content


class Record:
    """Provenance record of a result: its origin, versions, device, time; its clock starts when it is created."""

    def __init__(self, origin: "Origin", device: "torch.device | None" = None) -> None:
        self._origin = origin
        self._device = device
        self._started = time.time()
        self._commit, self._dirty = source_version()
        self.seconds_before = 0.0
        """Seconds that earlier processes spent on the part of the job that this one resumed."""
        self.devices_before: list[str] = []
        """Names of the devices of those processes."""

    @property
    def seconds(self) -> float:
        """Seconds that the job has taken so far, in all processes."""
        return self.seconds_before + time.time() - self._started

    def write(self, result: Path, also: Iterable[Path] = (), **more: Any) -> None:
        """Write the record beside `result`; `also`: other files of the same job, which have no record of their own."""
        content = {
            "file": result.name,
            "sha256": sha256(result),
            "also": {path.name: sha256(path) for path in also},
            **self._origin.facts,
            **more,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "commit": self._commit,
            "uncommitted_changes": self._dirty,
            "versions": {"python": platform.python_version(), **_versions()},
            "device": ", then ".join(dict.fromkeys([*self.devices_before, device_name(self._device)])),
            # Of a step without a device it says nothing that torch was imported, which a warm process has done.
            "threads": sys.modules["torch"].get_num_threads() if self._device else 1,
            "platform": platform.platform(),
            "scheduler": {name: os.environ[name] for name in RECORDED_VARIABLES if name in os.environ},
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(self.seconds, 3),
            "lineage": self._origin.lineage,
            "accepted": self._origin.accepted,
        }
        write_json(record_path(result), content)


@cache
def source_version() -> tuple[str, bool | None]:
    """The commit of the source tree, and True if it has uncommitted changes; ("unknown", None) outside a checkout.

    An environment that lies in the checkout of another project counts as outside. It is the commit when it was first
    asked for: this process runs no later code, whatever is committed meanwhile.
    """
    here = Path(__file__)
    # Else a job, of which many may run at once, would lock the index that a user commits with.
    git = ["git", "--no-optional-locks", "-C", str(here.parent)]
    is_tracked = ["ls-files", "--error-unmatch", here.name]
    status_of_sources = ["status", "--porcelain", "--", *(f":/{source}" for source in SOURCES)]
    try:
        _, commit, status = (
            subprocess.run([*git, *arguments], capture_output=True, encoding="utf-8", check=True).stdout
            for arguments in (is_tracked, ["rev-parse", "HEAD"], status_of_sources)
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None
    return commit.strip(), bool(status.strip())


def device_name(device: "torch.device | None") -> str:
    """Readable name of a device, e.g. `cuda: NVIDIA H100`, or `cpu: AMD EPYC`, also for None."""
    if device is not None and device.type == "cuda":
        import torch

        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type if device else 'cpu'}: {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    """Versions of the packages that are installed; the attack alone needs fewer than the pipeline."""
    found = {"invgrad": __version__}
    for package in RECORDED_PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


SOFTWARE = f"invgrad {__version__}"


def commit() -> str:
    """The commit of the source tree, with `+changes` if it has uncommitted ones; `unknown` outside a checkout."""
    name, changed = source_version()
    return f"{name}+changes" if changed else name


@dataclass(frozen=True)
class Stamp:
    """Origin of a table or figure: commit, scale, settings."""

    commit: str
    """The text of the function `commit`."""
    scale: str
    settings: str
    """The hash of `invgrad.experiments.summary.settings_hash`."""

    def __str__(self) -> str:
        return f"{SOFTWARE}, commit {self.commit}, scale {self.scale}, settings {self.settings}"
