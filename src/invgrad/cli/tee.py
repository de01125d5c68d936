"""Text stream that also writes to a log."""

import io
from contextlib import suppress
from typing import TextIO


class Tee(io.TextIOBase):
    """Text stream that writes to a log, and then to the stream that it replaces.

    The log comes first: the reader of the stream may be gone, e.g. if a signal ends a whole pipeline.
    """

    def __init__(self, log: TextIO, stream: TextIO) -> None:
        self._log = log
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text to both. A log that cannot be written, on a full disk say, ends with a line on the stream; the
        command continues.
        """
        notice = ""
        try:
            if not self._log.closed:
                self._log.write(text)
        except OSError as error:  # at the end of a line, since the log is written line by line
            notice = f"{self._log.name}: the log ends here: {error}\n"
            with suppress(OSError):
                self._log.close()
        written = self._stream.write(text)
        if notice:
            self._stream.write(notice)
        return written

    def flush(self) -> None:
        """Flush the stream; the log is flushed with every line."""
        self._stream.flush()

    def isatty(self) -> bool:
        """False, so that progress is shown in plain lines, which a log can hold."""
        return False

    def fileno(self) -> int:
        """The file descriptor of the stream."""
        return self._stream.fileno()
