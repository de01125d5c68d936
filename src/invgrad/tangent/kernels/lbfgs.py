"""Compiled memory of L-BFGS (`_lbfgs.cpp`), for trials on the CPU."""

import ctypes

import torch
from torch import Tensor

from invgrad.tangent.kernels.library import SUFFIXES, library

STATE = ("steps", "changes", "curvatures", "scale", "count", "previous")
"""Contents of a memory, [trials, …] each: pairs, and their curvatures; γ; how many were ever accepted; the last
gradient.
"""


class _Memory(ctypes.Structure):
    """The C++ structure `Memory`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("trials", "pairs", "size", "threads")),
        ("floor", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in STATE),
        *((name, ctypes.c_void_p) for name in ("gradient", "step", "which", "direction")),
    )


class CompiledMemory:
    """The curvature pairs of every trial, with the two-loop recursion run for one trial after another in the cache."""

    def __init__(self, point: Tensor, pairs: int, floor: float) -> None:
        """Make room for the newest `pairs` of trials like `point` [trials, d], whose curvature is above `floor`."""
        trials, size = point.shape
        self._floor = floor
        self._steps, self._changes = (point.new_zeros(trials, pairs, size) for _ in range(2))
        self._curvatures, self._scale = point.new_ones(trials, pairs), point.new_ones(trials)
        self._count, self._previous = torch.zeros(trials, dtype=torch.long), torch.zeros_like(point)

    def state(self) -> dict[str, Tensor]:
        """Return the state, as `invgrad.attack.optimisers.Stepper.state` does."""
        return {name: getattr(self, f"_{name}") for name in STATE}

    def direction(self, gradient: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """Accept pairs and return directions, as `invgrad.attack.lbfgs` says; of other trials than `which` nothing is
        read.
        """
        inputs = [each.contiguous() for each in (gradient, step, which)]
        direction = torch.empty_like(inputs[0])
        pointers = [each.data_ptr() for each in (*self.state().values(), *inputs, direction)]
        memory = _Memory(*self._steps.shape, torch.get_num_threads(), self._floor, *pointers)
        getattr(library("lbfgs"), f"direction_{SUFFIXES[direction.dtype]}")(ctypes.byref(memory))
        return direction
