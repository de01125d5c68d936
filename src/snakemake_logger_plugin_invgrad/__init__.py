"""Quiet console for Snakemake: one line of progress, warnings and errors whole, and at the end what was made.

Snakemake finds loggers by the name of this package; workflow/profiles/default chooses it. Its own log, below
.snakemake/log, holds all that it says, and so does the console with --verbose, --printshellcmds, --quiet or --dry-run.
"""

import logging
import re
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_invgrad.run import Run

LAST_LINES = 20
"""Number of lines that are shown of a failed job's log."""

SECONDS_BETWEEN_LINES, SHARE_BETWEEN_LINES = 10.0, 0.05
"""Least time between two lines of progress in a file: seconds, and a share of the time that has passed. So a run of
minutes prints a line now and then, and a run of days not thousands.
"""

COMMAND = re.compile("Command '.*' (returned|died)", re.DOTALL)
"""Text in which Snakemake repeats a command that has failed, whole; its own log has it, too."""


class LogHandler(LogHandlerBase):
    """Console of one call of Snakemake."""

    def __post_init__(self) -> None:
        self._run: Run | None = None
        self._before: list[str] = []
        self._stream = sys.stderr
        self._rewrites = self._stream.isatty()
        self._next_line = 0.0
        self._ended = threading.Event()
        # Snakemake's own log may be on a full disk: no traceback for each line that it lacks.
        logging.raiseExceptions = False

    @property
    def writes_to_stream(self) -> bool:
        """False where someone asked for Snakemake's own messages: it then prints them itself."""
        asked = self.common_settings
        return not (asked.verbose or asked.printshellcmds or asked.debug_dag or asked.dryrun or asked.quiet)

    writes_to_file = needs_rulegraph = False
    has_filter = has_formatter = True

    def emit(self, record: LogRecord) -> None:
        """Show what is to be seen of a message of Snakemake's."""
        if self.writes_to_stream:
            self._show(record, vars(record))

    def close(self) -> None:
        """Show how the run ended; if there was none, what Snakemake said in its place."""
        if not self._ended.is_set():
            self._ended.set()
            self._print(*(self._run.summary() if self._run else self._before))
        super().close()

    def _show(self, record: LogRecord, about: dict[str, Any]) -> None:
        match about.get("event"):
            case LogEvent.RUN_INFO if not self._run:
                self._run = Run(about["stats"]["total"])
                threading.Thread(target=self._keep_showing, daemon=True).start()
            case "expected" if self._run:  # see `expected.py`
                self._run.expect(about["seconds"], about["at_once"])
            case LogEvent.JOB_INFO if self._run:
                self._run.begin(about["jobid"], about["rule_name"], about["wildcards"], about["output"])
            case LogEvent.JOB_FINISHED if self._run:
                self._run.finish(about["job_id"])
            case LogEvent.JOB_ERROR:
                self._print(*_failure(about))
                if self._run:
                    self._run.fail(about["jobid"])
            case LogEvent.GROUP_ERROR:
                self._print(*_group_failure(about))
            case _ if record.levelno >= WARNING:
                self._before = []
                self._print(COMMAND.sub(r"Its command \1", record.getMessage()))
            case None if not self._run:
                self._before.append(record.getMessage())
        self._progress()

    def _keep_showing(self) -> None:
        """Show the time that passes, also while no job begins or ends."""
        while not self._ended.wait(1):
            self.acquire()
            try:
                self._progress()
            finally:
                self.release()

    def _progress(self) -> None:
        if self._run is None or not self._run.began or self._ended.is_set():
            return
        line, passed = self._run.line(), self._run.seconds
        if self._rewrites:
            self._write(f"\r{line[: shutil.get_terminal_size().columns - 1]}\033[K")
        elif passed >= self._next_line:
            self._next_line = passed + max(SECONDS_BETWEEN_LINES, SHARE_BETWEEN_LINES * passed)
            self._write(f"{line}\n")

    def _print(self, *lines: str) -> None:
        clear = "\r\033[K" if self._rewrites and self._run else ""
        self._write(clear + "".join(f"{line}\n" for line in lines))

    def _write(self, text: str) -> None:
        with suppress(BrokenPipeError):  # nobody reads it any more, which is no reason to stop
            self._stream.write(text)
            self._stream.flush()


def _failure(about: dict[str, Any]) -> Iterator[str]:
    """A failed job's rule, and the last lines of its logs."""
    yield f"Failed: {about['rule_name']}" + "".join(f", for {path}" for path in about["output"][:1])
    if about["rule_msg"]:
        yield str(about["rule_msg"])
    for log, lines in _logs(about["log"]):
        yield f"Its log, {log}, " + ("ends:" if lines else "is empty")
        yield from lines[-LAST_LINES:]


def _group_failure(about: dict[str, Any]) -> Iterator[str]:
    """A failed group, and the errors in its cluster job's logs: its jobs' own may be on a full disk."""
    yield f"Failed: group {about['groupid']}"
    for log, lines in _logs(about["aux_logs"]):
        yield f"Its log, {log}, " + ("says:" if lines else "is empty")
        yield from [line for line in lines if line.startswith("error:")] or lines[-LAST_LINES:]


def _logs(paths: Iterable[str]) -> Iterator[tuple[Path, list[str]]]:
    """The logs that are there, without notebooks, and their lines."""
    for log in (path for path in map(Path, paths) if path.is_file() and path.suffix != ".ipynb"):
        yield log, log.read_text(encoding="utf-8", errors="replace").splitlines()
