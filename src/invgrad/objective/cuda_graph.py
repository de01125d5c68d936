"""CUDA graph of a repeated evaluation.

An evaluation starts hundreds to thousands of kernels, and a CPU takes longer to start most of them than a GPU to run
them. A CUDA graph starts all of them at once.
"""

from collections.abc import Callable

import torch

from invgrad.objective.evaluation import Evaluation

Evaluate = Callable[[], Evaluation]
"""An evaluation at the present values of tensors that stay where they are in memory."""

CALLS_BEFORE = 2
"""Evaluations before the recorded one; libraries initialise then, which they cannot do while recording."""


def repeated(evaluate: Evaluate, device: torch.device) -> Evaluate:
    """Return a faster function to call in place of `evaluate`; the same function where there is no GPU."""
    return _Replayed(evaluate, device) if device.type == "cuda" else evaluate


class _Replayed:
    """A function that is recorded on its third call, and replayed from then on.

    A function that waits for the GPU, as a user's network may, cannot be recorded; it is called as it is. One that
    needs more memory than there is raises torch's `OutOfMemoryError` when it is recorded, as when it is called.
    """

    def __init__(self, evaluate: Evaluate, device: torch.device) -> None:
        self._evaluate = evaluate
        self._device = device
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> Evaluation:
        if self._calls == CALLS_BEFORE:
            self._record()
        self._calls += 1
        if self._graph is None:
            return self._evaluate()
        self._graph.replay()
        return _copied(self._recorded)  # the next replay writes to the same memory

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            # A new stream of this device: torch's own for recordings is of the first device that recorded something.
            with (
                torch.cuda.device(self._device),
                _same_stream_afterwards(),
                torch.cuda.graph(graph, stream=torch.cuda.Stream()),
            ):
                self._recorded = self._evaluate()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return
        self._graph = graph


def _same_stream_afterwards() -> torch.cuda.StreamContext:
    """Return to the present stream in any case; torch stays on another when a recording fails."""
    return torch.cuda.stream(torch.cuda.current_stream())


def _copied(found: Evaluation) -> Evaluation:
    label_gradient = None if found.label_gradient is None else found.label_gradient.clone()
    return Evaluation(found.image_gradient.clone(), label_gradient, found.objective.clone(), found.matching.clone())
