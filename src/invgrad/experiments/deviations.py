"""Deviations from the paper: settings that a scale or the user's override changed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from invgrad.data.registry import title
from invgrad.experiments.config import Project
from invgrad.experiments.scales import leaves
from invgrad.experiments.schema import Experiments

COMPARABLE: Mapping[str, frozenset[str]] = {
    "victims": frozenset({"checkpoints"}),
    "clients": frozenset({"seeds", "targets.count", "clients_per_shard"}),
    "cells": frozenset({"label", "variant", "variant_of", "attack.snapshots"}),
}
"""Settings, by kind of part, that may differ while a cell stays comparable with the paper: amounts and labels."""

WORDING: Mapping[str, str] = {
    "network.width": "base width {}",
    "training.epochs": "{} epochs of training",
    "dataset": "other data: {}",
    "targets.indices": "other images: {}",
    "targets.start": "images from position {} on",
    "targets.every": "images {} apart",
    "targets.images_per_client": "{} images a client",
    "shares.epochs": "{} local epochs",
    "shares.steps": "{} local steps",
    "attack.iterations": "{} iterations",
    "attack.restarts": "{} restarts",
    "attack.total_variation": "α = {}",
}
"""The words around both values of a setting that differs; elsewhere the values follow its name."""
TRAINED = {"network.weights": "pretrained", "training": "trained"}
"""The word for a setting that, where it is absent, leaves the network untrained."""


def deviations(project: Project, cell: str) -> list[str]:
    """The reasons why a cell is not comparable with the paper: each setting that a scale or an override changed."""
    reasons = []
    for kind, name in project.parts(cell).items():
        if name not in getattr(project.paper, kind):
            return [f"{kind.removesuffix('s')} '{name}' is not the paper's"]
        for key, before, now in _changes(project, project.paper, kind, name):
            if key not in COMPARABLE[kind] and key.split(".")[0] not in COMPARABLE[kind]:
                reasons.append(_reason(key, before, now))
    return reasons


def overridden(project: Project, artefact: str) -> list[str]:
    """The user's changes to an artefact and its cells: each setting with its value and, in parentheses, its parts."""
    found: dict[str, list[str]] = {}
    parts = (part for cell in project.possible[artefact].cells for part in project.parts(cell).items())
    for kind, name in dict.fromkeys(parts):
        for setting in _overridden(project, kind, name):
            found.setdefault(setting, []).append(name)
    settings = [f"{setting} ({', '.join(names)})" for setting, names in found.items()]
    return [*_overridden(project, "artefacts", artefact), *settings]


def overridden_settings(project: Project, kind: str, name: str) -> set[str]:
    """The paths of a part's settings that differ from those of the scale."""
    now = dict(leaves(getattr(project.experiments, kind)[name].model_dump(mode="json")))
    if name not in getattr(project.scaled, kind):
        return set(now)
    before = dict(leaves(getattr(project.scaled, kind)[name].model_dump(mode="json")))
    return {path for path, value in now.items() if path not in before or before[path] != value}


def _overridden(project: Project, kind: str, name: str) -> list[str]:
    if name not in getattr(project.scaled, kind):
        return [f"new {kind.removesuffix('s')}"]
    return [f"{_words(key)} {json.dumps(now)}" for key, _, now in _changes(project, project.scaled, kind, name)]


def _changes(project: Project, before: Experiments, kind: str, name: str) -> list[tuple[str, Any, Any]]:
    """The settings of a part that differ from `before`: key, the value there, ours."""
    then, now = (getattr(each, kind)[name].model_dump(mode="json") for each in (before, project.experiments))
    return list(_differences(then, now))


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for part in before | now:
            yield from _differences(before.get(part), now.get(part), f"{key}.{part}".lstrip("."))
    elif before != now:
        yield key, before, now


def _words(key: str) -> str:
    return key.split(".")[-1].replace("_", " ")


def _reason(key: str, before: Any, now: Any) -> str:
    """Tell a deviation as a reader of the paper would, e.g. `200 instead of 4,800 iterations`."""
    if key in TRAINED and None in (before, now):
        ours, papers = ("untrained" if value is None else TRAINED[key] for value in (now, before))
        return f"{ours} instead of {papers}"
    text = title if key == "dataset" else _value
    return WORDING.get(key, f"{_words(key)} {{}}").replace("{}", f"{text(now)} instead of {text(before)}")


def _value(value: Any) -> str:
    """Format the value of a setting for readers."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str | float):
        return str(value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else json.dumps(value)
