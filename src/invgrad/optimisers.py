"""How candidate images are moved: optimisers over a batch of trials that do not influence each other.

The variables are tensors with a leading trial dimension. Adam and SGD act on every entry alone; L-BFGS mixes the
entries of a trial and has its own batched form.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from invgrad.lbfgs import BatchedLBFGS
from invgrad.settings import Settings

Variables = Sequence[Tensor]
Evaluate = Callable[[], tuple[Tensor, Variables]]
"""The cost per trial [trials] and its gradient, one tensor per variable, at the variables' present values."""


class Stepper(Protocol):
    """An optimiser bound to its variables, which it changes in place."""

    def step(self, evaluate: Evaluate, decay: float) -> Tensor:
        """One step with the step size times `decay`; returns the cost per trial before it."""

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on besides the variables: the tensors themselves, to be kept or, before the
        first step, to be overwritten by others that were.
        """


class OptimiserSettings(Settings):
    """The settings of an optimiser; `step_size` is in normalised image coordinates."""

    step_size: float = Field(gt=0)

    @abstractmethod
    def bind(self, variables: Variables) -> Stepper:
        """A fresh optimiser of these variables, each [trials, …], the images first."""


class Adam(OptimiserSettings):
    """Adam with torch's defaults; `signed` replaces the images' gradient by its sign, as proposed (Sec. 4)."""

    kind: Literal["adam"] = "adam"
    step_size: float = Field(default=0.1, gt=0)
    signed: bool = True

    def bind(self, variables: Variables) -> Stepper:
        """Adam's state starts at zero."""
        return _Adam(variables, self.step_size, self.signed)


class SGD(OptimiserSettings):
    """SGD with Nesterov momentum 0.9 (the released code ignores its configured step and takes 0.01)."""

    kind: Literal["sgd"] = "sgd"
    step_size: float = Field(default=0.01, gt=0)
    signed: bool = False

    def bind(self, variables: Variables) -> Stepper:
        """The momentum starts at zero."""
        return _SGD(variables, self.step_size, self.signed)


class LBFGS(OptimiserSettings):
    """torch's L-BFGS without line search, 20 inner iterations a step (Zhu et al. 2019; released code's baseline)."""

    kind: Literal["lbfgs"] = "lbfgs"
    step_size: float = Field(default=1.0, gt=0)

    def bind(self, variables: Variables) -> Stepper:
        """Every trial starts with an empty history."""
        return BatchedLBFGS(variables, step_size=self.step_size)


Optimiser = Annotated[Adam | SGD | LBFGS, Field(discriminator="kind")]


class _Elementwise(ABC):
    """What optimisers that treat every entry alike have in common."""

    def __init__(self, variables: Variables, step_size: float, signed: bool) -> None:
        self._variables = variables
        self._step_size = step_size
        self._signed = signed

    def step(self, evaluate: Evaluate, decay: float) -> Tensor:
        cost, gradient = evaluate()
        slopes = [gradient[0].sign(), *gradient[1:]] if self._signed else gradient
        self._move(slopes, self._step_size * decay)
        return cost

    @abstractmethod
    def _move(self, slopes: Variables, step_size: float) -> None:
        """Change the variables."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """As of `Stepper`."""


class _Adam(_Elementwise):
    """The same operations as torch's, whose optimisers take a second to start and a while for each step."""

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, variables: Variables, step_size: float, signed: bool) -> None:
        super().__init__(variables, step_size, signed)
        self._means = [torch.zeros_like(variable) for variable in variables]
        self._squares = [torch.zeros_like(variable) for variable in variables]
        self._steps = torch.zeros((), dtype=torch.long)

    def state(self) -> dict[str, Tensor]:
        return {**_numbered("mean", self._means), **_numbered("square", self._squares), "steps": self._steps}

    def _move(self, slopes: Variables, step_size: float) -> None:
        self._steps += 1
        steps = self._steps.item()
        size = step_size / (1 - self.BETA1**steps)
        scale = (1 - self.BETA2**steps) ** 0.5
        for variable, slope, mean, square in zip(self._variables, slopes, self._means, self._squares, strict=True):
            mean.lerp_(slope, 1 - self.BETA1)
            square.mul_(self.BETA2).addcmul_(slope, slope, value=1 - self.BETA2)
            variable.addcdiv_(mean, (square.sqrt() / scale).add_(self.EPSILON), value=-size)


class _SGD(_Elementwise):
    """The same operations as torch's, with Nesterov momentum."""

    MOMENTUM = 0.9

    def __init__(self, variables: Variables, step_size: float, signed: bool) -> None:
        super().__init__(variables, step_size, signed)
        self._momenta = [torch.zeros_like(variable) for variable in variables]

    def state(self) -> dict[str, Tensor]:
        return _numbered("momentum", self._momenta)

    def _move(self, slopes: Variables, step_size: float) -> None:
        for variable, slope, momentum in zip(self._variables, slopes, self._momenta, strict=True):
            momentum.mul_(self.MOMENTUM).add_(slope)
            variable.add_(slope.add(momentum, alpha=self.MOMENTUM), alpha=-step_size)


def _numbered(name: str, tensors: Variables) -> dict[str, Tensor]:
    return {f"{name}.{number}": tensor for number, tensor in enumerate(tensors)}
