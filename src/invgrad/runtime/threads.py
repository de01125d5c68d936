"""Threads of OpenMP, and how they wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import torch

from invgrad.runtime.cores import usable_cores

GRAIN = 2**15
"""Elements of a tensor for which torch takes one more thread."""


@contextmanager
def soon_asleep() -> Iterator[None]:
    """Let threads that wait for each other fall asleep soon, within the context.

    Otherwise each spins for milliseconds, at the end of every operation. Where another process shares the cores, it
    takes the core that the thread it waits for needs: attacks were 8 to 50 times as slow (two threads, two cores, two
    busy processes). GNU's OpenMP spins a thousandth of that while it has more threads than there are cores. So idle
    threads are kept beside those that compute; these are as many as before, and no result changes.
    """
    count, end, started = torch.get_num_threads(), Event(), list[Thread]()
    # Each team adds all its threads but the first.
    teams = max(0, usable_cores() - count) // (count - 1) + 1 if count > 1 else 0
    try:
        for _ in range(teams):
            started.append(_idle_team(count, end))
        yield
    finally:
        end.set()
        for thread in started:
            thread.join()


def _idle_team(count: int, end: Event) -> Thread:
    """Start as many threads as torch computes with, which sleep until the end."""
    ready = Event()

    def compute_once() -> None:
        torch.ones(count * GRAIN)
        ready.set()
        end.wait()

    thread = Thread(target=compute_once, daemon=True)
    thread.start()
    ready.wait()
    return thread
