"""Library of the compiled kernels: one build of each for every generation of processors, chosen when first used.

They are optional: a package installed without a C++ compiler has none.
"""

import ctypes
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
"""Suffix of the C++ functions' names for each type."""


@cache
def library(name: str) -> ctypes.CDLL | None:
    """Load the build of `_name.cpp` for this processor; None if the package was installed without a compiler."""
    for generation in (torch.backends.cpu.get_cpu_capability().lower(), "default"):
        spec = find_spec(f"invgrad.tangent.kernels._{name}_{generation}")
        if spec and spec.origin:
            return ctypes.CDLL(spec.origin)
    return None


def usable(name: str, tensor: Tensor) -> bool:
    """Return whether the functions of `_name.cpp` are installed and take such a tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in SUFFIXES and library(name) is not None
