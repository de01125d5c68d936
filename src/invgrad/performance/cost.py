"""Cost of attacks and trainings, and of the jobs around them, on a device that was timed. Imports no torch.

Hours are the floating-point operations, counted on networks without values, divided by the rate that `invgrad bench`
measured for the most similar network, on this device and on a GPU. They are right within a factor of about two; less so
for local steps, of which one network was timed. `work` lists those of a plan, and `estimate` sums them up.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from invgrad.clients.settings import STEPS_AT_ONCE
from invgrad.experiments.jobs import JobKind
from invgrad.networks.facts import NetworkCost, cost_of
from invgrad.networks.settings import Training
from invgrad.performance.cases import CASES, TRAINING_PASSES, Bound, passes
from invgrad.settings import Settings, SettingsError, parse, unknown

RECOMPUTED = 1.4
"""Factor by which more than `STEPS_AT_ONCE` local steps take longer, since parts are recomputed (measured)."""

BENCH, GPU_BENCH = (Path(__file__).with_name(f"{name}.json") for name in ("bench", "bench-gpu"))
"""Outputs of `invgrad bench --out` on a CPU and on a GPU: the default, if no device was timed."""

JOB_SECONDS: Mapping[JobKind, float] = {
    "data": 0.6,
    "victim": 0.3,
    "share": 0.3,
    "attack": 0.1,
    "measure": 0.1,
    "activations": 0.1,
    "describe": 0.2,
    "verdict": 0.3,
    "notebook": 3.5,
    "report": 0.2,
    "all": 12,
}
"""CPU-seconds of a job besides its attack or training, where a warm process starts it; of the last one Snakemake's own,
and those of the warm process (measured at scale demo, on an AMD EPYC with AVX-512).
"""

START_SECONDS = 5.0
"""Seconds more that a job takes to start where there is no warm process, as on a cluster."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """The attack of one cell."""

    cell: str
    group: str
    """Name of the clients; what they share is written once for all cells that attack them."""
    network: NetworkCost
    size: int
    """Side of the images, in pixels."""
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
        return passes(self.local_steps) * self.batch * self.network.gigaflops


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingWork:
    """The training of one victim with all its network seeds, or its writing to disk if it is not trained."""

    victim: str
    network: NetworkCost
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
        return TRAINING_PASSES * images * self.network.gigaflops


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
    share_of_bandwidth: float | None = None
    bound_by: Bound | None = None
    other_ms: float | None = None
    ratio_to_other: float | None = None


class BenchFile(Settings):
    """Content of the file that `invgrad bench --out` writes."""

    device: str
    threads: PositiveInt
    torch: str
    rounds: PositiveInt
    matrix_rate: PositiveFloat | None = None
    """GFLOP/s."""
    bandwidth: PositiveFloat | None = None
    """GB/s."""
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
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path}: not a file that `invgrad bench --out` wrote: {error}") from None
        file = parse(BenchFile, content, str(path))
        on_gpu = file.device.startswith("cuda")
        measured = [_measured(row, on_gpu, f"{path}: rows.{number}") for number, row in enumerate(file.rows)]
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
        gigaflops, size = work.gigaflops, work.network.size
        together = size.runs_together(on_gpu=self.on_gpu)
        if work.local_steps:
            kind = "general" if size.is_narrow else "local-steps"
            gigaflops *= recomputed(work.local_steps) if together and size.is_small else 1
        images = work.batch * (work.trials / work.jobs if together and kind != "general" else 1)
        return work.gradients * gigaflops / self.rate(work.network, work.size, kind, images) / 3600

    def training_hours(self, training: TrainingWork) -> float:
        """Hours of a training on the timed device, one seed after the other."""
        rate = self.rate(training.network, training.size, "training", Training().batch_size)
        return training.gigaflops / rate / 3600

    def job_hours(self, kind: JobKind) -> float:
        """Hours of a job besides its attack or training, as a share of the timed device."""
        start = START_SECONDS if self.on_gpu and kind != "all" else 0
        return (JOB_SECONDS[kind] + start) / (1 if self.on_gpu else self.threads) / 3600

    def rate(self, network: NetworkCost, size: int, kind: Kind, images: float) -> float:
        """GFLOP/s of the most similar network that was timed.

        It is as narrow or wide, was timed for this kind of computation if any was, and is nearest in operations and
        image size, then in images at once. For a wide network, L-BFGS costs its gradients; local steps and training
        that were not timed cost plain automatic differentiation.
        """
        narrow, forward = network.size.is_narrow, network.gigaflops
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


def _measured(row: BenchRow, on_gpu: bool, where: str) -> Iterator[Measured]:
    """Yield what a row tells. One of several trials of a wide network on a CPU is left out, since they are counted one
    by one, which is too much for many trials of a small ResNet.
    """
    cases = {case.name: case for case in CASES}
    if row.network not in cases:
        raise SettingsError(f"{where}.network: {unknown('network', row.network, cases)}")
    case = cases[row.network]
    network = cost_of(case.network, classes=case.classes, size=case.size)
    if row.trials > 1 and not network.size.runs_together(on_gpu=on_gpu):
        return
    forward = network.gigaflops
    of_network = partial(Measured, narrow=network.size.is_narrow, size=case.size, forward=forward)
    pass_of_trial, seconds = row.images * forward, row.ms_per_trial_iteration / 1000
    yield of_network(kind=case.step, images=row.trials * row.images, rate=case.passes * pass_of_trial / seconds)
    if case.step == "gradient":
        rate = passes(1) * pass_of_trial / (row.released_ms / 1000)
        yield of_network(kind="general", images=row.images, rate=rate)


def _far(one: float, other: float) -> float:
    """The distance of two positive numbers on a logarithmic scale."""
    return abs(math.log(one / other))
