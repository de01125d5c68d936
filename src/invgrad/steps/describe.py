"""Step `describe`: the description of what a configuration runs, for readers and for other steps."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invgrad.experiments.cell_settings import every_cells_settings
from invgrad.experiments.config import load
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe
from invgrad.results.files import write, write_json


def write_description(config: Mapping[str, Any], settings: Path, out: Path) -> None:
    """Write the description of a configuration to `out`, and a text on every cell to the folder `settings`.

    See `invgrad.experiments.summary.describe`.
    """
    plan = Plan(load(config))
    description = describe(plan)
    for cell, text in every_cells_settings(plan, description).items():
        write(settings / f"{cell}.txt", _writer(text))
    write_json(out, description)


def _writer(text: str) -> Callable[[Path], object]:
    return lambda partial: partial.write_text(text + "\n")
