"""Reader of the files of the experiments: resolves sources of settings, bases that parts extend, and sweeps.

config/README.md explains the format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from invgrad.settings import Loader, SettingsError, another_kind, read_yaml, refuse_unplain, unknown

Provenance = Literal["code", "quoted", "recalled", "chosen"]
"""Source of a setting: the released code, a public quotation of the paper, memory of the paper, or our choice."""

KINDS = ("victims", "clients", "cells", "artefacts")
BASES = "bases"
"""Key beside the kinds: named settings for parts to extend."""

EXTENDS, SWEEP = "extends", "sweep"

HELD = {"cells": ("clients", "clients"), "clients": ("victim", "victims")}
"""For each kind of part, the setting that may hold another part in place of its name, and the kind of that part."""


MOST_SWEPT = 10_000
"""Most parts that one sweep may stand for."""


@dataclass(frozen=True)
class Tagged:
    """A value that stands in a file behind the tag of its source."""

    value: Any
    source: Provenance


@dataclass(frozen=True)
class Node:
    """A setting, or a mapping of settings, and its source; None for a mapping whose settings have their own."""

    value: Any
    source: Provenance | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Written:
    """Experiments as written: plain settings of every part by kind and name, and their sources by path."""

    content: dict[str, dict[str, Any]]
    sources: dict[str, dict[str, dict[str, Provenance]]]

    def source(self, kind: str, name: str, path: str) -> Provenance:
        """The source of a setting of a part, or of the innermost mapping around it that has one; else it is chosen."""
        known = self.sources[kind].get(name, {})
        while path and path not in known:
            path = path.rpartition(".")[0]
        return known.get(path, "chosen")


def experiment_files(path: Path) -> list[Path]:
    """The files of a folder of experiments, in the order of their names; a single file is one."""
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def read_experiments(path: Path) -> Written:
    """Read the experiments of a file, or of a folder of files; `SettingsError` if a file or a part of it is wrong."""
    parts: dict[str, dict[str, Node]] = {key: {} for key in (BASES, *KINDS)}
    files = experiment_files(path)
    if not files:
        raise SettingsError(f"{path}: holds no .yaml file")
    for file in files:
        for kind, name, part in _parts_of(file):
            if name in parts[kind]:
                raise SettingsError(f"{file}: {kind}.{name}: there are two of this name")
            parts[kind][name] = part
    whole = {kind: _extended(f"{path}: {kind}", parts[kind], parts[BASES]) for kind in KINDS}
    return Written(
        {kind: {name: _plain(part) for name, part in named.items()} for kind, named in whole.items()},
        {kind: {name: dict(_sources(part)) for name, part in named.items()} for kind, named in whole.items()},
    )


def _parts_of(file: Path) -> Iterator[tuple[str, str, Node]]:
    """Yield kind, name and settings of every part of a file, with those of sweeps and those that other parts hold."""
    read = read_yaml(file, TaggedLoader)
    refuse_unplain(read, str(file), _untagged)
    for kind, named in _mapping(_node(read, str(file)), str(file)).items():
        if kind not in (BASES, *KINDS):
            raise SettingsError(f"{file}: {unknown('key', kind, (BASES, *KINDS))}")
        for name, part in _mapping(named, f"{file}: {kind}").items():
            where = f"{file}: {kind}.{name}"
            _mapping(part, where)
            _text(name, where)
            for each, swept in _swept(name, part, where):
                yield from _unfolded(kind, each, swept)


class TaggedLoader(Loader):
    """YAML loader that reads `!code 3` as `Tagged(3, "code")`."""


def _tagged(loader: Any, tag: str, node: Any) -> Tagged:
    if tag not in get_args(Provenance):
        where = f"line {node.start_mark.line + 1}: "
        raise yaml.YAMLError(where + unknown("tag", f"!{tag}", (f"!{each}" for each in get_args(Provenance))))
    match node:
        case yaml.MappingNode():
            value = loader.construct_mapping(node, deep=True)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            implied = loader.resolve(yaml.ScalarNode, node.value, (not node.style, bool(node.style)))
            value = loader.construct_object(yaml.ScalarNode(implied, node.value))
    return Tagged(value, tag)  # type: ignore[arg-type]


TaggedLoader.add_multi_constructor("!", _tagged)


def _node(read: Any, where: str, source: Provenance | None = None) -> Node:
    """Convert what was read: every setting gets the source of its tag, or of the nearest tag around it."""
    if isinstance(read, Tagged):
        return _node(read.value, where, read.source)
    if isinstance(read, dict):
        return Node({key: _node(value, f"{where}: {key}", source) for key, value in read.items()}, source)
    if isinstance(read, list) and any(isinstance(each, Tagged) for each in read):
        raise SettingsError(f"{where}: a source stands before a whole list, not in it: {[*map(_untagged, read)]}")
    return Node(read, source or "chosen")


def _untagged(read: Any) -> Any:
    return read.value if isinstance(read, Tagged) else read


def _mapping(node: Node, where: str) -> dict[str, Node]:
    if not isinstance(node.value, dict):
        raise SettingsError(f"{where}: must hold keys with values, but holds {node.value!r}")
    return node.value


def _text(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise SettingsError(f"{where}: a name must be text, but is {name!r}")
    return name


def _over(base: Node, patch: Node) -> Node:
    """Merge a patch over a base: values, each with its source."""
    if not (isinstance(base.value, dict) and isinstance(patch.value, dict)) or another_kind(base.value, patch.value):
        return patch
    changed = {key: _over(base.value[key], each) if key in base.value else each for key, each in patch.value.items()}
    return Node(base.value | changed, patch.source or base.source)


def _unfolded(kind: str, name: str, part: Node) -> Iterator[tuple[str, str, Node]]:
    """A part, and before it the one that it holds in place of a name: its clients, or their victim."""
    key, kind_of_held = HELD.get(kind, ("", ""))
    held = part.value.get(key) if key else None
    if held and isinstance(held.value, dict):
        its_name = held.value.get("name", Node(name))
        yield from _unfolded(kind_of_held, _text(its_name.value, f"{kind}.{name}.{key}.name"), _without(held, "name"))
        part = _over(part, Node({key: its_name}))
    yield kind, name, part


def _extended(where: str, parts: Mapping[str, Node], bases: Mapping[str, Node]) -> dict[str, Node]:
    """The parts of a kind, each over what it extends: bases, or other parts of its kind, which may do so themselves."""
    known = {**bases, **parts}

    def whole(name: str, below: tuple[str, ...]) -> Node:
        if name in below:
            raise SettingsError(f"{where}: {EXTENDS}: {' extends '.join((*below, name))}")
        part = known[name]
        said = part.value.get(EXTENDS, Node([])).value
        extended = said if isinstance(said, list) else [said]
        for each in extended:
            if not isinstance(each, str) or each not in known:
                raise SettingsError(f"{where}.{name}: {EXTENDS}: {unknown('base', each, known)}")
        return reduce(_over, (*(whole(each, (*below, name)) for each in extended), _without(part, EXTENDS)))

    return {name: whole(name, ()) for name in parts}


def _swept(name: str, part: Node, where: str) -> Iterator[tuple[str, Node]]:
    """The parts that a sweep stands for, in order; the part itself if it has none."""
    sweep = part.value.get(SWEEP)
    if sweep is None:
        yield name, part
        return
    axes = sweep.value if isinstance(sweep.value, dict) else {"": sweep}
    options = [_options(word, axis, f"{where}.{SWEEP}") for word, axis in axes.items()]
    if (count := prod(map(len, options))) > MOST_SWEPT:
        raise SettingsError(f"{where}.{SWEEP}: stands for {count:,} parts (nearest: {MOST_SWEPT:,})")
    for chosen in product(*options):
        words = {word: value for values, _ in chosen for word, value in values.items()}
        patched = reduce(_over, (patch for _, patch in chosen), _without(part, SWEEP))
        yield _filled(name, words), _node_filled(patched, words)


def _options(word: str, axis: Node, where: str) -> list[tuple[dict[str, Any], Node]]:
    """List the points of a sweep's axis: the words of each, and the settings that come with them."""
    match axis.value:
        case dict() as patches:
            return [({word: value}, Node(_mapping(patch, where), patch.source)) for value, patch in patches.items()]
        case [*rows] if not word and all(isinstance(row, dict) for row in rows):
            return [(row, Node({})) for row in rows]
        case [*values] if word:
            return [({word: value}, Node({})) for value in values]
    raise SettingsError(f"{where}: must be rows of named values, or name lists or settings, but is {axis.value!r}")


