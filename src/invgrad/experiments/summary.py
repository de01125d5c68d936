"""Summaries of a plan: the content of `description.json`, and the parameters of notebooks."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from invgrad.experiments.deviations import deviations, overridden
from invgrad.experiments.plan import Plan
from invgrad.experiments.scales import leaves

NO_SETTINGS = {"label", "variant", "variant_of", "clients", "victim", "clients_per_shard"}
"""Fields of a part on which no result depends."""
GRID: Mapping[str, Any] = {
    "clients": {"seeds": True, "clients_per_shard": True, "targets": {"start", "every", "indices", "count"}},
    "cells": {
        "label": True,
        "variant": True,
        "variant_of": True,
        "clients": True,
        "attack": {"total_variation", "snapshots"},
    },
}
"""Settings, by kind of part, in which the cells of one grid over α may differ."""
KNOWN = {"quoted", "code"}
"""Sources that tell a setting of the paper; others recall or choose it."""


def notebook_json(plan: Plan, name: str) -> str:
    """Parameters of an artefact's notebook, as JSON."""
    artefact = plan.artefacts[name]
    content = {
        "name": name,
        "title": artefact.title,
        "about": about(plan) + _changed(plan, name) + _not_shown(plan, name),
        "scale": plan.project.config.scale,
        "settings_hash": settings_hash(plan, name),
        "cells": {cell: _summary(plan, cell) for cell in artefact.cells},
        "results": str(plan.files.root),
        "figures": str(plan.figures),
        "paper_values": str(plan.project.config.paper_values),
    }
    return json.dumps({"artefact": content}, separators=(",", ":"))


def settings_hash(plan: Plan, name: str) -> str:
    """The first 16 hexadecimal digits of a sha256 over the settings that an artefact depends on.

    These are the settings of all its cells with their clients and victims, the sources of their data, the scale, and an
    override that concerns the artefact.
    """
    artefact = plan.artefacts[name]
    cells = list(plan.cells) if "description" in artefact.reads else artefact.cells
    settings = [
        [plan.project.parts(cell), {key: each["value"] for key, each in _settings(plan, cell).items()}]
        for cell in cells
    ]
    datasets = {plan.victim_of(plan.cells[cell].clients).dataset for cell in cells}
    content = {
        "scale": plan.project.config.scale,
        "cells": settings,
        "sources": {dataset: plan.project.sources.get(dataset) for dataset in datasets},
        "override": plan.project.config.override if overridden(plan.project, name) else {},
    }
    return _digest(content)


def about(plan: Plan) -> str:
    """The sentence on the scale in every caption."""
    return f"Scale {plan.project.config.scale}: {plan.project.scale.about}."


def _changed(plan: Plan, name: str) -> str:
    """The sentence on the user's changes in an artefact's caption; empty if there are none."""
    changes = overridden(plan.project, name)
    return f" Settings changed by the user: {'; '.join(changes)}." if changes else ""


def describe(plan: Plan) -> dict[str, Any]:
    """Describe what is run: every artefact, and every cell with its settings and their sources.

    The result has the keys of `invgrad.experiments.description.Description`.
    """
    return {
        "scale": plan.project.config.scale,
        "about": about(plan),
        "changed": plan.project.config.override,
        "artefacts": {name: _described(plan, name) for name in plan.project.experiments.artefacts},
        "cells": {
            name: _summary(plan, name) | {"left_out": plan.project.left_out(name), "settings": _settings(plan, name)}
            for name in plan.cells
        },
    }


def _not_shown(plan: Plan, name: str) -> str:
    """The sentence on cells that were left out in an artefact's caption; empty if there are none."""
    every, shown = (len(each[name].cells) for each in (plan.project.experiments.artefacts, plan.artefacts))
    return f" {every - shown} of {every} cells were not run." if shown < every else ""


def _described(plan: Plan, name: str) -> dict[str, Any]:
    artefact = plan.project.experiments.artefacts[name]
    return artefact.model_dump(include={"title", "where", "about", "cells", "writes"}) | {
        "not_made": None if name in plan.project.artefacts else why_not_made(plan, name),
        "shown_at": plan.project.shown_at(name),
    }


def why_not_made(plan: Plan, name: str) -> str:
    """The reasons why an artefact is not made."""
    artefact = plan.project.experiments.artefacts[name]
    lacking = sorted(plan.datasets(artefact) & plan.project.missing.keys())
    reasons = dict.fromkeys(filter(None, map(plan.project.left_out, artefact.cells)))
    if name in plan.project.possible:
        reasons = {"not among the artefacts chosen for this run": None}
    missing = [f"{dataset} is missing: {plan.project.missing[dataset]}" for dataset in lacking[:1]]
    return "; ".join([*reasons, *missing])


def _summary(plan: Plan, cell: str) -> dict[str, Any]:
    """The facts on a cell that notebooks use; with `left_out` and `settings`, a `CellDescription`."""
    chosen = plan.cells[cell]
    clients = plan.clients[chosen.clients]
    weight = getattr(chosen.attack, "total_variation", None)
    # A cell that the scale leaves out has the paper's names, not those of what the scale would have made of it.
    named = plan.project.paper if plan.project.left_out_by_scale(cell) else plan.project.experiments
    return {
        **named.names(cell),
        "variant_of": chosen.variant_of,
        "clients": chosen.clients,
        "victim": clients.victim,
        "epoch": plan.project.experiments.epoch(chosen.clients),
        "swapped_rows": clients.swapped_rows,
        "seeds": clients.seeds,
        "shards": len(clients.shards()),
        "images_per_client": clients.targets.images_per_client,
        "total_variation": weight,
        "step_decay": getattr(chosen.attack, "step_decay", None),
        "deviations": deviations(plan.project, cell),
        "weight_known": not weight or plan.project.written.source("cells", cell, "attack.total_variation") in KNOWN,
        "alike": _alike(plan, cell),
        "copies_of": chosen.variant_of if clients.targets.jpeg_quality else None,
    }


def _alike(plan: Plan, cell: str) -> str:
    """The digest that is equal for the cells of one grid: of their victim, and of all settings but those in `GRID`."""
    chosen = plan.cells[cell]
    settings = [
        plan.clients[chosen.clients].model_dump(mode="json", exclude=GRID["clients"]),
        chosen.model_dump(mode="json", exclude=GRID["cells"]),
    ]
    return _digest(settings)


def _settings(plan: Plan, cell: str) -> dict[str, Any]:
    """Every setting that a cell's result depends on: value, source, and the paper's value if it was changed."""
    settings = {}
    for kind, name in plan.project.parts(cell).items():
        part = getattr(plan.project.experiments, kind)[name]
        ours = dict(leaves(part.model_dump(mode="json", exclude=NO_SETTINGS)))
        printed = getattr(plan.project.paper, kind).get(name)
        before = dict(leaves(printed.model_dump(mode="json", exclude=NO_SETTINGS))) if printed else ours
        for key, value in ours.items():
            settings[key if kind == "cells" else f"{kind}.{key}"] = {
                "value": _text(value),
                "provenance": plan.project.written.source(kind, name, key),
                "paper": _text(before.get(key)) if before.get(key) != value else None,
            }
    return settings


def _digest(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
