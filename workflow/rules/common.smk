"""The plan that all rules ask, and where its files are."""

import json
import sys

from invgrad.config import load
from invgrad.plan import Plan, fingerprint, imported_code, run_jobs_with_this_python, step_code
from invgrad.settings import SettingsError

try:
    plan = Plan(load(config))
except SettingsError as error:
    sys.exit(f"error: {error}")

run_jobs_with_this_python()

files = plan.files
FIGURES = plan.figures
MADE = plan.project.artefacts
CELLS = plan.cells_of(MADE)
DEVICE = plan.project.config.device


wildcard_constraints:
    cell="[a-z0-9.-]+",
    clients="[a-z0-9.-]+",
    dataset="[a-z0-9]+",
    split="train|validation",
    part="(-[a-z0-9.-]+)?",
    seed="[0-9]+",
    shard="[0-9]+",


def record(path):
    return path.with_suffix(".json")


def options(name, values):
    return [f"--{name} {value}" for value in values]


def data_options(w):
    try:
        return plan.data_options(w.dataset, w.split, w.part.lstrip("-"))
    except SettingsError as error:  # data that is not there is told before any job starts
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def training_data(victim):
    return dict(zip(("validation", "data"), plan.data_for_training(victim)))


def train_settings(victim):
    return lambda w: plan.train_settings(victim, int(w.seed))
