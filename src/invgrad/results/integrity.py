"""Comparison of results with their records, so that a damaged result is made again and not built upon."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from invgrad.results.files import sha256, write_json
from invgrad.settings import SettingsError

SEEN = ".verified.json"
"""File in the folder of results: sizes and times of the files when they were last compared with their records."""


def set_damaged_aside(root: Path) -> list[str]:
    """Move every file below `root` that does not match its record to the folder `damaged` there.

    Its job then runs again. Returns a sentence for each such file; raises `SettingsError` if one cannot be moved. A
    file is not read again if its size and time are as they were when it was last compared.
    """
    before, seen, sentences = _seen(root), {}, []
    for file, record in _recorded(root):
        name = str(file.relative_to(root))
        looks = [file.stat().st_size, file.stat().st_mtime_ns, record.stat().st_mtime_ns]
        if before.get(name) != looks and (problem := _problem(file, record)):
            sentences.append(f"{file}: {problem}; moved to {_move(file, root)}, it is made again if it is needed")
        else:
            seen[name] = looks
    if seen != before:
        with suppress(OSError):  # results that are only read
            write_json(root / SEEN, seen)
    return sentences


def refuse_unexplained(root: Path, bookkeeping: Path) -> None:
    """Raise `SettingsError` if there are results below `root` of which Snakemake does not know the settings.

    Snakemake would accept them for any settings. `bookkeeping`: its folder `.snakemake`.
    """
    known = any(next((bookkeeping / name).glob("*"), None) for name in ("metadata", "incomplete"))
    if not known and next(_recorded(root), None):
        raise SettingsError(
            f"{root}: holds results, but {bookkeeping / 'metadata'} does not say with which settings they were made, "
            f"so a changed one would go unnoticed: bring it back (dvc pull), or move {root} away"
        )


def _recorded(root: Path) -> Iterator[tuple[Path, Path]]:
    """Every result that has a record beside it, and the record."""
    for record in sorted(root.rglob("*.json")):
        for suffix in (".safetensors", ".csv", ".ipynb"):
            if (file := record.with_suffix(suffix)).is_file():
                yield file, record


def _problem(file: Path, record: Path) -> str | None:
    try:
        expected = json.loads(record.read_text())["sha256"]
    except (KeyError, TypeError, ValueError):
        return f"its record {record} cannot be read"
    found = sha256(file)
    return None if found == expected else f"damaged: its sha256 is {found[:16]}…, in its record {expected[:16]}…"


def _move(file: Path, root: Path) -> Path:
    aside = root / "damaged" / f"{sha256(file)[:8]}-{file.name}"
    try:
        aside.parent.mkdir(exist_ok=True)
        file.rename(aside)
    except OSError as error:
        raise SettingsError(f"{file}: damaged, and cannot be moved aside: {error.strerror}") from None
    return aside


def _seen(root: Path) -> dict[str, list[int]]:
    try:
        seen: dict[str, list[int]] = json.loads((root / SEEN).read_text())
    except (OSError, ValueError):
        return {}
    return seen
