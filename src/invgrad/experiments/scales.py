"""Scales, which are patches over the experiments, and how a patch is applied."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import filter as filter_names
from functools import reduce
from itertools import combinations, product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from invgrad.experiments.schema import Reasons, must_exist
from invgrad.settings import Settings, SettingsError, merged, unknown

MAY_SCALE = {
    "victims": frozenset(
        {"dataset", "training.epochs", "training.milestones", "checkpoints", "network.width", "network.weights"}
    ),
    "clients": frozenset(
        {"seeds", "clients_per_shard"}
        | {f"targets.{key}" for key in ("split", "start", "every", "indices", "count", "images_per_client")}
    ),
    "cells": frozenset({"attack.iterations", "attack.restarts", "attack.snapshots"}),
    "artefacts": frozenset({"cells"}),
}
"""Settings, by kind of part, that a scale may change: counts, images, data, a network's training, width, weights."""


Patch = dict[str, dict[str, JsonValue]]
"""Changes by name of a part; a pattern such as `lenet-*` stands for every part that it matches."""


Override = dict[Literal["victims", "clients", "cells", "artefacts"], Patch]
"""Changes by kind of part."""


Reach = Mapping[str, frozenset[str]]
"""The parts that each name, which may be a pattern, matches."""


class Scale(Settings):
    """One scale: a patch over the experiments, and sources of each data set; the first one at hand is used."""

    about: str
    sources: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]]
    victims: Patch = Field(default_factory=dict)
    clients: Patch = Field(default_factory=dict)
    cells: Patch = Field(default_factory=dict)
    artefacts: Patch = Field(default_factory=dict)
    left_out: Reasons = Field(default_factory=dict)
    """Cells that show nothing at this scale: a name or pattern, and what was measured, for readers."""
    shown_at: dict[str, str] = Field(default_factory=dict)
    """For artefacts without any cell left, the scale whose picture in the repository is shown in their place."""


def patched(content: Mapping[str, Any], patch: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Apply a patch to the experiments' plain content; of several names that match a part, the narrower wins.

    A pattern changes every part that it matches; another name changes or adds one part. Raises `SettingsError` for a
    pattern that matches no part, and for two patterns that change the same setting of a part if neither is narrower.
    """
    result = dict(content)
    for kind, changes in patch.items():
        parts = dict(result.get(kind, {}))
        fitting = reach(changes, parts)
        for name, found in fitting.items():
            if not found:
                raise SettingsError(f"{where}: {kind}: {unknown('name', name, parts)}")
        for part in sorted(set().union(*fitting.values()), key=[*parts, *changes].index):
            parts[part] = _changed(part, parts.get(part), changes, fitting, f"{where}: {kind}")
        result[kind] = parts
    return result


def reach(names: Iterable[str], known: Iterable[str]) -> Reach:
    """Match each name: a pattern with those of `known` that it matches, another name with itself."""
    return {name: frozenset(filter_names(known, name) if _is_pattern(name) else [name]) for name in names}


def widest_first(part: str, fitting: Reach) -> list[str]:
    """The names that fit a part, the narrower after the wider; nothing is narrower than the part's own name."""
    return sorted(
        (name for name in fitting if part in fitting[name]), key=lambda name: (name == part, -len(fitting[name]))
    )


def undecided(part: str, fitting: Reach) -> Iterator[tuple[str, str]]:
    """Pairs of names that fit a part, neither of which is narrower than the other."""
    for wider, narrower in combinations(widest_first(part, fitting), 2):
        if narrower != part and not fitting[narrower] < fitting[wider]:
            yield wider, narrower


def _changed(part: str, before: Any, changes: Mapping[str, Any], fitting: Reach, where: str) -> Any:
    """Apply to a part the changes of all names that match it."""
    for one, other in undecided(part, fitting):
        for setting in sorted(_both_change(changes[one], changes[other])):
            raise SettingsError(
                f"{where}: '{one}' and '{other}' both change {setting} of {part}, and neither is narrower "
                f"(nearest: change it under '{part}')"
            )
    return reduce(merged, (changes[name] for name in widest_first(part, fitting)), before)


def _both_change(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """The settings that two changes touch, or one of which holds what the other touches."""
    pairs = product(*([f"{path}." for path, _ in leaves(change)] for change in (one, other)))
    return {max(pair).rstrip(".") for pair in pairs if max(pair).startswith(min(pair))}


def cells_named(content: Mapping[Any, Any], cells: Iterable[str]) -> dict[str, Any]:
    """Replace patterns in the artefacts' lists of cells by the names of the cells that match."""
    artefacts = {name: _with_cells_named(artefact, cells) for name, artefact in content.get("artefacts", {}).items()}
    return {**content, "artefacts": artefacts}


def _with_cells_named(artefact: Any, cells: Iterable[str]) -> Any:
    match artefact:
        case {"cells": [*names]} if all(isinstance(name, str) for name in names):
            named = [each for name in names for each in filter_names(cells, name) or [name]]
            return artefact | {"cells": list(dict.fromkeys(named))}
    return artefact


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def refuse_physics(patch: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> None:
    """Raise `SettingsError` if a scale's patch changes more than `MAY_SCALE` allows."""
    for kind, parts in patch.items():
        for name, change in parts.items():
            if not _is_pattern(name):
                must_exist(name, content[kind], kind.removesuffix("s"), f"{path}: {kind}")
            (found,) = reach([name], content[kind]).values()
            for setting, _ in leaves(change):
                group = setting.rpartition(".")[0]
                absent = group and not all(content[kind][part].get(group) for part in found)
                if setting not in MAY_SCALE[kind] or absent:
                    allowed = ", ".join(sorted(MAY_SCALE[kind]))
                    raise SettingsError(
                        f"{path}: {kind}.{name}.{setting}: a scale may change nothing here but {allowed}"
                    )
            if kind == "artefacts" and not _is_pattern(name):
                for cell in _texts(change.get("cells")):
                    must_exist(cell, content[kind][name]["cells"], "cell", f"{path}: artefacts.{name}.cells")


def refuse_unused(override: Mapping[str, Any], content: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """Raise `SettingsError` for a new name in an override that nothing refers to, which is a slip of the pen."""
    referring = {"victims": ("clients", "victim"), "clients": ("cells", "clients"), "cells": ("artefacts", "cells")}
    for kind, (others, key) in referring.items():
        names = {name for part in resolved[others].values() for name in _texts(part.get(key))}
        for name in override.get(kind, {}):
            if not _is_pattern(name) and name not in content[kind] and name not in names:
                raise SettingsError(f"override: {kind}: {unknown('name', name, content[kind])}")


def _texts(setting: Any) -> list[str]:
    """The texts that a setting is or lists; what is anything else is refused later, with its place."""
    return [each for each in (setting if isinstance(setting, list) else [setting]) if isinstance(each, str)]


def leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of every setting that is not a group of settings."""
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
