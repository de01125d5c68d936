"""How many trials fit into memory, found by measuring a few."""

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU_BUDGET = 2 * 2**30
"""Bytes that a job may use for its trials on a CPU, unless it is told otherwise: two jobs at once fit into a laptop."""

GPU_SHARE = 0.8
"""Of the GPU's free memory, unless told otherwise; the rest is for what the allocator cannot reuse."""


def budget(device: torch.device) -> int:
    """Bytes that a batch of trials may take on this device, if nothing else is stated."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    return CPU_BUDGET


def fitting(attempt: Callable[[int], object], most: int, device: torch.device, allowed: int) -> int:
    """How many trials, 1 to `most`, may run at once within `allowed` bytes. `attempt` runs a given number of them, as
    briefly as it takes to reach the most memory that they need. What two and three need is measured: one alone may
    take another way.
    """
    if most == 1:
        return 1
    more = min(most, 3)
    try:
        few, all_of_them = (peak(partial(attempt, count), device) for count in (more - 1, more))
    except torch.OutOfMemoryError:
        return 1
    return int(max(1, min(most, more - 1 + (allowed - few) // max(all_of_them - few, 1))))


def peak(function: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors made by `function` take at any moment."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before: int = torch.cuda.memory_allocated(device)
        function()
        most: int = torch.cuda.max_memory_allocated(device)
        return most - before
    counting = _Counting()
    with counting:
        function()
    return counting.most


def in_batches(count: int, size: int, first: int = 0) -> Iterator["Batch"]:
    """Consecutive batches of at most `size` out of `count`, from `first` on. A batch that runs out of a GPU's memory is
    tried again with half the size, which is kept from then on; a single trial that does is an error.
    """
    while first < count:
        batch = Batch(slice(first, min(first + size, count)))
        yield batch
        if batch.failed is None:
            first = batch.which.stop
        elif first + 1 == batch.which.stop:
            raise batch.failed
        else:
            torch.cuda.empty_cache()
            size = (batch.which.stop - first + 1) // 2


class Batch:
    """Some trials; use it as a context manager around running them."""

    def __init__(self, which: slice) -> None:
        self.which = which
        self.failed: torch.OutOfMemoryError | None = None

    def __enter__(self) -> slice:
        return self.which

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, torch.OutOfMemoryError):
            self.failed = error.with_traceback(None)  # the traceback would keep the tensors alive
            return True
        return False


class _Counting(TorchDispatchMode):
    """Counts the bytes of the memory that new tensors own, until they let go of it."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known = weakref.WeakSet[torch.UntypedStorage]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(each.untyped_storage()) for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        results = function(*args, **(kwargs or {}))
        for each in tree_leaves(results):
            if isinstance(each, torch.Tensor) and id(each.untyped_storage()) not in before:
                self._count(each.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self._now += storage.nbytes()
            self.most = max(self.most, self._now)
            weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, size: int) -> None:
        self._now -= size
