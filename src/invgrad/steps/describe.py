"""Description: what a configuration runs, for the steps that tell readers of it, and for readers themselves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invgrad.cell_settings import every_cells_settings
from invgrad.config import load
from invgrad.plan import Plan
from invgrad.results import write, write_json


def describe(config: Mapping[str, Any], settings: Path, out: Path) -> None:
    """Write the description of this configuration, see `Plan.description`, and into the folder `settings` a text on
    every cell.
    """
    plan = Plan(load(config))
    description = plan.description()
    for cell, text in every_cells_settings(plan, description).items():
        write(settings / f"{cell}.txt", _writer(text))
    write_json(out, description)


def _writer(text: str) -> Callable[[Path], object]:
    return lambda partial: partial.write_text(text + "\n")
