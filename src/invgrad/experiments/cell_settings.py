"""Text on a resolved cell: every setting with its value, its source, and its change by a scale or an override."""

from typing import Any

from invgrad.experiments.config import Project
from invgrad.experiments.deviations import overridden_settings
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe
from invgrad.settings import SettingsError, unknown

HEADINGS = ("setting", "value", "source", "changed")


def cell_settings(plan: Plan, cell: str) -> str:
    """The text on one cell: a heading, then a line per setting; `SettingsError` if no artefact shows such a cell."""
    artefact = plan.project.experiments.artefacts.get(cell)
    if cell not in plan.cells and artefact:
        raise SettingsError(f"'{cell}' is an artefact of these cells, show one of them: {', '.join(artefact.cells)}")
    if cell not in plan.cells:
        raise SettingsError(unknown("cell", cell, plan.cells))
    return every_cells_settings(plan, describe(plan))[cell]


def every_cells_settings(plan: Plan, description: dict[str, Any]) -> dict[str, str]:
    """The text on every cell of a plan's description."""
    return {cell: _text(plan.project, cell, about) for cell, about in description["cells"].items()}


def _text(project: Project, cell: str, about: dict[str, Any]) -> str:
    left_out = f", left out: {about['left_out']}" if about["left_out"] else ""
    rows = [HEADINGS] + [
        (key, setting["value"], setting["provenance"], _change(project, cell, key, setting["paper"]))
        for key, setting in about["settings"].items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [
            f"{cell} at scale {project.config.scale}: {about['label']}",
            f"clients {about['clients']}, victim {about['victim']}{left_out}",
            "",
            *lines,
        ]
    )


def _change(project: Project, cell: str, key: str, paper: str | None) -> str:
    """A note on a changed setting: by the scale or the override, and the paper's value; empty if it is the paper's."""
    if paper is None:
        return ""
    kind, _, path = key.partition(".") if key.startswith(("clients.", "victims.")) else ("cells", "", key)
    by = "override" if path in overridden_settings(project, kind, project.parts(cell)[kind]) else "scale"
    return f"by the {by}; paper: {paper}"
