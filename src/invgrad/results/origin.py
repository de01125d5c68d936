"""Origin of a result: its settings, its code and the files that it was made from, each with an origin of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

from invgrad.results.files import sha256
from invgrad.results.fingerprints import fingerprint, step_code
from invgrad.results.provenance import has_record, read_record
from invgrad.settings import SettingsError

FACTS = ("file", "step", "settings", "code", "inputs", "commit", "uncommitted_changes", "device", "versions", "seconds")
"""Fields of a record that stand in the lineage of what was made from its result."""


@dataclass(frozen=True)
class Origin:
    """All that a result depends on."""

    step: str
    settings: Mapping[str, Any]
    """Every resolved setting of the step, seeds included, as JSON."""
    code: str
    """Fingerprint of the code of the step."""
    inputs: Mapping[str, str]
    """Checksum of each file that the step reads, by its part in it: victim, shared …"""
    lineage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The `FACTS` of every result that this one was made from, directly or not, by its checksum."""
    accepted: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of other code in the lineage, and those of the code that they were taken for."""

    @classmethod
    def of(
        cls,
        step: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Path | None],
        code: Iterable[str | Path] = (),
        *,
        final: bool = False,
    ) -> Self:
        """Origin of what a step makes now.

        `code`: files besides the package's that the step runs. Nothing is made from what is `final`: it needs no
        lineage.
        """
        files = {part: path for part, path in inputs.items() if path}
        checksums = {part: sha256(path) for part, path in files.items()}
        lineage: dict[str, Mapping[str, Any]] = {}
        accepted: dict[str, str] = {}
        for part, path in files.items():
            if has_record(path):
                record = read_record(path)
                if record["sha256"] != checksums[part]:
                    raise SettingsError(f"{path}: is not the file that its record is about")
                accepted |= record.get("accepted", {})
                lineage |= record.get("lineage", {}) | {record["sha256"]: {name: record.get(name) for name in FACTS}}
        return cls(
            step,
            settings,
            code_of(step, *map(str, code)),
            checksums,
            {} if final else lineage,
            {} if final else accepted,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Step, settings, code and inputs: two results of equal facts are the same."""
        return {"step": self.step, "settings": dict(self.settings), "code": self.code, "inputs": dict(self.inputs)}


@cache
def code_of(step: str, *more: str) -> str:
    """Fingerprint of the code that a step runs in this process, with files of the user's own."""
    return fingerprint([*step_code(step), *more])


def numbered(part: str, paths: Iterable[Path]) -> dict[str, Path]:
    """Name several inputs of one kind by their number."""
    return {f"{part} {number}": path for number, path in enumerate(paths)}


def refuse_another_victim(result: Path, origin: Origin, part: str = "victim") -> None:
    """Raise `SettingsError` if a result was made with another victim than what is being made now."""
    if has_record(result) and read_record(result)["inputs"].get("victim") != origin.inputs[part]:
        raise SettingsError(f"{result}: was made with another victim than the one given")


def refuse_other_clients(reconstruction: Path, truth: Path) -> None:
    """Raise `SettingsError` if these are not the images of the clients that were attacked."""
    attacked, true = read_record(reconstruction), read_record(truth)
    shared = attacked["lineage"].get(attacked["inputs"]["shared"])
    if shared is None or any(shared[name] != true[name] for name in ("settings", "inputs")):
        raise SettingsError(f"{truth}: holds images of other clients than were attacked for {reconstruction}")