def _node_filled(node: Node, words: Mapping[str, Any]) -> Node:
    if isinstance(node.value, dict):
        return Node({key: _node_filled(each, words) for key, each in node.value.items()}, node.source)
    return _node(_filled(node.value, words), "", node.source)


def _filled(value: Any, words: Mapping[str, Any]) -> Any:
    """Replace names in braces by the words of a sweep; a value that is only such a name becomes the word itself."""
    if isinstance(value, list):
        return [_filled(each, words) for each in value]
    if not isinstance(value, str):
        return value
    for name, word in words.items():
        if value == f"{{{name}}}":
            return word
        value = value.replace(f"{{{name}}}", str(word))
    return value


def _without(node: Node, key: str) -> Node:
    return Node({each: value for each, value in node.value.items() if each != key}, node.source)


def _plain(node: Node) -> Any:
    return {key: _plain(each) for key, each in node.value.items()} if isinstance(node.value, dict) else node.value


def _sources(node: Node, path: str = "") -> Iterator[tuple[str, Provenance]]:
    """Yield path and source of every setting that has one."""
    if node.source:
        yield path, node.source
    if isinstance(node.value, dict):
        for key, each in node.value.items():
            yield from _sources(each, f"{path}.{key}".lstrip("."))


def as_written(schema: Any) -> Any:
    """Loosen the JSON schema of experiments to that of their files.

    There, parts may lack what they extend, hold other parts, and have words of a sweep in place of values.
    """
    loosened = _loosened(schema)
    kinds, definitions = loosened["properties"], loosened["$defs"]
    parts = {kind: definitions[kinds[kind]["additionalProperties"]["$ref"].rpartition("/")[2]] for kind in KINDS}
    for kind, (key, _) in HELD.items():
        parts[kind]["properties"][key] = {"type": ["string", "object"]}
    for part in parts.values():
        part["properties"] |= {EXTENDS: {"type": ["string", "array"]}, SWEEP: {"type": ["object", "array"]}}
    kinds[BASES] = {"type": "object"}
    return loosened


def _loosened(schema: Any) -> Any:
    """A JSON schema that requires nothing, and accepts a word of a sweep for any value and any name."""
    match schema:
        case {"type": "object", "patternProperties": dict() as named}:
            return {"type": "object", "additionalProperties": next(iter(named.values()))}
        case {"type": "integer" | "number" | "boolean" | "array"} | {"type": "string", "pattern": _}:
            return {"anyOf": [schema, {"type": "string", "pattern": "{"}]}
        case dict():
            kept = {key: value for key, value in schema.items() if key not in ("required", "discriminator")}
            return {"anyOf" if key == "oneOf" else key: _loosened(value) for key, value in kept.items()}
        case list():
            return [_loosened(each) for each in schema]
    return schema
