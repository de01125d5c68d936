"""Planning imports neither torch nor torchvision, so that `invgrad plan` and Snakemake start at once; the command line
itself imports no settings, and a job that is handed over to the warm process next to nothing.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from invgrad.attack import settings as attack_settings
from invgrad.clients import settings as clients_settings
from invgrad.networks import settings as networks_settings
from invgrad.objective import settings as objective_settings
from invgrad.runtime import settings as runtime_settings

ROOT = Path(__file__).parents[2]
SETTINGS = [attack_settings, clients_settings, networks_settings, objective_settings, runtime_settings]
SLOW = {"torch", "torchvision"}
PLANNING = """
from invgrad.experiments.allocation import Allocation
from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe, notebook_json
from invgrad.performance.cost import BENCH, GPU_BENCH, Speed
from invgrad.performance.estimate import costs
from invgrad.performance.work import seconds_of_jobs
from invgrad.settings import read_yaml

for scale in ("demo", "small", "paper"):
    plan = Plan(load(read_yaml(CONFIG) | {"scale": scale}))
    allocation = Allocation(plan)
    for victim in plan.victims:
        plan.train_json(victim, 0)
    for name, clients in plan.clients.items():
        for shard in range(len(clients.shards())):
            plan.share_json(name, shard)
    for cell in plan.cells:
        plan.attack_json(cell, 0)
        plan.activation_options(cell)
        allocation.threads(cell, 8)
    for artefact in plan.artefacts:
        notebook_json(plan, artefact)
    describe(plan)
    speeds = [Speed.read(path) for path in (BENCH, GPU_BENCH)]
    costs(plan, *speeds)
    seconds_of_jobs(plan, speeds[0])
"""
RULES = """
import re
from pathlib import Path

for rules in Path("workflow/rules").glob("*.smk"):
    exec("\\n".join(re.findall(r"^(?:from|import) .*$", rules.read_text(), re.MULTILINE)))
"""
"""What rules import; all on lines of their own."""


def modules(code: str, cache: Path) -> set[str]:
    """What a process that runs this code imports."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    variables = os.environ | {"XDG_CACHE_HOME": str(cache)}
    result = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def imported(code: str, cache: Path) -> set[str]:
    """Which slow packages it imports."""
    return SLOW & modules(code, cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what plans have found out of networks."""
    return tmp_path_factory.mktemp("cache")


def test_settings_import_no_torch(cache: Path) -> None:
    assert imported(f"import {', '.join(module.__name__ for module in SETTINGS)}", cache) == set()


def test_a_plan_is_made_without_torch_once_its_networks_are_known(cache: Path) -> None:
    imported(PLANNING, cache)
    assert imported(PLANNING, cache) == set()


def test_rules_import_no_torch(cache: Path) -> None:
    assert imported(RULES, cache) == set()


def test_help_and_errors_of_the_command_line_import_no_settings(cache: Path) -> None:
    assert not {"pydantic", "yaml", "numpy", "invgrad.settings"} & modules("import invgrad.cli.main", cache)


def test_a_job_reaches_the_warm_process_before_it_imports_anything_slow(cache: Path) -> None:
    allowed = modules("import json, signal, socket, importlib", cache)
    own = {"invgrad", "invgrad.warm", "invgrad.warm.client"}
    assert modules("from invgrad.warm.client import hand_over", cache) - allowed == own
