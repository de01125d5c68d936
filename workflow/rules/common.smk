"""The plan that all rules ask, and where its files are."""

import json
import re
import shlex
import sys
from pathlib import Path

from invgrad.config import load
from invgrad.fingerprints import fingerprint, imported_code, step_code
from invgrad.integrity import refuse_unexplained, set_damaged_aside
from invgrad.plan import Plan, run_jobs_with_this_python
from invgrad.settings import SettingsError
from invgrad.unfinished import remove_states

try:
    plan = Plan(load(config))
except SettingsError as error:
    sys.exit(f"error: {error}")

run_jobs_with_this_python()

# Snakemake hands on what --config says to a cluster's jobs as Python writes it, unless it is quoted: a shell reads an
# apostrophe beside quotation marks otherwise.
workflow.config_settings.config_args = [shlex.quote(each) for each in workflow.config_settings.config_args or []]

files = plan.files
FIGURES = plan.figures
MADE = plan.project.artefacts
CELLS = plan.cells_of(MADE)
DEVICE = plan.project.config.device
# In one order, wherever Snakemake had them from; without what decides how something is computed, not what.
WHAT_IS_RUN = {key: config[key] for key in sorted(config) if key not in ("device", "memory", "checkpoint")}
MEMORY = str(plan.project.config.memory or 0)
EVERY_SECONDS = str(plan.project.config.checkpoint.seconds)
EVERY_ITERATIONS = plan.project.config.checkpoint.iterations

# `logged` shows what a job says and writes its log, to the last word also where a signal ends the job; the shell itself
# waits for the job then.
shell.prefix("set -euo pipefail; trap : TERM; logged() {{ trap '' INT TERM; exec tee \"$1\"; }}; ")

if workflow.is_main_process and not any(Path(".snakemake/locks").glob("*")):
    try:
        refuse_unexplained(files.root, Path(".snakemake"))
        for sentence in set_damaged_aside(files.root):
            print(sentence, file=sys.stderr)
    except SettingsError as error:
        sys.exit(f"error: {error}")


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


def records(paths):
    return [record(Path(path)) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]


def result(name, find):
    """Results as an input called `name`; what counts is their records, which hold their checksums: the times of the
    results say nothing after a checkout, and they are too large to be compared by content."""
    if callable(find):
        return {name: ancient(find), f"{name}_records": lambda w: records(find(w))}
    return {name: ancient(find), f"{name}_records": records(find)}


def any_of(names):
    return "|".join(map(re.escape, names)) or "(?!)"


def options(name, values):
    return [f"--{name} {value}" for value in values]


def data_options(w):
    try:
        return plan.data_options(w.dataset, w.split, w.part.lstrip("-"))
    except SettingsError as error:  # data that is not there is told before any job starts
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def training_data(victim):
    splits = zip(("validation", "data"), plan.data_for_training(victim))
    return {key: each for name, split in splits for key, each in result(name, split).items()}


def train_settings(victim):
    return lambda w: plan.train_settings(victim, int(w.seed))
