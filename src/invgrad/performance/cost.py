"""Cost of given attacks and trainings: jobs, gradients, hours and disk, artefact by artefact.

Hours are the floating-point operations, counted on networks without values, divided by the rate that `invgrad bench`
measured for the most similar network, on this device and on a GPU. They are right within a factor of about two; less so
for local steps, of which one network was timed. `work` lists the attacks and trainings of a plan.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from invgrad.clients.protocols import STEPS_AT_ONCE
from invgrad.networks.build import outline
from invgrad.networks.parallelism import NetworkSize
from invgrad.networks.settings import Training
from invgrad.performance import bench
from invgrad.performance.bench import TRAINING_PASSES, passes
from invgrad.settings import Settings, SettingsError, parse, unknown

RECOMPUTED = 1.4
"""Factor by which more than `STEPS_AT_ONCE` local steps take longer, since parts are recomputed (measured)."""

LBFGS_GRADIENTS = 20
"""Largest number of gradients in one step of L-BFGS."""

BENCH, GPU_BENCH = (Path(__file__).with_name(f"{name}.json") for name in ("bench", "bench-gpu"))
"""Outputs of `invgrad bench --out` on a CPU and on a GPU: the default, if no device was timed."""

GIGA = 1e9
COUNTS = ("jobs", "cells", "trials", "trial_iterations", "gradients")
MEASURES = (*COUNTS, "gpu_hours", "device_hours", "disk_gb", "shared_gb")


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """The attack of one cell."""

    cell: str
    group: str
    """Name of the clients; what they share is written once for all cells that attack them."""
    network: nn.Module
    """Network from `invgrad.networks.build.outline`; the operations of one object are counted once for all works."""
    size: int
    clients: int
    """Number of clients per network seed."""
    images: int
    """Number of images of each client."""
    local_steps: int
    """SGD steps of federated averaging; 0 for clients that share a gradient."""
    batch: int
    """Images per local step; all of the client's where it shares a gradient."""
    restarts: int
    iterations: int
    """Number of iterations; 0 for an analytic attack."""
    gradients_per_iteration: int
    """`LBFGS_GRADIENTS` for L-BFGS, otherwise 1."""
    seeds: int
    jobs: int
    snapshots: int
    """Points of each trial's trajectory that are kept."""

    @property
    def trials(self) -> int:
        """Number of trials of all clients, restarts and network seeds."""
        return self.clients * self.restarts * self.seeds

    @property
    def gradients(self) -> int:
        """Number of evaluations of the objective's gradient, each for one trial."""
        return self.trials * self.iterations * self.gradients_per_iteration

    @property
    def gigaflops(self) -> float:
        """GFLOP of one of these gradients."""
        return passes(self.local_steps) * self.batch * forward_gigaflops(self.network, self.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingWork:
    """The training of one victim with all its network seeds, or its writing to disk if it is not trained."""

    victim: str
    network: nn.Module
    """Network, as in `Work`."""
    dataset: str
    size: int
    images: int
    """Number of images per epoch."""
    epochs: int
    """Number of epochs; 0 if it is not trained."""
    seeds: int
    snapshots: int
    """Checkpoints that are kept of each seed, the last one included."""

    @property
    def gigaflops(self) -> float:
        """GFLOP of the training with all seeds."""
        images = self.seeds * self.epochs * self.images
        return TRAINING_PASSES * images * forward_gigaflops(self.network, self.size)


class BenchRow(Settings):
    """One row of `invgrad bench --out`."""

    network: str
    engine: str
    trials: PositiveInt
    images: PositiveInt
    ms_per_trial_iteration: PositiveFloat
    released_ms: PositiveFloat
    ratio: float
    share_of_matrix_rate: float
    other_ms: float | None = None
    ratio_to_other: float | None = None


class BenchFile(Settings):
    """Content of the file that `invgrad bench --out` writes."""

    device: str
    threads: PositiveInt
    torch: str
    rounds: PositiveInt
    rows: tuple[BenchRow, ...] = Field(min_length=1)


Kind = Literal["gradient", "l-bfgs", "local-steps", "training", "general"]
"""Kind of timed computation.

It is the objective's gradient for clients that share one, a step of L-BFGS for these, the objective's gradient for
clients that take local steps, a victim's training, or plain automatic differentiation of one trial, as local steps of
narrow networks need it.
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measured speed of one network."""

    kind: Kind
    narrow: bool
    size: int
    forward: float
    """GFLOP of the forward pass of one image."""
    images: int
    """Number of images at once, of all trials."""
    rate: float
    """Rate of the computation, GFLOP/s."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of a device, measured by `invgrad bench`."""

    source: str
    """The file that it was read from."""
    device: str
    threads: int
    torch: str
    measured: tuple[Measured, ...]

    @classmethod
    def read(cls, path: Path) -> "Speed":
        """Read a file that `invgrad bench --out` wrote; `SettingsError`, one line, if it is none."""
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path}: not a file that `invgrad bench --out` wrote: {error}") from None
        file = parse(BenchFile, content, str(path))
        measured = [_measured(row, f"{path}: rows.{number}") for number, row in enumerate(file.rows)]
        return cls(
            source=str(path),
            device=file.device,
            threads=file.threads,
            torch=file.torch,
            measured=tuple(chain(*measured)),
        )

    @property
    def on_gpu(self) -> bool:
        """True if the timed device is a GPU."""
        return self.device.startswith("cuda")

    def attack_hours(self, work: Work) -> float:
        """Hours of an attack on the timed device, one job after the other."""
        kind: Kind = "l-bfgs" if work.gradients_per_iteration > 1 else "gradient"
        gigaflops, size = work.gigaflops, NetworkSize.of(work.network)
        together = size.runs_together(on_gpu=self.on_gpu)
        if work.local_steps:
            kind = "general" if size.is_narrow else "local-steps"
            gigaflops *= recomputed(work.local_steps) if together else 1
        images = work.batch * (work.trials / work.jobs if together and kind != "general" else 1)
        return work.gradients * gigaflops / self.rate(work.network, work.size, kind, images) / 3600

    def training_hours(self, training: TrainingWork) -> float:
        """Hours of a training on the timed device, one seed after the other."""
        rate = self.rate(training.network, training.size, "training", Training().batch_size)
        return training.gigaflops / rate / 3600

    def rate(self, network: nn.Module, size: int, kind: Kind, images: float) -> float:
        """GFLOP/s of the most similar network that was timed.

        It is as narrow or wide, was timed for this kind of computation if any was, and is nearest in operations and
        image size, then in images at once. For a wide network, L-BFGS costs its gradients; local steps and training
        that were not timed cost plain automatic differentiation.
        """
        narrow, forward = NetworkSize.of(network).is_narrow, forward_gigaflops(network, size)
        alike = [row for row in self.measured if row.narrow == narrow]
        by_hand_only = kind in ("gradient", "l-bfgs") or narrow
        kinds = (kind, "gradient") if by_hand_only else (kind, "general", "gradient")
        candidates = next(filter(None, ([row for row in alike if row.kind == each] for each in kinds)), [])
        if not candidates:
            raise SettingsError(
                f"{self.source}: has no {'narrow' if narrow else 'wide'} network; run `invgrad bench` without --network"
            )

        def distance(row: Measured) -> tuple[float, float]:
            return _far(row.forward, forward) + _far(row.size, size), _far(row.images, images)

        return min(candidates, key=distance).rate


