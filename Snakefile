"""The paper, rebuilt: data -> victims -> what clients share -> reconstructions -> rows per image -> figures, verdicts."""

import os
import sys
from pathlib import Path

from invgrad.config import load
from invgrad.plan import Plan, imported_code, step_code
from invgrad.settings import SettingsError


configfile: "config/config.yaml"


try:
    plan = Plan(load(config))
except SettingsError as error:
    sys.exit(f"error: {error}")

RESULTS = plan.results
FIGURES = plan.figures
DEVICE = plan.project.config.device
# Jobs call `invgrad` of this very Python, also when its environment is not activated.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"]]
)


wildcard_constraints:
    cell="[a-z0-9.-]+",
    clients="[a-z0-9.-]+",
    victim="[a-z0-9.-]+",
    dataset="[a-z0-9]+",
    split="train|validation",
    seed="[0-9]+",
    shard="[0-9]+",


include: "workflow/rules/data.smk"
include: "workflow/rules/victims.smk"
include: "workflow/rules/reconstructions.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,
    victims,
    reconstructions,
    figures,


rule all:
    default_target: True
    input:
        rules.victims.input,
        rules.reconstructions.input,
        rules.figures.input,
