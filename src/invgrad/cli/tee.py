"""Text stream that also writes to a log."""

import io
from typing import TextIO


class Tee(io.TextIOBase):
    """Text stream that writes to a log, and then to the stream that it replaces.

    The log comes first: the reader of the stream may be gone, e.g. if a signal ends a whole pipeline.
    """

    def __init__(self, log: TextIO, stream: TextIO) -> None:
        self._log = log
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text to both."""
        self._log.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush both."""
        self._log.flush()
        self._stream.flush()

    def isatty(self) -> bool:
        """False, so that progress is shown in plain lines, which a log can hold."""
        return False

    def fileno(self) -> int:
        """The file descriptor of the stream."""
        return self._stream.fileno()
