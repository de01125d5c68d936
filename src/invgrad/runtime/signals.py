"""Signals that ask a process to stop, as preemption, a time limit and Ctrl-C send them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Interrupted(Exception):  # noqa: N818 (nothing went wrong)
    """Exception for a process that was asked to stop, after its job's state was written."""

    def __init__(self, number: int, path: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {path} is kept, and will be resumed")
        self.exit_code = 128 + number
        """The shell's code for a process that a signal ended, so that Snakemake and schedulers see a failure."""


class StopSignal:
    """Flag that a signal to stop sets; `signal` is its number, None until then."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def request(self, number: int, _: object) -> None:
        """Remember the signal; a second Ctrl-C ends the process at once.

        SIGTERM may come several times, from the scheduler and from the processes that it stops.
        """
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stoppable() -> Iterator[StopSignal]:
    """Take SIGTERM (preemption, a time limit) and SIGINT (Ctrl-C) as requests to stop, within the context."""
    stop = StopSignal()
    before = {number: signal.signal(number, stop.request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
