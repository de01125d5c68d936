"""Table of what a plan costs: jobs, gradients, hours and disk, artefact by artefact."""

import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from invgrad.experiments.jobs import JobKind, jobs
from invgrad.experiments.plan import Plan
from invgrad.performance.cost import BENCH, GPU_BENCH, Speed, TrainingWork, Work
from invgrad.performance.work import seconds_of_jobs, trainings, works
from invgrad.runtime.progress import duration

GIGA = 1e9
COUNTS = ("jobs", "cells", "trials", "trial_iterations", "gradients")
MEASURES = (*COUNTS, "gpu_hours", "device_hours", "disk_gb", "shared_gb")
WIDTH = 100
"""Largest width of what is printed."""

ROW_OF: Mapping[JobKind, str] = {
    "data": "data, sharing, measuring",
    "share": "data, sharing, measuring",
    "measure": "data, sharing, measuring",
    "activations": "data, sharing, measuring",
    "describe": "notebooks, verdicts, report",
    "verdict": "notebooks, verdicts, report",
    "notebook": "notebooks, verdicts, report",
    "report": "notebooks, verdicts, report",
    "all": "Snakemake",
}
"""Row of every job that is neither an attack nor a training."""


def costs(plan: Plan, speed: Speed, gpu: Speed) -> pd.DataFrame:
    """Estimate the cost of a plan's artefacts that are to be made; the table is that of `estimate`."""
    artefacts = {name: artefact.cells for name, artefact in plan.project.artefacts.items()}
    kinds = Counter(job.kind for job in jobs(plan))
    return estimate(works(plan), trainings(plan), artefacts, kinds, speed, gpu)


def estimate(
    attacks: Sequence[Work],
    trained: Sequence[TrainingWork],
    artefacts: Mapping[str, Sequence[str]],
    kinds: Mapping[JobKind, int],
    speed: Speed,
    gpu: Speed,
) -> pd.DataFrame:
    """Estimate the cost: one row per artefact, per trained victim, for untrained ones, for other jobs, and the total.

    Columns: `row`, counts (int), `device_hours` by `speed`, `gpu_hours` by `gpu`, `disk_gb` (10⁹ bytes), of which
    `shared_gb` is what clients share. `artefacts`: the cells of each. What several artefacts show or use is counted
    once, with the first of them. `kinds`: the number of jobs of every kind.
    """
    rows = [*_attacks(attacks, artefacts, speed, gpu), *_trainings(trained, speed, gpu)]
    rows += [
        {"row": row, "jobs": kinds[kind]} | _hours(kind, kinds[kind], speed, gpu)
        for kind, row in ROW_OF.items()
        if kind in kinds
    ]
    table = pd.DataFrame(rows, columns=["row", *MEASURES]).fillna(0).groupby("row", sort=False).sum()
    table.loc["total"] = table.sum()
    return table.astype(dict.fromkeys(COUNTS, int)).reset_index()


def wall_time(plan: Plan, speed: Speed, number: int) -> str:
    """Say how long a plan takes on this number of cores or GPUs like those that were timed: `3 min on 2 cores`."""
    unit = "GPU" if speed.on_gpu else "core"
    seconds = wall_seconds(seconds_of_jobs(plan, speed).values(), speed, number)
    return f"{duration(seconds)} on {number} {unit}{'s' * (number > 1)}"


def wall_seconds(seconds: Collection[float], speed: Speed, number: int) -> float:
    """Estimate the time of jobs that each take the timed device so many seconds, on this number of cores or GPUs.

    It is what jobs in any order take at most (Graham 1966): in the end all may wait for the longest.
    """
    share = (1 if speed.on_gpu else speed.threads) / number
    return sum(seconds) * share + max(seconds) * max(0, 1 - share)


def report(table: pd.DataFrame, speed: Speed, gpu: Speed) -> str:
    """Format the table of `estimate` as Markdown, with footnotes on the origin of the hours."""
    shown = pd.DataFrame(
        {
            "": table.row,
            "jobs": table.jobs.map(_count),
            "gradients": table.gradients.map(_count),
            "1 GPU": table.gpu_hours.map(_time),
            f"{speed.threads} cores": table.device_hours.map(_time),
            "disk, GB": table.disk_gb.map(_gigabytes),
        }
    )
    align = ["left", *["right"] * (len(shown.columns) - 1)]
    lines = shown.to_markdown(index=False, disable_numparse=True, colalign=align)
    return "\n".join([lines, "", *map(_wrapped, _footnotes(table.set_index("row"), speed, gpu))])