def recomputed(local_steps: int) -> float:
    """Factor by which automatic differentiation takes longer because parts of the graph are recomputed."""
    return RECOMPUTED if local_steps > STEPS_AT_ONCE else 1


@cache
def forward_gigaflops(network: nn.Module, size: int) -> float:
    """GFLOP of the forward pass of one `size`×`size` colour image; the network's values do not matter."""
    copy = deepcopy(network).eval()
    try:
        return _counted(copy, size)
    except RuntimeError:  # some architectures look at values on their way
        return _counted(copy.to_empty(device="cpu"), size)


def estimate(
    works: Sequence[Work],
    trainings: Sequence[TrainingWork],
    artefacts: Mapping[str, Sequence[str]],
    speed: Speed,
    gpu: Speed,
) -> pd.DataFrame:
    """Estimate the cost: one row per artefact, per trained victim, for untrained ones, data, notebooks, and the total.

    Columns: `row`, counts (int), `device_hours` by `speed`, `gpu_hours` by `gpu`, `disk_gb` (10⁹ bytes), of which
    `shared_gb` is what clients share. `artefacts`: the cells of each. What several artefacts show or use is counted
    once, with the first of them.
    """
    rows = [*_attacks(works, artefacts, speed, gpu), *_trainings(trainings, speed, gpu)]
    rows.append({"row": "notebooks", "jobs": len(artefacts)})
    table = pd.DataFrame(rows, columns=["row", *MEASURES]).fillna(0).groupby("row", sort=False).sum()
    table.loc["total"] = table.sum()
    return table.astype(dict.fromkeys(COUNTS, int)).reset_index()


def report(table: pd.DataFrame, speed: Speed, gpu: Speed) -> str:
    """Format the table of `estimate` as Markdown, with footnotes on the origin of the hours."""
    hours = {"device_hours": f"hours on {speed.device}", "gpu_hours": f"hours on {gpu.device}"}
    names = {"row": "", "trial_iterations": "trial-iterations"}
    disk = {"disk_gb": "disk, GB", "shared_gb": "of it shared, GB"}
    shown = table.assign(
        **{name: table[name].map(_count if name in COUNTS else _measure) for name in table.columns[1:]}
    )
    align = ["left", *["right"] * (len(shown.columns) - 1)]
    lines = shown.rename(columns=names | hours | disk).to_markdown(index=False, disable_numparse=True, colalign=align)
    return "\n".join([lines, "", *(f"- {note}" for note in _footnotes(table.set_index("row"), speed, gpu))])


