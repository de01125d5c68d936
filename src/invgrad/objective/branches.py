"""Evaluations that do not depend on each other: side by side on a GPU, one after the other on a CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")

SIDE_BY_SIDE = 8
"""Trials that run side by side on a GPU; each keeps the memory that it took."""


class Branches:
    """Streams of a GPU that leave the present one and join it again. A recording keeps them as a graph's branches."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = [torch.cuda.Stream(device) for _ in range(SIDE_BY_SIDE)] if device.type == "cuda" else []

    @property
    def at_once(self) -> int:
        """Evaluations that run at once."""
        return max(1, len(self._streams))

    def each(self, evaluate: Callable[[int], Result], count: int) -> list[Result]:
        """Return the results of `evaluate` for the numbers below `count`.

        It may read what the present stream has computed, and what it writes is complete for that stream afterwards.
        """
        streams = self._streams[:count]
        if not streams:
            return [evaluate(number) for number in range(count)]
        results = []
        with self._apart(streams):
            for number in range(count):
                with torch.cuda.stream(streams[number % len(streams)]):
                    results.append(evaluate(number))
        return results

    @contextmanager
    def _apart(self, streams: list[torch.cuda.Stream]) -> Iterator[None]:
        """Let these streams leave the present one, and join it at the end: after an error too, which a recording that
        they had not joined would hide.
        """
        present = torch.cuda.current_stream(self._device)
        for stream in streams:
            stream.wait_stream(present)
        try:
            yield
        finally:
            for stream in streams:
                present.wait_stream(stream)
