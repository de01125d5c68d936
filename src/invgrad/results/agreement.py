"""Agreement of the results at hand with what a plan expects, by their records: times of files decide nothing.

A result that does not agree is made anew, wherever it came from: a run with other settings, a colleague, a backup.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invgrad.results.files import sha256
from invgrad.results.origin import FACTS, code_of
from invgrad.results.provenance import read_record, record_path
from invgrad.results.remembered import Remembered
from invgrad.settings import SettingsError

SEEN = ".verified.json"
"""File in the folder of results: checksums of large files, so that they are not read at every start."""

FOLLOWS = "made anew before it"
"""End of the reason of a result whose input is made anew."""

TEXTS, MAPPINGS = ("sha256", "step", "code"), ("also", "settings", "inputs", "lineage")
"""Fields that a record must have to be compared."""

CHANGES = "+changes"
"""End of the name of a commit whose files had been changed."""

LARGE = ".safetensors"
"""Files that are not read again while size and time stay the same; whoever reads their tensors compares a checksum."""


@dataclass(frozen=True)
class Expected:
    """A result as a plan expects it."""

    path: Path
    step: str
    settings: Callable[[], str]
    """Returns the settings of the step, as JSON."""
    inputs: Mapping[str, Path]
    """Files that it is made from, by their part in it."""
    code: Sequence[str | Path] = ()
    """Files besides the package's that the step runs."""
    also: tuple[Path, ...] = ()
    """Files of the same job that have no record of their own."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the code that is to have made it."""
        return code_of(self.step, *map(str, self.code))


class Agreement:
    """Comparison of the results below a folder with what a plan expects of them."""

    def __init__(self, root: Path, expected: Iterable[Expected], accepted: Sequence[str] = ()) -> None:
        """`accepted`: commits whose code is taken for the code at hand, as `accepts` says.

        Raises `SettingsError` if one of them is no commit.
        """
        for commit in accepted:
            if not re.fullmatch(rf"[0-9a-f]{{7,}}({re.escape(CHANGES)})?", commit):
                raise SettingsError(
                    f"'{commit}' is no commit: give 7 or more of its digits, and {CHANGES} if it had any"
                )
        self._root = root
        self._expected = {each.path: each for each in expected}
        self._results = {record_path(path): path for path in self._expected}
        self._accepted = accepted
        self._records: dict[Path, dict[str, Any] | None] = {}
        self._checksums: dict[Path, str] = {}

    def damaged(self) -> dict[Path, str]:
        """Return every file that is not as its record says, with both checksums in words."""
        known, found = Remembered(self._root / SEEN, "sha256", sha256), {}
        for file, recorded in self._recorded():
            checksum = known.about(file) if file.suffix == LARGE else sha256(file)
            if checksum != recorded:
                found[file] = f"its sha256 is {checksum[:16]}…, in its record {recorded[:16]}…"
        known.keep()
        return found

    def set_aside(self, file: Path) -> Path:
        """Move a damaged file to the folder `damaged`, and return its path there; `SettingsError` if it cannot be."""
        aside = self._root / "damaged" / f"{sha256(file)[:8]}-{file.name}"
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, aside)  # which may be on another disk
        except OSError as error:
            raise SettingsError(f"{file}: damaged, and cannot be moved aside: {error.strerror}") from None
        return aside

    def disagreements(self) -> dict[Path, str]:
        """Return every result that is not as expected, with the reason."""
        reasons: dict[Path, str] = {}
        for path, expected in self._expected.items():
            if path.exists() and (reason := self.disagreement(expected, reasons)):
                reasons[path] = reason
        return reasons

    def missing_after(self, results: Collection[Path]) -> set[Path]:
        """Return the results that are not there and are made, directly or through each other, from these."""
        missing: set[Path] = set()
        for path in self._expected:
            if not path.exists() and any(each in results or each in missing for each in self._before(path)):
                missing.add(path)
        return missing

    def records_before(self, path: Path) -> list[Path]:
        """List the records of the results that this one is made from."""
        return [record_path(each) for each in self._before(path)]

    def _before(self, path: Path) -> list[Path]:
        results = [self._results.get(each, each) for each in self._expected[path].inputs.values()]
        return [each for each in results if each in self._expected]

    def disagreement(self, expected: Expected, others: Collection[Path] = ()) -> str | None:
        """Return the reason why a result is not as expected, or None; `others`: results that are known not to be."""
        record = self._record(expected.path)
        if record is None:
            return "it has no record of this version"
        if any(not file.is_file() or file.name not in record["also"] for file in expected.also):
            return "it lacks a file of the same job"
        return self._difference(expected, record, record, others)

    def _difference(
        self, expected: Expected, facts: Mapping[str, Any], record: Mapping[str, Any], others: Collection[Path]
    ) -> str | None:
        """Return how a result differs by its facts, or by those of what it was made from and is no longer here.

        `record` holds the lineage, and the code that was accepted in place of the present one.
        """
        if facts["step"] != expected.step or facts["inputs"].keys() != expected.inputs.keys():
            return "it was made from other parts"
        if (was := facts["settings"]) != (wanted := json.loads(expected.settings())):
            return f"it was made with other settings: {_changed(was, wanted)}"
        accepted = record.get("accepted", {}).get(facts["code"], facts["code"])
        if accepted != expected.fingerprint and not any(accepts(commit, facts) for commit in self._accepted):
            return f"the code has changed since commit {_commit(facts)}"
        for part, path in expected.inputs.items():
            if self._results.get(path, path) in others:
                return f"{_words(part)} {FOLLOWS}"
            if path.exists() and facts["inputs"][part] != self._checksum(path):
                return f"it was made with other {_words(part)}"
            if path in self._expected and not path.exists():
                earlier = record["lineage"].get(facts["inputs"][part])
                if earlier is None:
                    return f"{_words(part)} not there to be compared"
                if reason := self._difference(self._expected[path], earlier, record, others):
                    return f"of its {_words(part)}: {reason}"
        return None

    def _checksum(self, path: Path) -> str:
        if path not in self._checksums:
            record = self._record(path)
            self._checksums[path] = record["sha256"] if record else sha256(path)
        return self._checksums[path]

    def _recorded(self) -> Iterator[tuple[Path, str]]:
        """Every file at hand of which a record tells the checksum, and this."""
        for expected in self._expected.values():
            if content := self._record(expected.path):
                checksums = {expected.path: content["sha256"]}
                checksums |= {file: content["also"].get(file.name) for file in expected.also}
                for file, checksum in checksums.items():
                    if checksum and file.is_file():
                        yield file, checksum

    def _record(self, path: Path) -> dict[str, Any] | None:
        """Read the record of a file, once; None if there is none of this version."""
        if path not in self._records:
            with suppress(SettingsError):
                record = read_record(path)
                self._records[path] = record if _is_whole(record) else None
        return self._records.setdefault(path, None)


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Return whether a record, which may be a stranger's, has what is compared."""
    kinds = {**dict.fromkeys(TEXTS, str), **dict.fromkeys(MAPPINGS, dict)}
    if not all(isinstance(record.get(name), kind) for name, kind in kinds.items()):
        return False
    has_facts = all(isinstance(each, dict) and each.keys() >= set(FACTS) for each in record["lineage"].values())
    return has_facts and isinstance(record.get("accepted", {}), dict) and record.keys() >= set(FACTS)


