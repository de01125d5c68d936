"""Step `describe`: the description of what a configuration runs, for readers and for other steps."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invgrad.experiments.cell_settings import every_cells_settings
from invgrad.experiments.config import load
from invgrad.experiments.expected import described, files_of_description
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe
from invgrad.results.files import write, write_json
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record


def write_description(config: Mapping[str, Any], settings: Path, out: Path) -> None:
    """Write the description of a configuration to `out`, and a text on every cell to the folder `settings`.

    See `invgrad.experiments.summary.describe`.
    """
    plan = Plan(load(config))
    record = Record(Origin.of("describe", json.loads(described(plan)), files_of_description(plan), final=True))
    description = describe(plan)
    texts = {settings / f"{cell}.txt": text for cell, text in every_cells_settings(plan, description).items()}
    for path, text in texts.items():
        write(path, _writer(text))
    write_json(out, description)
    record.write(out, also=texts)


def _writer(text: str) -> Callable[[Path], object]:
    return lambda partial: partial.write_text(text + "\n", encoding="utf-8")
