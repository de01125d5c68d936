"""Files: whole or not at all, and each with a record of how it came about."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from invgrad import __version__
from invgrad.settings import SettingsError

if TYPE_CHECKING:  # both take a while to import, most steps write no table, and some no tensors
    import pandas as pd
    import torch
    from torch import Tensor

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
"""What results come from in a checkout, beside which runs write figures, and users put scripts of their own."""

RECORDED_VARIABLES = ("SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Let `writer` write a file beside `path` and rename it: `path` appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        writer(partial)
        partial.chmod(0o666 & ~_umask())  # safetensors writes what only its owner may read
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except SafetensorError as error:  # its form of a full disk
        raise OSError(f"{path}: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


def remove_parts(path: Path) -> None:
    """Remove what a process that was killed left of a file that it was about to write."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}")
    for part in path.parent.glob(f".*{path.suffix}"):
        if name.fullmatch(part.name):
            part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read."""
    write(path, lambda partial: partial.write_text(json.dumps(content, indent=1) + "\n"))


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index."""
    write(path, lambda partial: table.to_csv(partial, index=False))


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", about: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, with `about` as JSON and a checksum of both in the metadata."""
    from safetensors.torch import save_file

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry, since safetensors writes several in a random order.
    metadata = {"invgrad": json.dumps({"about": about, "sha256": _checksum(ready, about)})}
    write(path, lambda partial: save_file(ready, partial, metadata=metadata))


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """What `write_tensors` wrote, on the CPU; executes no code. `SettingsError` if it is not such a file, or if it has
    been damaged since.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["invgrad"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        about: dict[str, Any] = metadata["about"]
        expected: str = metadata["sha256"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: not a result file of invgrad: {error}") from None
    if (found := _checksum(tensors, about)) != expected:
        raise SettingsError(f"{path}: damaged: its sha256 is {found}, but it was written with {expected}")
    return tensors, about


def _checksum(tensors: "Mapping[str, Tensor]", about: Mapping[str, Any]) -> str:
    """sha256 of names, types, shapes and values, and of what is said of them."""
    import torch

    digest = hashlib.sha256(json.dumps(about).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_tables(paths: Sequence[Path]) -> "pd.DataFrame":
    """Tables of the same columns as one; `SettingsError` naming the file whose columns differ."""
    import pandas as pd

    tables = [pd.read_csv(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if list(table.columns) != list(tables[0].columns):
            raise SettingsError(f"{path}: columns {list(table.columns)} differ from those of {paths[0]}")
    return pd.concat(tables, ignore_index=True)


def read_record(result: Path) -> dict[str, Any]:
    """What `Record.write` wrote beside a result; `SettingsError` if there is no record."""
    path = result.with_suffix(".json")
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if content["file"] != result.name:
            raise ValueError(f"it is about {content['file']}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: not the record of {result.name}: {error}") from None
    return content


def sha256(path: Path) -> str:
    """The file's checksum in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Record:
    """How a result came about; its clock starts when it is made."""

    def __init__(self, settings: Mapping[str, Any], device: "torch.device | None" = None) -> None:
        """`settings`: every resolved setting, seeds included, that the result depends on."""
        self._settings = dict(settings)
        self._device = device
        self._started = time.time()
        self.seconds_before = 0.0
        """What earlier processes took for the part of the job that this one did not do again."""
        self.devices_before: list[str] = []
        """Where they did it."""

    @property
    def seconds(self) -> float:
        """What the job has taken so far."""
        return self.seconds_before + time.time() - self._started

    def write(self, result: Path, **more: Any) -> None:
        """Write the record beside `result`, as `<result's stem>.json`."""
        commit, dirty = source_version()
        content = {
            "file": result.name,
            "sha256": sha256(result),
            "settings": self._settings,
            **more,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "commit": commit,
            "uncommitted_changes": dirty,
            "versions": {"python": platform.python_version(), **_versions()},
            "device": ", then ".join(dict.fromkeys([*self.devices_before, device_name(self._device)])),
            "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1,
            "platform": platform.platform(),
            "scheduler": {name: os.environ[name] for name in RECORDED_VARIABLES if name in os.environ},
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(self.seconds, 3),
        }
        write_json(result.with_suffix(".json"), content)


def source_version() -> tuple[str, bool | None]:
    """The commit of the source tree and whether it has uncommitted changes; ("unknown", None) outside a checkout, also
    where the package is installed into an environment that lies in the checkout of something else.
    """
    here = Path(__file__)
    is_tracked = ["ls-files", "--error-unmatch", here.name]
    status_of_sources = ["status", "--porcelain", "--", *(f":/{source}" for source in SOURCES)]
    try:
        _, commit, status = (
            subprocess.run(["git", "-C", here.parent, *arguments], capture_output=True, text=True, check=True).stdout
            for arguments in (is_tracked, ["rev-parse", "HEAD"], status_of_sources)
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None
    return commit.strip(), bool(status.strip())


def device_name(device: "torch.device | None") -> str:
    """A name that a reader of a table understands, e.g. `cuda: NVIDIA H100` or, also without one, `cpu: AMD EPYC`."""
    if device is not None and device.type == "cuda":
        import torch

        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type if device else 'cpu'}: {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    """Of those that are installed: the attack alone needs fewer than the pipeline."""
    found = {"invgrad": __version__}
    for package in RECORDED_PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
