"""Optimisers of the candidate images of many independent trials.

The variables are tensors with a leading trial dimension. Adam and SGD act on every entry alone; L-BFGS mixes the
entries of a trial and has its own batched form.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from invgrad.attack.lbfgs import BatchedLBFGS
from invgrad.attack.settings import LBFGS, SGD, Adam, Optimiser

Variables = Sequence[Tensor]
Evaluate = Callable[[], tuple[Tensor, Variables]]
"""Function that returns the objective [trials] and its gradient, one tensor per variable, at their present values."""


class Stepper(Protocol):
    """An optimiser bound to its variables, which it changes in place."""

    def step(self, evaluate: Evaluate, decay: float) -> Tensor:
        """Take one step with the step size times `decay`; return the objective [trials] before it."""

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, besides the variables.

        These are the tensors themselves, not copies; a resumed attack overwrites them before its first step.
        """


def stepper(settings: Optimiser, variables: Variables) -> Stepper:
    """Create an optimiser of these variables, each [trials, …], the images first."""
    match settings:
        case Adam():
            return _Adam(variables, settings.step_size, settings.signed)
        case SGD():
            return _SGD(variables, settings.step_size, settings.signed)
        case LBFGS():
            return BatchedLBFGS(variables, step_size=settings.step_size)


def milestones(iterations: int) -> tuple[int, int, int]:
    """Return the iterations from which on the step size is 10, 100 and 1000 times smaller.

    They are near 3/8, 5/8 and 7/8 of all iterations, with the released code's rounding.
    """
    return int(iterations // 2.667), int(iterations // 1.6), int(iterations // 1.142)


def decay(iteration: int, iterations: int) -> float:
    """Return the factor of the step size in this iteration, counted from 0, out of `iterations`."""
    return float(0.1 ** sum(iteration >= milestone for milestone in milestones(iterations)))


class _Elementwise(ABC):
    """Base of the optimisers that treat every entry alike."""

    def __init__(self, variables: Variables, step_size: float, signed: bool) -> None:
        self._variables = variables
        self._step_size = step_size
        self._signed = signed

    def step(self, evaluate: Evaluate, decay: float) -> Tensor:
        cost, gradient = evaluate()
        if self._signed:  # the images' gradient; that of soft labels stays
            gradient = [gradient[0].sign(), *gradient[1:]]
        self._move(gradient, self._step_size * decay)
        return cost

    @abstractmethod
    def _move(self, gradient: Variables, step_size: float) -> None:
        """Change the variables."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return the state, as `Stepper.state` does."""


class _Adam(_Elementwise):
    """Adam with the operations of torch's own, whose start takes a second and whose steps are slow."""

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, variables: Variables, step_size: float, signed: bool) -> None:
        super().__init__(variables, step_size, signed)
        self._means = [torch.zeros_like(variable) for variable in variables]
        self._squares = [torch.zeros_like(variable) for variable in variables]
        self._steps = torch.zeros((), dtype=torch.long, device="cpu")

    def state(self) -> dict[str, Tensor]:
        return {**_numbered("mean", self._means), **_numbered("square", self._squares), "steps": self._steps}

    def _move(self, gradient: Variables, step_size: float) -> None:
        self._steps += 1
        steps = self._steps.item()
        size = step_size / (1 - self.BETA1**steps)
        scale = (1 - self.BETA2**steps) ** 0.5
        for variable, grad, mean, square in zip(self._variables, gradient, self._means, self._squares, strict=True):
            mean.lerp_(grad, 1 - self.BETA1)
            square.mul_(self.BETA2).addcmul_(grad, grad, value=1 - self.BETA2)
            variable.addcdiv_(mean, square.sqrt().div_(scale).add_(self.EPSILON), value=-size)


class _SGD(_Elementwise):
    """SGD with Nesterov momentum, with the operations of torch's own."""

    MOMENTUM = 0.9

    def __init__(self, variables: Variables, step_size: float, signed: bool) -> None:
        super().__init__(variables, step_size, signed)
        self._momenta = [torch.zeros_like(variable) for variable in variables]

    def state(self) -> dict[str, Tensor]:
        return _numbered("momentum", self._momenta)

    def _move(self, gradient: Variables, step_size: float) -> None:
        for variable, grad, momentum in zip(self._variables, gradient, self._momenta, strict=True):
            momentum.mul_(self.MOMENTUM).add_(grad)
            variable.add_(grad.add(momentum, alpha=self.MOMENTUM), alpha=-step_size)


def _numbered(name: str, tensors: Variables) -> dict[str, Tensor]:
    return {f"{name}.{number}": tensor for number, tensor in enumerate(tensors)}
