"""How candidate images are moved: optimisers over a batch of trials that do not influence each other.

The variables are tensors with a leading trial dimension. Adam and SGD act on every entry alone, so torch's own serve;
L-BFGS mixes the entries of a trial and has its own batched form.
"""

from abc import abstractmethod
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
        return _Elementwise(torch.optim.Adam(variables, lr=self.step_size), variables, self.step_size, self.signed)


class SGD(OptimiserSettings):
    """SGD with Nesterov momentum 0.9 (the released code ignores its configured step and takes 0.01)."""

    kind: Literal["sgd"] = "sgd"
    step_size: float = Field(default=0.01, gt=0)
    signed: bool = False

    def bind(self, variables: Variables) -> Stepper:
        """The momentum starts at zero."""
        optimiser = torch.optim.SGD(variables, lr=self.step_size, momentum=0.9, nesterov=True)
        return _Elementwise(optimiser, variables, self.step_size, self.signed)


class LBFGS(OptimiserSettings):
    """torch's L-BFGS without line search, 20 inner iterations a step (Zhu et al. 2019; released code's baseline)."""

    kind: Literal["lbfgs"] = "lbfgs"
    step_size: float = Field(default=1.0, gt=0)

    def bind(self, variables: Variables) -> Stepper:
        """Every trial starts with an empty history."""
        return BatchedLBFGS(variables, step_size=self.step_size)


Optimiser = Annotated[Adam | SGD | LBFGS, Field(discriminator="kind")]


class _Elementwise:
    def __init__(self, optimiser: torch.optim.Optimizer, variables: Variables, step_size: float, signed: bool) -> None:
        self._optimiser = optimiser
        self._variables = variables
        self._step_size = step_size
        self._signed = signed

    def step(self, evaluate: Evaluate, decay: float) -> Tensor:
        cost, gradient = evaluate()
        for variable, slope in zip(self._variables, gradient, strict=True):
            variable.grad = slope
        if self._signed:
            images = self._variables[0]
            images.grad = gradient[0].sign()
        for group in self._optimiser.param_groups:
            group["lr"] = self._step_size * decay
        self._optimiser.step()
        return cost
