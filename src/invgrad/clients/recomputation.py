"""Recomputation of a graph in the backward pass, which saves the memory of keeping it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Grad = Callable[..., Callable[..., Any]]
"""`torch.func.grad`, or its like."""


class Recomputed(torch.autograd.Function):
    """The function `function(*tensors)`, a tuple of tensors, whose graph is recomputed when needed, by `grad`.

    It works within torch.func, where torch.utils.checkpoint does not. The function must get every tensor that is
    differentiated as an argument. Second derivatives are not available: torch.func would give zeros.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Grad, function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute the function's values."""
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the functions and the arguments."""
        ctx.grad, ctx.function, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    @once_differentiable  # torch.func would otherwise keep the graph of this pass, for a second derivative
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the graph again and pull `gradients` back through it."""

        def product(*tensors: Tensor) -> Tensor:
            outputs = ctx.function(*tensors)
            return torch.stack(
                [(output * gradient).sum() for output, gradient in zip(outputs, gradients, strict=True)]
            ).sum()

        wanted = tuple(number for number, needed in enumerate(ctx.needs_input_grad[2:]) if needed)
        # Not torch.func.vjp: it pulls back after its level has ended, where a part within this part cannot follow.
        found = dict(zip(wanted, ctx.grad(product, wanted)(*ctx.saved_tensors), strict=True))
        return None, None, *(found.get(number) for number in range(len(ctx.saved_tensors)))
