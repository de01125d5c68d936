"""Files that are written atomically, and read with their checksums verified."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from invgrad.settings import SettingsError

if TYPE_CHECKING:  # both take a while to import, most steps write no table, and some no tensors
    import pandas as pd
    from torch import Tensor


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Write a file atomically: `writer` writes one beside `path`, which is then renamed to it.

    Raises `OSError`, e.g. for a full disk; `path` is then as it was before.
    """
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
    """Remove partial files that killed processes left of the file `path`.

    Those of a process that runs on this machine stay, since it may be writing; outside Linux none is seen to run.
    """
    name = re.compile(rf"\.{re.escape(path.stem)}\.(\d+){re.escape(path.suffix)}")
    for part in path.parent.glob(f".*{path.suffix}"):
        if (found := name.fullmatch(part.name)) and not Path("/proc", found[1]).exists():
            part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    write(path, lambda partial: partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))


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
    """Read what `write_tensors` wrote: the tensors, on the CPU, and `about`; executes no code.

    Raises `SettingsError` if it is not such a file, or if its checksum is wrong.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["invgrad"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        about: dict[str, Any] = dict(metadata["about"])
        expected: str = metadata["sha256"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not a result file of invgrad: {error}") from None
    if (found := _checksum(tensors, about)) != expected:
        raise SettingsError(f"{path}: damaged: its sha256 is {found}, but it was written with {expected}")
    return tensors, about


def is_ours(path: Path) -> bool:
    """Tell if a file is one that `write_tensors` wrote, or was once."""
    try:
        with safe_open(path, framework="pt") as file:
            return "invgrad" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _checksum(tensors: "Mapping[str, Tensor]", about: Mapping[str, Any]) -> str:
    """Compute the sha256 of names, types, shapes and values, and of `about`."""
    import torch

    digest = hashlib.sha256(json.dumps(about).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_tables(paths: Sequence[Path]) -> "pd.DataFrame":
    """Read CSV files of the same columns as one table; `SettingsError` names the file whose columns differ."""
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
