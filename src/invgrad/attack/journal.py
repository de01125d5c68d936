"""Progress and checkpoint of an attack whose trials run batch after batch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from invgrad.attack.options import RunOptions
from invgrad.attack.state import BatchState, Outcome


class Journal:
    """Record of an attack's progress: the outcomes of the finished batches, and the state of the current one.

    A checkpoint holds the range of the current batch, its `BatchState.tensors`, and the outcomes of earlier batches.
    """

    def __init__(self, trials: int, iterations: int, options: RunOptions, device: torch.device) -> None:
        self._trials, self._iterations, self._options = trials, iterations, options
        self._kept: Mapping[str, Tensor] = (options.checkpoint.kept() if options.checkpoint else None) or {}
        self._ended = _ended(self._kept, device)

    @property
    def unfinished(self) -> slice | None:
        """The batch at which an earlier run stopped, if a checkpoint was found."""
        return slice(*self._kept["batch"].tolist()) if self._kept else None

    def state_of(self, which: slice) -> Mapping[str, Tensor] | None:
        """Return the checkpointed state of this batch, if there is one."""
        return self._kept if self.unfinished == which else None

    def note(self, which: slice, state: BatchState, matching: Tensor) -> None:
        """Show the progress after an iteration of this batch, and write a checkpoint if one is due."""
        if self._options.progress:
            done = which.start * self._iterations + state.done * len(state.images)
            self._options.progress(done, self._trials * self._iterations, matching)
        if self._options.checkpoint and self._options.checkpoint.due():
            self._options.checkpoint.keep(self._tensors(which, state))

    def end(self, outcome: Outcome) -> None:
        """Add the outcome of the current batch."""
        self._ended.append(outcome)

    def close(self) -> Outcome:
        """Write a checkpoint after the last batch, and return the outcome of all trials."""
        if self._options.checkpoint:  # with a batch after the last, so that a resumed attack has nothing left to do
            self._options.checkpoint.keep(self._tensors(slice(self._trials, self._trials + 1)))
        return _joined(self._ended)

    def _tensors(self, which: slice, state: BatchState | None = None) -> dict[str, Tensor]:
        ended = _joined(self._ended)._asdict() if self._ended else {}
        return {
            "batch": torch.tensor([which.start, which.stop]),
            **{f"ended.{name}": tensor for name, tensor in ended.items()},
            **(state.tensors() if state else {}),
        }


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(*map(torch.cat, zip(*outcomes, strict=True)))


def _ended(kept: Mapping[str, Tensor], device: torch.device) -> list[Outcome]:
    """Read the outcomes of the batches before the checkpointed one; trajectories stay on the CPU."""
    if f"ended.{Outcome._fields[0]}" not in kept:
        return []
    ended = {name: kept[f"ended.{name}"] for name in Outcome._fields}
    on_device = {name: each.to(device) for name, each in ended.items() if not name.startswith("trajectory")}
    return [Outcome(**ended | on_device)]
