"""Choice of the device, the precision and the memory allocator."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from invgrad.settings import Precision, SettingsError, unknown

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MEMORY_KEPT = 1_000_000_000


def dtype_of(precision: Precision) -> torch.dtype:
    """The type of the tensors to compute with."""
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def arithmetic(precision: Precision, deterministic: bool, device: torch.device) -> Iterator[None]:
    """Set the precision of products, and deterministic operations, within the context.

    Products are rounded as `precision` says; torch's own default lets a GPU's convolutions use tf32, and the caller may
    be within `torch.autocast`. If `deterministic`, only operations that always give the same bits are used.

    Raises `SettingsError` for tf32 on a CPU. A network that needs an operation without a deterministic form makes torch
    raise a `RuntimeError` that names it.
    """
    if precision == "tf32" and device.type != "cuda":
        raise SettingsError(f"precision: tf32 needs a GPU, not {device.type} (nearest: float32)")
    products = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in products]
    # Not switched on where it is on already, or not asked for: torch takes a second for that.
    switched = deterministic and not torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts, ignored on a CPU
    try:
        for each in products:
            each.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        if switched:
            torch.use_deterministic_algorithms(True)
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for each, value in zip(products, before, strict=True):
            each.fp32_precision = value
        if switched:
            torch.use_deterministic_algorithms(False)


def choose(name: str) -> torch.device:
    """Choose a device by name: `auto` (the first CUDA device if there is one, else the CPU), or torch's, e.g. `cuda:1`.

    Raises `SettingsError` for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in there and not (name == "cuda" and len(there) > 2):
        raise SettingsError(f"--device: {unknown('device', name, there)}")
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that tensors free instead of giving it back to the system after every operation.

    An attack step frees and takes the same megabytes thousands of times; the page faults cost it up to a third of its
    time on a CPU. Does nothing elsewhere.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            libc.mallopt(option, MEMORY_KEPT)
