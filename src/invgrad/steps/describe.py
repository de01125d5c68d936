"""Description: what a configuration runs, for readers and for the steps that show it to them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invgrad.experiments.cell_settings import every_cells_settings
from invgrad.experiments.config import load
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe
from invgrad.results.files import write, write_json


def write_description(config: Mapping[str, Any], settings: Path, out: Path) -> None:
    """Write the description of this configuration to `out` (see `invgrad.experiments.summary.describe`), and into the
    folder `settings` a text on every cell.
    """
    plan = Plan(load(config))
    description = describe(plan)
    for cell, text in every_cells_settings(plan, description).items():
        write(settings / f"{cell}.txt", _writer(text))
    write_json(out, description)


def _writer(text: str) -> Callable[[Path], object]:
    return lambda partial: partial.write_text(text + "\n")
