"""Limits of a machine: the rate of matrix products and the bandwidth of its memory, and what a step takes of it."""

from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from invgrad.attack.lbfgs import HISTORY
from invgrad.performance.cases import Case
from invgrad.performance.timing import alternately
from invgrad.tangent.kernels.matmul import times_transpose

MATRIX_SIDE = 2048
TRIAD_LENGTH = 2**25
"""Length of each of the three float32 vectors, 128 MiB, which no cache holds."""


@dataclass(frozen=True)
class Limits:
    """Limits of a machine, which no step passes that multiplies and moves as much as is counted."""

    matrix_rate: float
    """GFLOP/s of a product of two float32 matrices."""
    bandwidth: float
    """GB/s between the processor and its memory."""

    @classmethod
    def of(cls, device: torch.device) -> Self:
        """Measure the limits of a device."""
        return cls(round(matrix_rate(device), 1), round(bandwidth(device), 1))


def matrix_rate(device: torch.device) -> float:
    """GFLOP/s of the product of two float32 matrices of side `MATRIX_SIDE`, by the faster of two methods."""
    a, b = torch.rand(2, MATRIX_SIDE, MATRIX_SIDE, device=device)
    milliseconds = min(alternately((partial(times_transpose, a, b), partial(torch.mm, a, b)), 5, device))
    return 2 * MATRIX_SIDE**3 / 1e6 / milliseconds


def bandwidth(device: torch.device) -> float:
    """GB/s of a triad a = b + s·c of long vectors: two reads and one write of each element, as STREAM counts them."""
    a, b, c = torch.rand(3, TRIAD_LENGTH, device=device)
    (milliseconds,) = alternately((partial(torch.add, b, c, alpha=2, out=a),), 5, device)
    return 3 * 4 * TRIAD_LENGTH / 1e6 / milliseconds


def least_bytes(case: Case, network: nn.Module, images: Tensor, steps: int) -> int:
    """Bytes that all trials move at least in `steps` iterations from a fresh start; `images` [n, 3, h, w] are of one.

    They are, once per gradient, the parameters for all trials and as many values for each (its shared gradient; in a
    training, the momentum), and once per pass the output of every convolution and linear layer. L-BFGS also reads its
    history once per gradient. A cache may hold some of it from one gradient to the next.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    gradients = steps * case.gradients
    pairs = sum(min(before, HISTORY) for before in range(gradients)) if case.step == "l-bfgs" else 0
    outputs = steps * case.passes * _outputs(network, images)
    of_trial = gradients * parameters + outputs + 2 * pairs * images.numel()
    return 4 * (gradients * parameters + case.trials * of_trial)


def _outputs(network: nn.Module, images: Tensor) -> int:
    """Number of values that the convolutions and linear layers compute for images [n, 3, h, w]."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        sizes.append(output.numel())

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return sum(sizes)
