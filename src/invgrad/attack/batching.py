"""Batches of trials that fit into memory; their size is found by measuring a few trials."""

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU_BUDGET = 2 * 2**30
"""Bytes that a job may use for its trials on a CPU by default: two jobs at once fit into a laptop."""

GPU_SHARE = 0.8
"""Share of a GPU's free memory that a job may use by default; the rest is for what the allocator cannot reuse."""


def budget(device: torch.device) -> int:
    """Return the bytes that a batch of trials may take on this device by default."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    return CPU_BUDGET


def fitting(attempt: Callable[[int], object], most: int, device: torch.device, allowed: int) -> int:
    """Return the number of trials, 1 to `most`, that may run at once within `allowed` bytes.

    `attempt` runs a given number of trials, just long enough to reach their peak memory. The memory of two and of
    three trials is measured, if there are as many: a single one may be computed in another way.
    """
    if most == 1:
        return 1
    more = min(most, 3)
    try:
        few, all_of_them = (peak(partial(attempt, count), device) for count in (more - 1, more))
    except torch.OutOfMemoryError:
        return 1
    return int(max(1, min(most, more - 1 + (allowed - few) // max(all_of_them - few, 1))))


def side_by_side(attempt: Callable[[int], object], most: int, device: torch.device, allowed: int) -> int:
    """Return the number of trials, 1 to `most`, that may run side by side within `allowed` bytes, where each keeps the
    memory that it took; `attempt` as in `fitting`.
    """
    if most == 1:
        return 1
    try:
        return max(1, min(most, allowed // max(peak(partial(attempt, 1), device), 1)))
    except torch.OutOfMemoryError:
        return 1


def peak(function: Callable[[], object], device: torch.device) -> int:
    """Measure the peak memory, in bytes, of the tensors that `function` creates."""
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
    """Yield consecutive batches of at most `size` out of `count` trials, from number `first` on.

    A batch that runs out of GPU memory is tried again with half the size, and so are all later ones. Raises torch's
    `OutOfMemoryError` if a single trial does not fit.
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
    """A batch of trials, as a context manager around running them; it catches running out of GPU memory."""

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
    """Counter of the bytes that new tensors own, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known = set[int]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(_memory(each)[0]) for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        results = function(*args, **(kwargs or {}))
        for each in tree_leaves(results):
            if isinstance(each, torch.Tensor) and id(_memory(each)[0]) not in before:
                self._count(*_memory(each))
        return results

    def _count(self, owner: object, size: int) -> None:
        if id(owner) not in self._known:
            self._known.add(id(owner))
            self._now += size
            self.most = max(self.most, self._now)
            weakref.finalize(owner, self._release, id(owner), size)

    def _release(self, owner: int, size: int) -> None:
        self._known.discard(owner)
        self._now -= size


def _memory(tensor: torch.Tensor) -> tuple[object, int]:
    """Return what owns a tensor's memory, and its bytes; what oneDNN has packed has no storage."""
    if tensor.is_mkldnn:
        return tensor, tensor.nbytes
    storage = tensor.untyped_storage()
    return storage, storage.nbytes()
