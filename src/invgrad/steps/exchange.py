"""Exchange of results between clones: a small part of them is packed, and what agrees with a plan is brought in."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from invgrad.experiments.expected import expected
from invgrad.experiments.plan import Plan
from invgrad.results.agreement import REMADE, Agreement, Expected, summary
from invgrad.results.files import sha256, write, write_json
from invgrad.results.provenance import has_record, read_record, record_path
from invgrad.settings import SettingsError

COMPUTED = ("data", "train", "share", "attack", "measure", "activations")
"""Steps whose results are exchanged; tables and figures are made from these in no time."""


def pack(plan: Plan, out: Path) -> Iterator[str]:
    """Copy to a folder what tables and pictures are made from, as far as it is there; say in a few lines what is not.

    These are the rows with their records, the tensors that pictures show, and the records of trainings whose curves are
    shown. Of an unfinished run what is finished is packed; packed again later, the folder gets the rest. Raises
    `SettingsError` if there is nothing.
    """
    root = plan.files.root
    shown = [path for name in plan.project.artefacts for path in (*plan.shown(name), *plan.described(name))]
    results = [path for path in dict.fromkeys(shown) if path.is_relative_to(root) and path != plan.files.description()]
    if not results:
        raise SettingsError("config: artefacts: none of these shows results to pack")
    reasons = Agreement(root, expected(plan)).disagreements()
    reasons = {path: reasons.get(path, "is not there") for path in results if path in reasons or not path.exists()}
    files = [each for path in results if path not in reasons for each in (path, record_path(path)) if each.exists()]
    if not files:
        raise SettingsError(f"{root}: no results to pack; {next(iter(reasons))}: {next(iter(reasons.values()))}")
    for path in files:
        write(out / path.relative_to(root), partial(shutil.copyfile, path))
    size = sum(path.stat().st_size for path in files) / 2**20
    yield f"{len(results) - len(reasons)} of {len(results)} results packed in {out}: {size:.1f} MiB"
    yield from (line.removesuffix(REMADE) for line in summary(reasons))


def bring_in(plan: Plan, folder: Path, accepted: Sequence[str] = ()) -> Iterator[str]:
    """Copy results of the same scale from a folder, and say in a few lines which were taken and why others were not.

    Taken is what agrees with the plan and with the results at hand, of which none is replaced. `accepted`: commits
    whose results are taken although the code has changed since; their records then say so. Raises `SettingsError` if
    one is no commit, or if the folder has no results that are not here.
    """
    root = plan.files.root
    here = {each.path: each for each in expected(plan) if each.step in COMPUTED}
    places = {path: path if path.exists() else folder / path.relative_to(root) for path in here}
    there = {places[path]: _moved(each, places) for path, each in here.items()}
    offered = [path for path, place in places.items() if place != path and has_record(place)]
    if not offered:
        raise SettingsError(
            f"{folder}: no results of scale {plan.project.config.scale} but those that are here already"
        )
    agreement, refused = Agreement(folder, there.values(), accepted), dict[Path, str]()
    for path in offered:
        place, record = places[path], read_record(places[path])
        if reason := _damage(place, record) or agreement.disagreement(there[place], refused):
            refused[place] = reason
            continue
        if place.exists():  # of a training the record alone may be wanted, for its curve
            write(path, partial(shutil.copyfile, place))
        other = _accepted(here[path], record, here, record["lineage"]) if accepted else {}
        write_json(record_path(path), record | {"accepted": record.get("accepted", {}) | other})
    yield f"{len(offered) - len(refused)} of {len(offered)} results taken from {folder}"
    yield from (line.removesuffix(REMADE) for line in summary(refused))


def _moved(each: Expected, places: dict[Path, Path]) -> Expected:
    inputs = {part: places.get(path, path) for part, path in each.inputs.items()}
    return replace(each, path=places[each.path], inputs=inputs)


def _damage(path: Path, record: dict[str, Any]) -> str | None:
    return "it is not as its record says" if path.exists() and sha256(path) != record.get("sha256") else None


def _accepted(
    each: Expected, facts: Mapping[str, Any], here: Mapping[Path, Expected], lineage: Mapping[str, Any]
) -> dict[str, str]:
    """Map the fingerprints of other code in a record and its lineage to those of the code that they are taken for."""
    found = {facts["code"]: each.fingerprint} if facts["code"] != each.fingerprint else {}
    for part, path in each.inputs.items():
        if path in here and (earlier := lineage.get(facts["inputs"][part])):
            found |= _accepted(here[path], earlier, here, lineage)
    return found
