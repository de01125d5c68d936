"""L-BFGS of many trials agrees with torch's own, with either memory of its pairs."""

import pytest
import torch
from torch import Tensor

from invgrad.attack import lbfgs
from invgrad.attack.lbfgs import CURVATURE_FLOOR, HISTORY, TorchMemory
from invgrad.attack.optimisers import stepper as make_stepper
from invgrad.attack.settings import LBFGS
from invgrad.tangent.kernels.lbfgs import CompiledMemory
from invgrad.tangent.kernels.library import library

pytestmark = [
    pytest.mark.skipif(library("lbfgs") is None, reason="installed without a C++ compiler"),
    pytest.mark.usefixtures("generation"),
]


def use(memory: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbfgs, "usable", lambda name, point: memory is CompiledMemory)


@pytest.mark.parametrize("offset", [0.0, 40.0])
@pytest.mark.parametrize("memory", [TorchMemory, CompiledMemory])
def test_it_is_torchs_run_alone(memory: type, offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rosenbrock valleys of different steepness; `offset` starts one where torch stops early."""
    use(memory, monkeypatch)
    starts = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [1.0 + offset, 1.0], [3.0, -2.0]], dtype=torch.float64)
    steep = torch.tensor([1.0, 10.0, 3.0, 0.1], dtype=torch.float64)

    def valley(x: Tensor, a: Tensor) -> Tensor:
        return (1 - x[..., 0]) ** 2 + a * (x[..., 1] - x[..., 0] ** 2) ** 2

    batch = starts.clone()
    stepper = make_stepper(LBFGS(step_size=0.1), [batch])

    def evaluate() -> tuple[Tensor, list[Tensor]]:
        x = batch.detach().clone().requires_grad_()
        cost = valley(x, steep)
        return cost.detach(), list(torch.autograd.grad(cost.sum(), x))

    for _ in range(8):
        stepper.step(evaluate, decay=1.0)
    for trial, start in enumerate(starts):
        x = start.clone().requires_grad_()
        alone = torch.optim.LBFGS([x], lr=0.1)

        def closure(x: Tensor = x, a: Tensor = steep[trial], alone: torch.optim.LBFGS = alone) -> Tensor:
            alone.zero_grad()
            cost = valley(x, a)
            cost.backward()
            return cost

        for _ in range(8):
            alone.step(closure)
        torch.testing.assert_close(batch[trial], x.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("memory", [TorchMemory, CompiledMemory])
def test_asked_seldom_as_on_a_gpu_trials_that_have_stopped_stay(memory: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bowls of different steepness, in which all trials stop within a step, before its last iteration."""
    use(memory, monkeypatch)
    steep = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    ends, evaluations = [], []
    for often in (True, False):
        points = torch.tensor([[1.0, -2.0], [0.5, 0.25], [0.0, 0.0]], dtype=torch.float64)
        stepper = make_stepper(LBFGS(), [points])
        stepper._asks_often = often
        count = 0

        def evaluate(points: Tensor = points) -> tuple[Tensor, list[Tensor]]:
            nonlocal count
            count += 1
            return (steep * points.square().sum(1)).clone(), [2 * steep[:, None] * points]

        for _ in range(3):
            stepper.step(evaluate, decay=1.0)
        ends.append([points, *stepper.state().values()])
        evaluations.append(count)
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    assert evaluations[0] < evaluations[1], "all had stopped before"


def walk(size: int, dtype: torch.dtype, calls: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Gradients and last steps of five trials, each active now and then; the gradient changes along most steps."""
    torch.manual_seed(size)
    steep = torch.rand(5, size, dtype=dtype) + 0.5
    gradient, found = torch.randn(5, size, dtype=dtype), []
    for call in range(calls):
        active = torch.rand(5) < 0.9
        step = torch.randn(5, size, dtype=dtype) * active[:, None] * (call > 0)
        uphill = torch.where(torch.rand(5, 1) < 0.1, -1, 1)  # by such a pair no curvature is known
        gradient = gradient + uphill * steep * step
        found.append((gradient, step, active))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 64, 3 * 11 * 13, 500])
def test_both_memories_agree(size: int, dtype: torch.dtype) -> None:
    point = torch.zeros(5, size, dtype=dtype)
    both = TorchMemory(point), CompiledMemory(point, HISTORY, CURVATURE_FLOOR)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    for gradient, step, active in walk(size, dtype, 20 if size == 3 else HISTORY + 30):
        one, other = (memory.direction(gradient, step, active)[active] for memory in both)
        norms = one.norm(dim=1)
        assert ((one - other).norm(dim=1) <= tolerance * norms).all()


def test_a_trial_depends_on_nothing_else() -> None:
    """Neither on other trials, be they not finite, nor on the number of threads: the same bits."""
    which = slice(1, 2)
    memories = [CompiledMemory(torch.zeros(count, 70), HISTORY, CURVATURE_FLOOR) for count in (5, 5, 1)]
    for gradient, step, active in walk(70, torch.float32, HISTORY + 10):
        broken = gradient.clone()
        broken[2:] = torch.nan
        try:
            torch.set_num_threads(2)
            one = memories[0].direction(gradient, step, active)[which]
        finally:
            torch.set_num_threads(1)
        other = memories[1].direction(broken, step, active)[which]
        alone = memories[2].direction(gradient[which], step[which], active[which])
        if active[1]:
            assert torch.equal(one, other)
            assert torch.equal(one, alone)
