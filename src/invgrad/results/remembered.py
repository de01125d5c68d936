"""Answers about files, asked again only when a file may have changed."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from invgrad.results.files import write

Answer = TypeVar("Answer")

SETTLED = 2_000_000_000
"""Nanoseconds after which a change of a file gives it another time on any file system."""


class Remembered(Generic[Answer]):
    """Answers about files, valid while size, times and inode of a file stay as they are.

    They are kept in one file, which any process may write and which may be lost.
    """

    def __init__(self, place: Path, origin: str, ask: Callable[[Path], Answer]) -> None:
        """`origin`: what all answers, which are JSON, depend on besides the file that each is about."""
        self._place, self._origin, self._ask = place, origin, ask
        self._answers = self._kept()
        self._settled = time.time_ns() - SETTLED
        self._has_new = False

    def about(self, file: Path | str) -> Answer:
        """Return the answer about a file."""
        # There may be thousands of files, and paths take twice as long.
        status = os.stat(file)  # noqa: PTH116
        looks = [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]
        name = os.fspath(file)
        known = self._answers.get(name)
        if known is None or known[0] != looks:
            known = self._answers[name] = [looks, self._ask(Path(file))]
            self._has_new = True
        answer: Answer = known[1]
        return answer

    def keep(self) -> None:
        """Write the answers, where that is possible, but for those about files that were still changing or are gone."""
        if self._has_new:
            kept = {
                name: known
                for name, known in (self._kept() | self._answers).items()  # others have kept theirs meanwhile
                if max(known[0][:2]) < self._settled and Path(name).exists()
            }
            content = json.dumps({"origin": self._origin, "answers": kept})
            with suppress(OSError):
                write(self._place, lambda partial: partial.write_text(content, encoding="utf-8"))
            self._has_new = False

    def _kept(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(self._place.read_text(encoding="utf-8"))
            return dict(content["answers"]) if content["origin"] == self._origin else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}
