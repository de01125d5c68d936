"""Where to compute."""

import ctypes
import platform

import torch

from invgrad.settings import SettingsError, unknown

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MEMORY_KEPT = 1_000_000_000


def choose(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; otherwise a torch device name such as `cuda:1`.

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
