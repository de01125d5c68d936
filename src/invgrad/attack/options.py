"""Options of running an attack, which do not change its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Progress = Callable[[int, int, Tensor], None]
"""Called after every iteration with (iterations done, iterations in all, matching cost of the trials at hand)."""


class Checkpointer(Protocol):
    """Keeper of the state of an unfinished attack (see `invgrad.runtime.checkpoints.Checkpoint`)."""

    def kept(self) -> Mapping[str, Tensor] | None:
        """The state to resume from, on the CPU, if there is one."""

    def due(self) -> bool:
        """Whether the state is to be kept now; asked after every iteration."""

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep this state instead of the one before."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Memory, progress and checkpoint of a run."""

    memory: int | None = None
    """Bytes that the trials may take at once; by default 2 GiB on a CPU, most of what is free on a GPU."""
    progress: Progress | None = None
    checkpoint: Checkpointer | None = None
    """Where the state is kept, and found: the attack resumes from a state that was kept of the same arguments."""
