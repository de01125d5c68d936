"""The plan that all rules ask, and where its files are."""

import os
import re
import shlex
import sys
import time
from pathlib import Path

from invgrad.experiments.allocation import Allocation, run_jobs_with_this_python
from invgrad.experiments.config import load
from invgrad.experiments.plan import Plan
from invgrad.experiments.expected import expected, files_of_description
from invgrad.experiments.summary import notebook_json, why_not_made
from invgrad.results.agreement import Agreement, summary
from invgrad.results.provenance import record_path
from invgrad.runtime.checkpoints import remove_states
from invgrad.runtime.slurm_groups import run_groups_in_one_snakemake
from invgrad.runtime.slurm_outages import survive_slurm_outages
from invgrad.runtime.snakemake_config import hand_on_by_file
from invgrad.runtime.snakemake_timers import keep_one_timer
from invgrad.runtime.snakemake_times import ignore_times_after_jobs
from invgrad.settings import SettingsError
from invgrad.tangent.kernels.builds import on_stale_builds
from invgrad.warm.start import start_for
from snakemake_logger_plugin_invgrad.expected import announce

try:
    plan = Plan(load(config))
except SettingsError as error:
    sys.exit(f"error: {error}")

run_jobs_with_this_python()
keep_one_timer()
ignore_times_after_jobs()
run_groups_in_one_snakemake()
survive_slurm_outages()
hand_on_by_file(workflow.config_settings, Path(".snakemake"))

allocation = Allocation(plan)
files = plan.files
FIGURES = plan.figures
MADE = plan.project.artefacts
CELLS = plan.cells_of(MADE)
DEVICE = plan.project.config.device
MEMORY = str(plan.project.config.memory or 0)
EVERY_SECONDS = str(plan.project.config.checkpoint.seconds)
EVERY_ITERATIONS = plan.project.config.checkpoint.iterations

# The records beside the results decide what is made anew: Snakemake's times and metadata say nothing after a checkout, a
# copy, another scale. So the profile asks for `rerun-triggers: mtime` alone, all inputs are `ancient`, and the job of a
# result that is not as the plan expects has one more input, just written.
NEWS = Path(".snakemake/made-anew")


def tell(reasons):
    for sentence in summary(reasons):
        print(sentence, file=sys.stderr)


stale = {}
# The stale ones, and the missing that are made from these: Snakemake runs no job for an `ancient` input that is there.
outdated = set()

if workflow.is_main_process:
    agreement = Agreement(files.root, expected(plan))
    try:
        # Not while another run of this folder may be writing.
        damaged = {} if any(Path(".snakemake/locks").glob("*")) else agreement.damaged()
        for file, problem in damaged.items():
            is_dry = workflow.output_settings.dryrun  # `workflow.dryrun` is not set yet
            where = "a run moves it aside" if is_dry else f"moved to {agreement.set_aside(file)}"
            print(f"{file}: damaged: {problem}; {where}, it is made again if it is needed", file=sys.stderr)
        stale = agreement.disagreements()
        outdated = stale.keys() | agreement.missing_after(stale)
        tell(stale)
        if sentence := on_stale_builds():
            print(sentence, file=sys.stderr)
        if stale:
            NEWS.parent.mkdir(exist_ok=True)
            NEWS.write_text(str(time.time_ns()), encoding="utf-8")  # another checksum than the last time
            newest = max(time.time(), *(path.stat().st_mtime + 1 for path in stale))
            os.utime(NEWS, (newest, newest))
    except (SettingsError, OSError) as error:
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
    return record_path(path)


def anew(*paths):
    """An input function: more inputs of a job some of whose results are outdated, which are not `ancient`."""

    def inputs(w):
        results = {Path(str(path).format(**dict(w.items()))) for path in paths} & outdated
        return [path for result in results for path in (NEWS, *agreement.records_before(result))]

    return inputs


def any_of(names):
    """A wildcard constraint: one of these names, or nothing at all."""
    return "|".join(map(re.escape, names)) or "(?!)"


def options(name, values):
    return [f"--{name} {shlex.quote(str(value))}" for value in values]


def not_made(name):
    print(f"error: '{name}' is left out: {why_not_made(plan, name)}; --config whole=true makes it", file=sys.stderr)
    sys.exit(1)


def data_options(w):
    try:
        return plan.data_options(w.dataset, w.split, w.part.lstrip("-"))
    except SettingsError as error:  # missing data is reported before any job starts
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
