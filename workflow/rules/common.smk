"""The plan that all rules ask, and where its files are."""

import sys
from pathlib import Path

from invgrad.config import load
from invgrad.plan import RECONSTRUCTIONS, TRUTHS, Plan, imported_code, run_jobs_with_this_python, step_code
from invgrad.settings import SettingsError

try:
    plan = Plan(load(config))
except SettingsError as error:
    sys.exit(f"error: {error}")

run_jobs_with_this_python()

RESULTS = plan.results
FIGURES = plan.figures
ARTEFACTS = plan.project.experiments.artefacts


wildcard_constraints:
    cell="[a-z0-9.-]+",
    clients="[a-z0-9.-]+",
    victim="[a-z0-9.-]+",
    dataset="[a-z0-9]+",
    split="train|validation",
    seed="[0-9]+",
    shard="[0-9]+",


def split_file(dataset, split):
    return RESULTS / f"data/{dataset}-{split}.safetensors"


def victim_file(victim, seed):
    return RESULTS / f"victims/{victim}/seed{seed}.safetensors"
