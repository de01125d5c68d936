"""Parameters of a notebook that is run by hand, from the configuration instead of from the workflow."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.expected import expected
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import notebook_json
from invgrad.results.agreement import Agreement
from invgrad.settings import SettingsError, read_yaml, unknown

SCALE = "INVGRAD_SCALE"
"""Name of the environment variable that replaces the scale of `params.yaml`."""


def parameters(artefact: str) -> Mapping[str, Any]:
    """Compute the parameters that the workflow passes to an artefact's notebook, and enter its clone.

    Raises `SettingsError` outside a clone, for an unknown artefact or scale, for a missing result, and for results of
    other settings than the configuration's.
    """
    os.chdir(_clone())
    config = read_yaml(CONFIG)
    plan = Plan(load(config | {"scale": os.environ.get(SCALE, config["scale"])}))
    if artefact not in plan.artefacts:
        raise SettingsError(unknown("artefact", artefact, plan.artefacts))
    if lacking := _missing(plan, artefact) or _of_other_settings(plan, artefact):
        raise SettingsError(
            f"{lacking}; run: snakemake --cores all --config scale={plan.project.config.scale} -- {artefact}"
        )
    given: Mapping[str, Any] = json.loads(notebook_json(plan, artefact))["artefact"]
    return given


def _clone() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CONFIG).is_file():
            return folder
    raise SettingsError(f"{here}: no {CONFIG} here or above; a notebook runs in its clone")


def _missing(plan: Plan, artefact: str) -> str:
    """A sentence on the results that are missing; empty if none is."""
    missing = [path for path in plan.shown(artefact) if not path.is_file()]
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"no {missing[0]}{more}" if missing else ""


def _of_other_settings(plan: Plan, artefact: str) -> str:
    """A sentence on the first result that is not as the plan expects it; empty if all are."""
    reasons = Agreement(plan.files.root, expected(plan)).disagreements()
    return next((f"{path}: {reasons[path]}" for path in plan.shown(artefact) if path in reasons), "")
