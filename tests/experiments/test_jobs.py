"""The jobs of a plan are those that Snakemake would run."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from projects import ROOT, done, run

from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.jobs import JobKind, jobs
from invgrad.experiments.plan import Plan
from invgrad.settings import read_yaml

KIND_OF: dict[str, JobKind] = {"attack_short": "attack"}


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "demo"},
        {"scale": "demo", "whole": True},
        {"scale": "small", "artefacts": ["fig2", "activation-error", "training-curve", "hyperparameters"]},
    ],
)
def test_jobs_are_counted_as_snakemake_counts_them(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    changes = changes | {"results": str(tmp_path / "results"), "figures": str(tmp_path / "figures")}
    plan = Plan(load(read_yaml(CONFIG) | changes))
    config = [f"{key}={value}" for key, value in changes.items()]
    said = done(run(ROOT, "snakemake", "all", "--dry-run", "--quiet", "rules", "--config", *config))
    table = said.split("Job stats:")[1].split("Reasons:")[0].splitlines()[3:]
    counted: Counter[str] = Counter()
    for rule, number in (line.split() for line in table if len(line.split()) == 2):
        victim = rule.startswith("victim-")
        kind = "notebook" if rule in plan.artefacts else "victim" if victim else KIND_OF.get(rule, rule)
        counted[kind] += int(number)
    made = Counter(job.kind for job in jobs(plan))
    assert counted == made | {"total": made.total()}


def test_every_job_makes_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = [job.output for job in jobs(Plan(load(read_yaml(CONFIG) | {"scale": "paper"})))]
    assert len(set(made)) == len(made)
    assert made.count(None) == 1
