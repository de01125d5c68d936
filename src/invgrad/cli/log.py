"""Log of a command, which takes the place of its output."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO


def write_to(path: Path) -> None:
    """Let a log take the place of both output streams, also for what libraries and other processes write to them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("w", encoding="utf-8", errors="backslashreplace")
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    sys.stdout, sys.stderr = LogStream(log, terminal), LogStream(log, terminal)


class LogStream(io.TextIOBase):
    """Text stream that writes to a log, and to the terminal where the log cannot be written."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self._log = log
        self._terminal = terminal
        self._unwritten = ""

    def write(self, text: str) -> int:
        """Write the text, line by line."""
        self._unwritten += text
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what is there. A log that cannot be written, on a full disk say, ends with a line on the terminal, and
        what follows is written there.
        """
        text, self._unwritten = self._unwritten, ""
        if not self._log.closed:
            try:
                self._log.write(text)
                self._log.flush()
                return
            except OSError as error:
                with suppress(OSError):
                    self._log.close()
                self._terminal.write(f"{self._log.name}: the log ends here: {error}\n")
        self._terminal.write(text)

    def isatty(self) -> bool:
        """False, so that progress is shown in plain lines, which a log can hold."""
        return False

    def fileno(self) -> int:
        """The descriptor of the log, also for processes that the command starts."""
        return 2
