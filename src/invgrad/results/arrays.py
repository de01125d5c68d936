"""Tensors in files of the user's own: a gradient, the parameters of a network."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from invgrad.settings import SettingsError, one_line, unknown


def read_arrays(path: Path) -> Any:
    """Read what a file holds, by name or in order, on the CPU; executes no code.

    The file is of safetensors, of `torch.save` (tensors alone, in lists and dictionaries), or of `numpy.savez`, whose
    arrays without a name are a list. Raises `SettingsError` if it cannot be read.
    """
    if path.suffix.lower() not in READERS:
        raise SettingsError(f"{path}: {unknown('kind of file', path.suffix, READERS)}")
    try:
        return READERS[path.suffix.lower()](path)
    except UnpicklingError:
        raise SettingsError(
            f"{path}: holds other things than tensors in lists and dictionaries, and reading these could run code"
        ) from None
    except Exception as error:  # of a broken or hostile file, the readers raise what they happen to
        raise SettingsError(f"{path}: not readable: {one_line(error) or type(error).__name__}") from None


def _of_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _of_numpy(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    in_order = [f"arr_{number}" for number in range(len(arrays))]
    return list(map(arrays.get, in_order)) if set(arrays) == set(in_order) else arrays


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": load_file,
    ".pt": _of_torch,
    ".pth": _of_torch,
    ".npz": _of_numpy,
}
"""Readers by the end of a file's name."""
