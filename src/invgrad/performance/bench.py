"""Benchmark of an attack step beside the released algorithm, and beside any other implementation, timed in turns."""

import copy
import runpy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invgrad.attack.optimisers import stepper
from invgrad.attack.settings import LBFGS
from invgrad.clients.protocols import sharing
from invgrad.data.splits import Split
from invgrad.networks.build import initial, outline
from invgrad.networks.operations import forward_gigaflops
from invgrad.networks.settings import Training
from invgrad.networks.training import Pass, State, one_pass
from invgrad.objective.build import objective_for
from invgrad.objective.cuda_graph import Evaluate, repeated
from invgrad.objective.distances import squares
from invgrad.objective.reference import objective_gradient
from invgrad.objective.settings import Cosine, Distance, SquaredEuclidean
from invgrad.objective.targets import Targets
from invgrad.performance.cases import Bound, Case
from invgrad.performance.limits import Limits, least_bytes
from invgrad.performance.timing import alternately
from invgrad.results.files import write_json
from invgrad.results.provenance import device_name
from invgrad.settings import SettingsError

ALPHA = 0.01
LBFGS_STEPS = 10
"""Number of L-BFGS steps that are timed together, from a fresh start; after five, the history is full."""

Adapter = Callable[[nn.Module, Tensor, Tensor, tuple[Tensor, ...], float], Callable[[], object]]
"""Adapter of another implementation: `prepare(network, images, labels, target, alpha)`.

It gets images [trials, n, 3, h, w], labels [trials, n], target [trials, *parameter.shape] for every parameter, and the
weight of the total variation. It returns a function that computes the gradient of the objective (cosine distance) for
all trials once.
"""


