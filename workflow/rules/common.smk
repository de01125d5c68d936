"""The plan that all rules ask, and where its files are."""

import json
import re
import shlex
import sys
from pathlib import Path

from invgrad.experiments.allocation import Allocation, run_jobs_with_this_python
from invgrad.experiments.config import load
from invgrad.experiments.plan import Plan
from invgrad.experiments.reading import experiment_files
from invgrad.experiments.summary import notebook_json
from invgrad.results.fingerprints import fingerprint, imported_code, step_code
from invgrad.results.integrity import refuse_unexplained, set_damaged_aside
from invgrad.runtime.checkpoints import remove_states
from invgrad.runtime.snakemake_timers import keep_one_timer
from invgrad.settings import SettingsError
from invgrad.warm.start import start_for
from snakemake_logger_plugin_invgrad.expected import announce

try:
    plan = Plan(load(config))
except SettingsError as error:
    sys.exit(f"error: {error}")

run_jobs_with_this_python()
keep_one_timer()

# Snakemake hands on what --config says to a cluster's jobs as Python writes it, unless it is quoted: a shell reads an
# apostrophe beside quotation marks otherwise.
workflow.config_settings.config_args = [shlex.quote(each) for each in workflow.config_settings.config_args or []]

allocation = Allocation(plan)
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


# Beside every result that is an input, its record is an input too, and the result itself is `ancient`: what counts is the
# record, which holds the result's checksum. The time of a result says nothing after a checkout, and results are too
# large to be compared by content.
def record(path):
    return path.with_suffix(".json")


def records(paths):
    return [record(path) for path in paths]


def any_of(names):
    """A wildcard constraint: one of these names, or nothing at all."""
    return "|".join(map(re.escape, names)) or "(?!)"


def options(name, values):
    return [f"--{name} {value}" for value in values]


def data_options(w):
    try:
        return plan.data_options(w.dataset, w.split, w.part.lstrip("-"))
    except SettingsError as error:  # missing data is reported before any job starts
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
