"""Display of the progress of a long loop: a bar in a terminal, plain lines in a log."""

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_BARS = 0.1  # as often as tqdm draws


def duration(seconds: float) -> str:
    """Format a time for people: `0 s`, `45 s`, `3.5 min`, `17 min`, `2.5 h`, `4,057 h`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            number = seconds / size
            return f"{number:,.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"
    return f"{seconds:.0f} s"


class ProgressBar:
    """Progress display of one loop, as a context manager; `show` may be called at every iteration."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._started = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=title, file=sys.stderr, leave=False) if sys.stderr.isatty() else None

    def due(self) -> bool:
        """Tell if `show` would show something now; ask before computing a value for it."""
        between = SECONDS_BETWEEN_LINES if self._bar is None else SECONDS_BETWEEN_BARS
        return time.monotonic() - self._last >= between

    def show(self, done: int, note: str = "") -> None:
        """Show that `done` of the total iterations are done, with a note."""
        if self._bar is not None:
            self._last = time.monotonic()
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        elif self.due():
            self._last = time.monotonic()
            self._line(done, note)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if error is None:
            self._line(self._total, "")

    def _line(self, done: int, note: str) -> None:
        seconds = time.monotonic() - self._started
        tail = f", {note}" if note else ""
        with suppress(BrokenPipeError):  # nobody reads it any more, which is no reason to stop
            print(f"{self._title}: {done}/{self._total}, {seconds:.0f} s{tail}", file=sys.stderr, flush=True)