def time_cases(
    cases: tuple[Case, ...], rounds: int, device: torch.device, other: Path | None, out: Path | None
) -> None:
    """Time the cases that an attack on this device meets; print the machine and the row of each case.

    `other`: a Python file with an `Adapter`; `out`: a JSON file to write all of it to. Before anything is timed, raises
    `SettingsError` for a file or a network that cannot be used, and `OSError` if `out` cannot be written.
    """
    adapter, cases = load_adapter(other) if other else None, met_on(device, cases)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out.parent).close()
    about = {"device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
    print("{device}, {threads} threads, torch {torch}".format(**about))
    limits = Limits.of(device)
    print(f"{limits.matrix_rate} GFLOP/s in matrix products, {limits.bandwidth} GB/s from memory", flush=True)
    rows = []
    for row in bench(cases, rounds, limits, device, adapter):
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if out:
        write_json(out, {**about, "rounds": rounds, **asdict(limits), "rows": rows})


def bench(
    cases: tuple[Case, ...], rounds: int, limits: Limits, device: torch.device, other: Adapter | None
) -> Iterator[dict[str, Any]]:
    """Time each case, and yield one row per case.

    A row has the median ms per trial-iteration of ours and of the released algorithm over `rounds` timings in turns,
    their ratio, and the shares of the machine's limits that ours reaches (see `Case.passes` and `least_bytes`); the
    larger one is of what bounds it. With another implementation, it also has its time and its ratio to ours.
    """
    for case in cases:
        problem = _problem(case, device)
        ours, engine = _ours(case, problem)
        functions = [ours, _released(case, problem)]
        if other and case.step == "gradient":
            functions.append(other(problem.network, problem.images, problem.labels, problem.targets.target, ALPHA))
        mine, released, *others = alternately(functions, rounds, device)
        steps = LBFGS_STEPS if case.step == "l-bfgs" else 1
        gigaflops = steps * case.passes * case.trials * forward_gigaflops(problem.network, problem.images[0])
        multiplying = gigaflops / limits.matrix_rate
        moving = least_bytes(case, problem.network, problem.images[0], steps) / 1e9 / limits.bandwidth
        bound: Bound = "matrix products" if multiplying > moving else "memory"
        row = {
            "network": case.name,
            "engine": engine,
            "trials": case.trials,
            "images": case.images,
            "ms_per_trial_iteration": round(mine / case.trials / steps, 3),
            "released_ms": round(released / steps, 3),
            "ratio": round(released * case.trials / mine, 2),
            "share_of_matrix_rate": round(1000 * multiplying / mine, 3),
            "share_of_bandwidth": round(1000 * moving / mine, 3),
            "bound_by": bound,
        }
        for taken in others:
            row |= {"other_ms": round(taken / case.trials, 3), "ratio_to_other": round(taken / mine, 2)}
        yield row


def met_on(device: torch.device, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """Leave out cases that no attack on this device meets: several trials of a network that run one at a time there.

    Raises `SettingsError` for a network that cannot be built.
    """
    for case in cases:
        outline(case.network, classes=case.classes, size=case.size)
    return tuple(case for case in cases if case.trials == 1 or device.type != "cpu" or _runs_at_once(case))


def _runs_at_once(case: Case) -> bool:
    """Decide whether an attack on a CPU evaluates all trials of the case at once."""
    network = initial(case.network, classes=case.classes, size=case.size, seed=0)
    shape = case.images, 3, case.size, case.size
    return objective_for(network, case.client, Cosine(), ALPHA, shape, trials=case.trials).at_once is None


def load_adapter(path: Path) -> Adapter:
    """Execute a Python file and return its function `prepare`; `SettingsError` if it has none."""
    found = runpy.run_path(str(path)).get("prepare")
    if not callable(found):
        raise SettingsError(f"{path}: defines no function prepare(network, images, labels, target, alpha)")
    adapter: Adapter = found
    return adapter


@dataclass(frozen=True)
class _Problem:
    network: nn.Module
    images: Tensor
    labels: Tensor
    targets: Targets
    distance: Distance


def _problem(case: Case, device: torch.device) -> _Problem:
    network = initial(case.network, classes=case.classes, size=case.size, seed=0).to(device)
    random = torch.Generator().manual_seed(0)
    shape = (case.trials, case.images, 3, case.size, case.size)
    true, images = (torch.randn(shape, generator=random).to(device) for _ in range(2))
    labels = torch.randint(case.classes, shape[:2], generator=random).to(device)
    shares = [sharing(case.client, network)(x, y)[0] for x, y in zip(true, labels, strict=True)]
    ones = torch.ones(case.trials, len(shares[0]), device=device)
    target = tuple(torch.stack(each) for each in zip(*shares, strict=True))
    targets = Targets(target=target, squares=squares(target), weights=ones, chosen=ones)
    distance = SquaredEuclidean() if case.step == "l-bfgs" else Cosine()
    return _Problem(network, images, labels, targets, distance)


def _ours(case: Case, problem: _Problem) -> tuple[Callable[[], object], str]:
    """One step for all trials, and the name of the engine that takes it."""
    if case.step == "training":
        return _training(case, problem), "SGD"
    weight = 0 if case.step == "l-bfgs" else ALPHA
    objective = objective_for(
        problem.network, case.client, problem.distance, weight, problem.images.shape[1:], trials=case.trials
    )
    images, targets = problem.images.clone(), objective.prepared(problem.targets)
    evaluation = repeated(partial(objective.gradient, images, problem.labels, targets), images.device)
    whole = evaluation if case.step != "l-bfgs" else partial(_lbfgs, evaluation, images, problem.images)
    return whole, type(objective).__name__


def _lbfgs(evaluation: Evaluate, images: Tensor, start: Tensor) -> None:
    images.copy_(start)
    optimiser = stepper(LBFGS(), [images])

    def evaluate() -> tuple[Tensor, list[Tensor]]:
        found = evaluation()
        return found.objective, [found.image_gradient]

    for _ in range(LBFGS_STEPS):
        optimiser.step(evaluate, decay=1)


def _training(case: Case, problem: _Problem) -> Callable[[], object]:
    """A pass over one batch, which is cropped and flipped on the CPU, as in a training."""
    images = torch.randint(256, (case.images, 3, case.size, case.size), dtype=torch.uint8)
    labels, index = torch.randint(case.classes, (case.images,)), torch.arange(case.images)
    data = Split("cifar10", "train", "random", images, labels, index, index < 0, case.classes, (0.0,) * 3, (1.0,) * 3)
    state = State(copy.deepcopy(problem.network), Training(batch_size=case.images), seed=0)

    def step() -> None:
        state.under_way = Pass()
        one_pass(state, data, 1)

    return step


def _plain_training(problem: _Problem) -> Callable[[], object]:
    """The same step on a batch that lies on the device, without crops and flips."""
    network = copy.deepcopy(problem.network).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(problem.images[0]), problem.labels[0]).backward()
        optimiser.step()

    return step


def _released(case: Case, problem: _Problem) -> Callable[[], object]:
    """One step of the released algorithm, for the first trial."""
    if case.step == "training":
        return _plain_training(problem)
    weight = 0 if case.step == "l-bfgs" else ALPHA
    target = [tensor[0] for tensor in problem.targets.target]
    gradient = partial(objective_gradient, problem.network)
    fixed = (problem.labels[0], target, problem.distance, weight, case.client)
    if case.step != "l-bfgs":
        return partial(gradient, problem.images[0], *fixed)

    def steps() -> None:
        images = problem.images[0].clone().requires_grad_()
        optimiser = torch.optim.LBFGS([images])

        def closure() -> Tensor:
            value, images.grad = gradient(images, *fixed)
            return value

        for _ in range(LBFGS_STEPS):
            optimiser.step(closure)

    return steps
