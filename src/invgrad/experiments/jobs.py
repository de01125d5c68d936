"""Jobs that make the artefacts of a plan, as Snakemake counts them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from invgrad.experiments.plan import Plan

JobKind = Literal[
    "data", "victim", "share", "attack", "measure", "activations", "describe", "verdict", "notebook", "report", "all"
]


@dataclass(frozen=True)
class Job:
    """One job of the workflow."""

    kind: JobKind
    of: str
    """The split, victim, group of clients, cell or artefact that it is for; "" for a job of the whole run."""
    output: Path | None = None
    """The first of the files that it makes; None for the last job, which makes none."""


def jobs(plan: Plan) -> list[Job]:
    """List the jobs of a run from the beginning, of the artefacts that are to be made."""
    return list(_jobs(plan))


def _jobs(plan: Plan) -> Iterator[Job]:
    made, files = plan.project.artefacts, plan.files
    cells = plan.cells_of(made)
    groups = list(dict.fromkeys(plan.cells[cell].clients for cell in cells))
    seeds = dict.fromkeys((plan.clients[name].victim, seed) for name in groups for seed in plan.clients[name].seeds)
    cell_of = {plan.cells[cell].clients: cell for cell in cells}
    yield from (Job("data", path.stem, path) for path in plan.splits(cells))
    yield from (Job("victim", name, files.victim(name, seed)) for name, seed in seeds)
    for name in groups:
        yield from (
            Job("share", name, files.shared(name, each.seed, each.number)) for each in plan.shards(cell_of[name])
        )
    for cell in cells:
        yield from (Job("attack", cell, path) for path in plan.reconstructions(cell))
        yield from (Job("measure", cell, path) for path in plan.rows(cell))
    shown = plan.cells_of({name: artefact for name, artefact in made.items() if "activations" in artefact.reads})
    yield from (Job("activations", cell, files.activations(cell)) for cell in shown)
    yield Job("describe", "", files.description())
    yield Job("verdict", "", plan.figures / "rows.csv")
    yield from (Job("notebook", name, plan.outputs(name)[0]) for name in made)
    yield Job("report", "", plan.figures / "report.html")
    yield Job("all", "")
