"""Options of running an attack, which do not change its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Progress = Callable[[int, int, Tensor], None]
"""Callback after every iteration: (iterations done, all iterations, gradient-matching losses of the current batch)."""


class Checkpointer(Protocol):
    """Keeper of the state of an unfinished attack (see `invgrad.runtime.checkpoints.Checkpoint`)."""

    def kept(self) -> Mapping[str, Tensor] | None:
        """Return the state to resume from, on the CPU, if there is one."""

    def due(self) -> bool:
        """Decide whether to keep the state now; called after every iteration."""

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep this state in place of the last one."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Memory, progress and checkpoint of a run."""

    memory: int | None = None
    """Bytes that the trials may take at once; by default 2 GiB on a CPU, most of what is free on a GPU."""
    progress: Progress | None = None
    checkpoint: Checkpointer | None = None
    """Checkpoint that is written and read; the attack resumes from a state that was kept for the same arguments."""