def _footnotes(table: pd.DataFrame, speed: Speed, gpu: Speed) -> Iterator[str]:
    yield "A cell that several artefacts show is counted once, with the first of them; so is what its clients share."
    for name, each, default in (("1 GPU", gpu, GPU_BENCH), (f"{speed.threads} cores", speed, BENCH)):
        source = f"the packaged {default.name}" if each.source == str(default) else each.source
        yield f"{name}: {each.device}, by {source} (torch {each.torch}), one job after the other."
    yield "For a device of your own pass --bench or --gpu-bench FILE, made by `invgrad bench --out FILE`."
    shared, disk = (_gigabytes(float(table[name]["total"])) for name in ("shared_gb", "disk_gb"))
    yield (
        f"Disk: {shared} of {disk} GB are what clients share, which is kept whole: every parameter, for every client "
        "and network seed. Only the attacks read it."
    )


def _hours(kind: JobKind, number: int, speed: Speed, gpu: Speed) -> dict[str, float]:
    return {"gpu_hours": number * gpu.job_hours(kind), "device_hours": number * speed.job_hours(kind)}


def _attacks(
    attacks: Sequence[Work], artefacts: Mapping[str, Sequence[str]], speed: Speed, gpu: Speed
) -> Iterator[dict[str, Any]]:
    of_cell = {work.cell: work for work in attacks}
    groups = set()
    for artefact, cells in artefacts.items():
        yield {"row": artefact}
        for work in (of_cell.pop(cell) for cell in cells if cell in of_cell):
            shared, truth = (0.0, 0.0) if work.group in groups else _shared_gigabytes(work)
            groups.add(work.group)
            yield {
                "row": artefact,
                "jobs": work.jobs,
                "cells": 1,
                "trials": work.trials,
                "trial_iterations": work.trials * work.iterations,
                "gradients": work.gradients,
                "gpu_hours": gpu.attack_hours(work) + work.jobs * gpu.job_hours("attack"),
                "device_hours": speed.attack_hours(work) + work.jobs * speed.job_hours("attack"),
                "disk_gb": shared + truth + _result_gigabytes(work),
                "shared_gb": shared,
            }


def _trainings(trained: Sequence[TrainingWork], speed: Speed, gpu: Speed) -> Iterator[dict[str, Any]]:
    data: dict[str, float] = {}
    for work in sorted(trained, key=lambda work: not work.epochs):
        yield {
            "row": f"training {work.victim}" if work.epochs else "victims that are not trained",
            "jobs": work.seeds,
            "gpu_hours": gpu.training_hours(work) + work.seeds * gpu.job_hours("victim"),
            "device_hours": speed.training_hours(work) + work.seeds * speed.job_hours("victim"),
            "disk_gb": work.network.state_bytes * work.seeds * work.snapshots / GIGA,
        }
        data[work.dataset] = max(data.get(work.dataset, 0), work.images * 3 * work.size**2 / GIGA)
    yield {"row": ROW_OF["data"], "disk_gb": sum(data.values())}


def _shared_gigabytes(work: Work) -> tuple[float, float]:
    """Gigabytes of what a group of clients shares, one tensor per parameter and client, and of its images, uint8."""
    clients = work.clients * work.seeds / GIGA
    return clients * work.network.parameter_bytes, clients * work.images * 3 * work.size**2


def _result_gigabytes(work: Work) -> float:
    """Gigabytes of the selected images, float32, and of the trajectories of all restarts, float16."""
    pixels = work.clients * work.seeds * work.images * 3 * work.size**2
    return pixels * (4 + 2 * work.restarts * work.snapshots) / GIGA


def _wrapped(note: str) -> str:
    return textwrap.fill(f"- {note}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _count(value: int) -> str:
    return f"{value:,}" if value else "–"


def _time(hours: float) -> str:
    return duration(3600 * hours) if hours else "–"


def _gigabytes(value: float) -> str:
    return f"{value:,.1f}" if value >= 0.05 else "<0.1" if value else "–"
