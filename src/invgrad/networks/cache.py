"""Cache of slow answers in files of the user's cache folder."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from invgrad.results.files import write_json

Answer = TypeVar("Answer")


def kept(
    name: str, origin: Mapping[str, str], key: str, kind: TypeAdapter[Answer], ask: Callable[[], Answer]
) -> Answer:
    """Return the answer that the file of this `name` and `origin` has for this key, or `ask` and keep it there.

    All answers of a file depend on `origin`; every origin has a file of its own, so that two clones of the project do
    not ask again in turn. A damaged file counts for nothing, and nothing is kept where the folder cannot be written.
    """
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    path = _folder() / f"{name}-{digest[:12]}.json"
    with suppress(KeyError, ValidationError):
        return kind.validate_python(_answers(path)[key])
    answer = ask()
    with suppress(OSError):  # beside what other processes have kept meanwhile
        write_json(path, _answers(path) | {key: kind.dump_python(answer, mode="json")})
    return answer


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "invgrad"


def _answers(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
