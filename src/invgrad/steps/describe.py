"""Description: what a configuration runs, for the steps that tell readers of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invgrad.config import load
from invgrad.plan import Plan
from invgrad.results import write_json


def describe(config: Mapping[str, Any], out: Path) -> None:
    """Write the description of this configuration, see `Plan.description`."""
    write_json(out, Plan(load(config)).description())