def _commit(facts: Mapping[str, Any]) -> str:
    """Name the commit of a result, as `accepts` takes it."""
    return str(facts["commit"])[:7] + CHANGES * bool(facts["uncommitted_changes"])


def accepts(commit: str, facts: Mapping[str, Any]) -> bool:
    """Return whether a result is of this commit, which may be cut short; uncommitted changes are told by `+changes`."""
    name, changed, _ = commit.partition(CHANGES)
    return str(facts["commit"]).startswith(name) and bool(facts["uncommitted_changes"]) == bool(changed)


REMADE = "; made anew if needed"
"""End of each of `summary`'s lines."""


def summary(reasons: Mapping[Path, str]) -> Iterator[str]:
    """Say in one line for each reason which results are made anew."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in reasons.items():
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        if not reason.endswith(FOLLOWS):
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            yield f"{paths[0]}{more}: {reason}{REMADE}"


def _words(part: str) -> str:
    return part.rstrip("0123456789 ")


def _changed(was: Any, wanted: Any, name: str = "") -> str:
    """Name the first setting that differs, e.g. `attack.iterations 5, not 4800`."""
    if isinstance(was, dict) and isinstance(wanted, dict):
        # One that is unset is not the same as null: an earlier version did not have it.
        key = next(key for key in {**wanted, **was} if was.get(key, ...) != wanted.get(key, ...))
        return _changed(was.get(key, ...), wanted.get(key, ...), f"{name}.{key}" if name else key)
    return f"{name} {_short(was)}, not {_short(wanted)}"


def _short(value: Any, longest: int = 60) -> str:
    text = "unset" if value is ... else json.dumps(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
