"""Files: whole or not at all, and each with a record of how it came about."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
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


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Let `writer` write a file beside `path` and rename it: `path` appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        writer(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except SafetensorError as error:  # its form of a full disk
        raise OSError(f"{path}: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read."""
    write(path, lambda partial: partial.write_text(json.dumps(content, indent=1) + "\n"))


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index."""
    write(path, lambda partial: table.to_csv(partial, index=False))


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", about: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, with `about` as JSON in the metadata."""
    from safetensors.torch import save_file

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write(path, lambda partial: save_file(ready, partial, metadata={"about": json.dumps(about)}))


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """What `write_tensors` wrote, on the CPU; executes no code. `SettingsError` if it is not such a file."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: not a result file of invgrad: {error}") from None


def read_tables(paths: Sequence[Path]) -> "pd.DataFrame":
    """Tables of the same columns as one; `SettingsError` naming the file whose columns differ."""
    import pandas as pd

    tables = [pd.read_csv(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if list(table.columns) != list(tables[0].columns):
            raise SettingsError(f"{path}: columns {list(table.columns)} differ from those of {paths[0]}")
    return pd.concat(tables, ignore_index=True)


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

    @property
    def seconds(self) -> float:
        """Since the record was made."""
        return time.time() - self._started

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
            "device": device_name(self._device),
            "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1,
            "platform": platform.platform(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(self.seconds, 3),
        }
        write_json(result.with_suffix(".json"), content)


def source_version() -> tuple[str, bool | None]:
    """The commit of the source tree and whether it has uncommitted changes; ("unknown", None) outside a checkout."""
    here = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=True).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
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
    return {"invgrad": __version__} | {package: version(package) for package in RECORDED_PACKAGES}
