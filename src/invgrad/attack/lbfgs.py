"""L-BFGS for many independent trials at once, agreeing with `torch.optim.LBFGS` run on each trial alone."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from invgrad.tangent.kernels.lbfgs import CompiledMemory
from invgrad.tangent.kernels.library import usable

INNER_ITERATIONS = 20
HISTORY = 100
GRADIENT_TOLERANCE = 1e-7
CHANGE_TOLERANCE = 1e-9
CURVATURE_FLOOR = 1e-10


class BatchedLBFGS:
    """torch's L-BFGS without line search, with its default tolerances and counts, for every trial.

    Every trial has its own history, step length and stopping tests; one that stopped, or is not finite, stays as it is
    while the others continue.
    """

    def __init__(self, variables: Sequence[Tensor], *, step_size: float) -> None:
        """Take `variables` [trials, …], which `step` changes in place."""
        self._variables = variables
        self._step_size = step_size
        point = self._flat(variables)
        self._memory = _memory(point)
        self._step = torch.zeros_like(point)
        self._started = torch.zeros(len(point), dtype=torch.bool, device=point.device)
        # To ask a GPU whether a trial goes on makes it wait. Those that have stopped stay as they are, asked or not.
        self._asks_often = not point.is_cuda

    def step(self, evaluate: Callable[[], tuple[Tensor, Sequence[Tensor]]], decay: float) -> Tensor:
        """Take up to 20 iterations of every trial; return the objectives [trials] before the first."""
        first_cost, gradients = evaluate()
        cost, gradient = first_cost, self._flat(gradients)
        active = ~self._flat_at(gradient)
        for iteration in range(INNER_ITERATIONS):
            active = active & torch.isfinite(cost)
            if (iteration == 0 or self._asks_often) and not active.any():
                break
            direction = self._choose_step(gradient, active, self._step_size * decay)
            active = active & ((gradient * direction).sum(1) <= -CHANGE_TOLERANCE)
            self._move(active)
            if iteration == INNER_ITERATIONS - 1:
                break
            before = cost
            cost, gradients = evaluate()
            gradient = self._flat(gradients)
            active = active & ~self._flat_at(gradient) & (self._step.abs().amax(1) > CHANGE_TOLERANCE)
            active = active & ((cost - before).abs() >= CHANGE_TOLERANCE)
        return first_cost

    def state(self) -> dict[str, Tensor]:
        """Return the state, as `Stepper.state` does."""
        own = {name: getattr(self, f"_{name}") for name in ("step", "started")}
        return {**own, **self._memory.state()}

    def _choose_step(self, gradient: Tensor, active: Tensor, step_size: float) -> Tensor:
        """Choose the next step of the `active` trials; return their directions, before these get their lengths."""
        direction = self._memory.direction(gradient, self._step, active)
        first_length = (1 / gradient.abs().sum(1)).clamp(max=1)
        length = torch.where(self._started, 1, first_length) * step_size
        self._step = torch.where(active[:, None], direction * length[:, None], self._step)
        self._started = self._started | active
        return direction

    def _move(self, active: Tensor) -> None:
        shift = torch.where(active[:, None], self._step, 0)
        offset = 0
        for variable in self._variables:
            size = variable[0].numel()
            variable += shift[:, offset : offset + size].reshape(variable.shape)
            offset += size

    @staticmethod
    def _flat(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)

    @staticmethod
    def _flat_at(gradient: Tensor) -> Tensor:
        return gradient.abs().amax(1) <= GRADIENT_TOLERANCE


class _Memory(Protocol):
    """The curvature pairs of every trial."""

    def state(self) -> dict[str, Tensor]:
        """Return the pairs and what is derived from them, [trials, …] each."""

    def direction(self, gradient: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """Accept the last `step` [trials, d] of the trials `which` [trials], and the change of their gradient by it, as
        a pair if its curvature is positive; return minus the inverse-Hessian estimate times `gradient` [trials, d], and
        anything for other trials. Before the first call steps are zero, so it accepts nothing.
        """


def _memory(point: Tensor) -> _Memory:
    return CompiledMemory(point, HISTORY, CURVATURE_FLOOR) if usable("lbfgs", point) else TorchMemory(point)


class TorchMemory:
    """The pairs in torch: a ring of slots, filled trial by trial as pairs are accepted.

    The two-loop recursion runs for all pairs at once. With the pairs (s, y) as the rows of S and Y, oldest first,
    R the upper triangle of SYᵀ and D its diagonal, the factors of the first loop solve Rα = Sg; from r = γ(g − Yᵀα)
    on, those of the second solve Rᵀη = Dα − Yr, and r + Sᵀη is the result. Vectors stand to the left of matrices: it is
    ten times as fast as to the right of them. A slot that is not filled yet is a zero pair, with a one in R.
    """

    def __init__(self, point: Tensor) -> None:
        trials, size = point.shape
        self._trials = torch.arange(trials, device=point.device)
        self._slots = torch.arange(HISTORY, device=point.device)
        self._previous = torch.zeros_like(point)
        self._steps = point.new_zeros(trials, HISTORY, size)
        self._changes = point.new_zeros(trials, HISTORY, size)
        self._triangle = torch.eye(HISTORY, dtype=point.dtype, device=point.device).repeat(trials, 1, 1)
        self._count = torch.zeros(trials, dtype=torch.long, device=point.device)
        self._scale = point.new_ones(trials)

    def state(self) -> dict[str, Tensor]:
        """Return the state, as `_Memory.state` does."""
        names = "previous", "steps", "changes", "triangle", "count", "scale"
        return {name: getattr(self, f"_{name}") for name in names}

    def direction(self, gradient: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """Accept pairs and return directions, as `_Memory.direction` does."""
        change = gradient - self._previous
        self._previous = torch.where(which[:, None], gradient, self._previous)
        curvature = (change * step).sum(1)
        accepted = which & (curvature > CURVATURE_FLOOR)
        self._scale = torch.where(accepted, curvature / change.square().sum(1), self._scale)
        newest = self._trials, self._count % HISTORY  # of every trial: a GPU need not say which accepted theirs
        for pairs, latest in ((self._steps, step), (self._changes, change)):
            pairs[newest] = torch.where(accepted[:, None], latest, pairs[newest])
        self._count = self._count + accepted
        places = self._trials[:, None], (self._count[:, None] + self._slots) % HISTORY  # from the oldest to the newest
        along_gradient, along_change = torch.stack([gradient, change], 1).bmm(self._steps.mT).unbind(1)
        self._extend(along_change[places], accepted)
        return -self._two_loops(gradient, along_gradient, places)

    def _extend(self, column: Tensor, accepted: Tensor) -> None:
        """Forget the oldest pair in R, for the newest, whose y has these products with every s, [trials, pairs]."""
        longer = torch.cat([F.pad(self._triangle[:, 1:, 1:], (0, 0, 0, 1)), column[:, :, None]], 2)
        self._triangle = torch.where(accepted[:, None, None], longer, self._triangle)

    def _two_loops(self, gradient: Tensor, along_gradient: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
        curvature, scale = self._triangle.diagonal(dim1=1, dim2=2), self._scale[:, None]
        first = _solve(self._triangle, along_gradient[places], upper=True)
        product = scale * (gradient - _combined(self._changes, first, places))
        right = curvature * first - product[:, None].bmm(self._changes.mT)[:, 0][places]
        second = _solve(self._triangle.mT, right, upper=False)
        return product + _combined(self._steps, second, places)


def _combined(rows: Tensor, factors: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """Sum the rows [trials, pairs, d] at these places times their factors, [trials, d]."""
    return torch.zeros_like(factors).index_put_(places, factors)[:, None].bmm(rows)[:, 0]


def _solve(triangle: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    solution: Tensor = torch.linalg.solve_triangular(triangle, right[:, :, None], upper=upper)
    return solution[:, :, 0]
