"""L-BFGS for many independent trials at once, agreeing with `torch.optim.LBFGS` run on each trial alone."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

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
        self._memory = _Memory(point)
        self._direction = torch.zeros_like(point)
        self._length = point.new_zeros(len(point))
        self._previous = torch.zeros_like(point)
        self._started = torch.zeros(len(point), dtype=torch.bool, device=point.device)

    def step(self, evaluate: Callable[[], tuple[Tensor, Sequence[Tensor]]], decay: float) -> Tensor:
        """Take up to 20 iterations of every trial; return the objectives [trials] before the first."""
        first_cost, gradients = evaluate()
        cost, gradient = first_cost, self._flat(gradients)
        active = ~self._flat_at(gradient)
        for iteration in range(INNER_ITERATIONS):
            active = active & torch.isfinite(cost)
            if not active.any():
                break
            self._choose_direction(gradient, active, self._step_size * decay)
            descent = (gradient * self._direction).sum(1)
            active = active & (descent <= -CHANGE_TOLERANCE)
            self._move(active)
            if iteration == INNER_ITERATIONS - 1:
                break
            before = cost
            cost, gradients = evaluate()
            gradient = self._flat(gradients)
            shift = (self._direction * self._length[:, None]).abs().amax(1)
            active = active & ~self._flat_at(gradient) & (shift > CHANGE_TOLERANCE)
            active = active & ((cost - before).abs() >= CHANGE_TOLERANCE)
        return first_cost

    def state(self) -> dict[str, Tensor]:
        """Return the state, as `Stepper.state` does."""
        own = {name: getattr(self, f"_{name}") for name in ("direction", "length", "previous", "started")}
        return {**own, **self._memory.state()}

    def _choose_direction(self, gradient: Tensor, active: Tensor, step_size: float) -> None:
        fresh = active & ~self._started
        last_step = self._direction * self._length[:, None]
        newton_step = -self._memory.apply(gradient, gradient - self._previous, last_step, active & self._started)
        self._direction = torch.where(active[:, None], newton_step, self._direction)
        first_length = (1 / gradient.abs().sum(1)).clamp(max=1) * step_size
        length = torch.where(fresh, first_length, torch.full_like(first_length, step_size))
        self._length = torch.where(active, length, self._length)
        self._previous = torch.where(active[:, None], gradient, self._previous)
        self._started = self._started | active

    def _move(self, active: Tensor) -> None:
        shift = torch.where(active[:, None], self._direction * self._length[:, None], 0)
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


class _Memory:
    """Curvature pairs of every trial: a ring of slots, filled trial by trial as pairs are accepted.

    The two-loop recursion runs for all pairs at once. With the pairs (s, y) as the rows of S and Y, oldest first,
    R the upper triangle of SYᵀ and D its diagonal, the factors of the first loop solve Rα = Sg; from r = γ(g − Yᵀα)
    on, those of the second solve Rᵀη = Dα − Yr, and r + Sᵀη is the result. Vectors stand to the left of matrices: it is
    ten times as fast as to the right of them. A slot that is not filled yet is a zero pair, with a one in R.
    """

    def __init__(self, point: Tensor) -> None:
        trials, size = point.shape
        self._trials = torch.arange(trials, device=point.device)
        self._slots = torch.arange(HISTORY, device=point.device)
        self._steps = point.new_zeros(trials, HISTORY, size)
        self._changes = point.new_zeros(trials, HISTORY, size)
        self._triangle = torch.eye(HISTORY, dtype=point.dtype, device=point.device).repeat(trials, 1, 1)
        self._count = torch.zeros(trials, dtype=torch.long, device=point.device)
        self._scale = point.new_ones(trials)

    def state(self) -> dict[str, Tensor]:
        """Return the pairs and what is derived from them, [trials, …] each."""
        return {name: getattr(self, f"_{name}") for name in ("steps", "changes", "triangle", "count", "scale")}

    def apply(self, gradient: Tensor, change: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """Accept the pairs of gradient `change` and `step`, [trials, d] each, of the trials `which` [trials] if their
        curvature is positive; return the inverse-Hessian estimate of every trial times its gradient, [trials, d].
        """
        curvature = (change * step).sum(1)
        accepted = which & (curvature > CURVATURE_FLOOR)
        self._scale = torch.where(accepted, curvature / change.square().sum(1), self._scale)
        newest = self._trials[accepted], self._count[accepted] % HISTORY
        self._steps[newest], self._changes[newest] = step[accepted], change[accepted]
        self._count = self._count + accepted
        places = self._trials[:, None], (self._count[:, None] + self._slots) % HISTORY  # from the oldest to the newest
        along_gradient, along_change = torch.stack([gradient, change], 1).bmm(self._steps.mT).unbind(1)
        self._extend(along_change[places], accepted)
        return self._two_loops(gradient, along_gradient, places)

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
