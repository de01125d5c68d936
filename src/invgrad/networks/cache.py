"""Cache of slow answers in a file of the user's cache folder."""

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
    """Return the answer that the file `name` has for this key, or `ask` and keep it there.

    All answers of the file depend on `origin`: those of another origin are discarded, as is a damaged file. Nothing is
    kept where the folder cannot be written.
    """
    path = _folder() / f"{name}.json"
    answers = _answers(path, origin)
    with suppress(KeyError, ValidationError):
        return kind.validate_python(answers[key])
    answer = ask()
    with suppress(OSError):
        write_json(path, {"origin": origin, "answers": answers | {key: kind.dump_python(answer, mode="json")}})
    return answer


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "invgrad"


def _answers(path: Path, origin: Mapping[str, str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        return dict(content["answers"]) if content["origin"] == origin else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