def _footnotes(table: pd.DataFrame, speed: Speed, gpu: Speed) -> Iterator[str]:
    yield "A cell that several artefacts show is counted once, with the first of them; so is what its clients share."
    yield "Jobs are those of attacks, training and notebooks; sharing, measuring and notebooks take seconds each."
    for each in (gpu, speed):
        timed = f"{each.source}, timed with {each.threads} threads and torch {each.torch}"
        yield f"Hours on {each.device}: from {timed}, one job after the other."
    yield "For a device of your own pass --bench or --gpu-bench FILE, made by `invgrad bench --out FILE`."
    shared, disk = (_measure(float(table[name]["total"])) for name in ("shared_gb", "disk_gb"))
    yield (
        f"Disk: {shared} of {disk} GB are what clients share, which is kept whole: every parameter, for every client "
        "and network seed. Only the attacks read it."
    )


def _attacks(
    works: Sequence[Work], artefacts: Mapping[str, Sequence[str]], speed: Speed, gpu: Speed
) -> Iterator[dict[str, Any]]:
    of_cell = {work.cell: work for work in works}
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
                "gpu_hours": gpu.attack_hours(work),
                "device_hours": speed.attack_hours(work),
                "disk_gb": shared + truth + _result_gigabytes(work),
                "shared_gb": shared,
            }


def _trainings(trainings: Sequence[TrainingWork], speed: Speed, gpu: Speed) -> Iterator[dict[str, Any]]:
    data: dict[str, float] = {}
    for work in sorted(trainings, key=lambda work: not work.epochs):
        trained = f"training {work.victim}: {work.epochs} epochs × {work.images:,} images"
        state = sum(tensor.nbytes for tensor in work.network.state_dict().values())
        yield {
            "row": trained if work.epochs else "victims that are not trained",
            "jobs": work.seeds,
            "gpu_hours": gpu.training_hours(work),
            "device_hours": speed.training_hours(work),
            "disk_gb": state * work.seeds * work.snapshots / GIGA,
        }
        data[work.dataset] = max(data.get(work.dataset, 0), work.images * 3 * work.size**2 / GIGA)
    yield {"row": "training data", "disk_gb": sum(data.values())}


def _shared_gigabytes(work: Work) -> tuple[float, float]:
    """Gigabytes of what a group of clients shares, one tensor per parameter and client, and of its images, uint8."""
    update = sum(parameter.nbytes for parameter in work.network.parameters())
    clients = work.clients * work.seeds / GIGA
    return clients * update, clients * work.images * 3 * work.size**2


def _result_gigabytes(work: Work) -> float:
    """Gigabytes of the selected images, float32, and of the trajectories of all restarts, float16."""
    pixels = work.clients * work.seeds * work.images * 3 * work.size**2
    return pixels * (4 + 2 * work.restarts * work.snapshots) / GIGA


def _measured(row: BenchRow, where: str) -> Iterator[Measured]:
    cases = {case.name: case for case in bench.CASES}
    if row.network not in cases:
        raise SettingsError(f"{where}.network: {unknown('network', row.network, cases)}")
    case = cases[row.network]
    network = _of_case(case.name)
    forward = forward_gigaflops(network, case.size)
    of_network = partial(Measured, narrow=NetworkSize.of(network).is_narrow, size=case.size, forward=forward)
    pass_of_trial, seconds = row.images * forward, row.ms_per_trial_iteration / 1000
    yield of_network(kind=case.step, images=row.trials * row.images, rate=case.passes * pass_of_trial / seconds)
    if case.step == "gradient":
        rate = passes(1) * pass_of_trial / (row.released_ms / 1000)
        yield of_network(kind="general", images=row.images, rate=rate)


@cache
def _of_case(name: str) -> nn.Module:
    case = next(case for case in bench.CASES if case.name == name)
    return outline(case.network, classes=case.classes, size=case.size)


def _counted(network: nn.Module, size: int) -> float:
    device = next(network.parameters()).device
    return bench.forward_gigaflops(network, torch.zeros(1, 3, size, size, device=device))


def _far(one: float, other: float) -> float:
    """The distance of two positive numbers on a logarithmic scale."""
    return abs(math.log(one / other))


def _count(value: int) -> str:
    return f"{value:,}" if value else "–"


def _measure(value: float) -> str:
    return f"{value:,.1f}" if value >= 0.05 else "<0.1" if value else "–"
