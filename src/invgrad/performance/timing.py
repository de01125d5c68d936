"""Timing of functions in turns, so that whatever else the machine does is shared by all."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from invgrad.objective.cuda_graph import CALLS_BEFORE

UNTIMED = CALLS_BEFORE + 1
"""Number of untimed turns, after which everything is set up."""


def alternately(functions: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[float]:
    """Time functions in turns, after some untimed turns; returns the median of each, in ms."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(UNTIMED + rounds):
        for function, taken in zip(functions, times, strict=True):
            _wait(device)
            start = time.perf_counter()
            function()
            _wait(device)
            if turn >= UNTIMED:
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
