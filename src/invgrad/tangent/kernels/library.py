"""Library of the compiled kernels: one build of each for every generation of processors, chosen when first used.

They are optional: a package installed without a C++ compiler has none.
"""

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from invgrad.tangent.kernels.builds import KINDS, carried_checksum, find_build, is_stale, on_stale_builds

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
"""Suffix of the C++ functions' names for each type."""


@cache
def library(name: str) -> ctypes.CDLL | None:
    """Load the build of `_name.cpp` for this processor; None if there is none that was made from the source at hand."""
    for generation in (torch.backends.cpu.get_cpu_capability().lower(), "default"):
        build = find_build(name, generation)
        if build and is_stale(name, build):
            _say_once(on_stale_builds())
        elif build:
            return ctypes.CDLL(str(build))
    return None


@cache
def _say_once(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def loaded_checksums() -> dict[str, str | None]:
    """The checksum of what each kernel that this process uses was made from, by the kernel's name."""
    loaded = {name: library(name) for name in KINDS}
    return {name: carried_checksum(Path(each._name)) for name, each in loaded.items() if each}


def usable(name: str, tensor: Tensor) -> bool:
    """Return whether the functions of `_name.cpp` can be used, and take such a tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in SUFFIXES and library(name) is not None
