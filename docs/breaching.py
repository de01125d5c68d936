"""Adapter of breaching (https://github.com/JonasGeiping/breaching) for `invgrad bench --other docs/breaching.py`.

breaching is the framework in which the paper's authors went on; `pip install breaching==0.1.2` brings it. What is
timed is its objective and its gradient, trial by trial, as its attack does; neither its optimiser nor its logging.
"""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from breaching.attacks.auxiliaries.objectives import CosineSimilarity
from breaching.attacks.auxiliaries.regularizers import TotalVariation
from torch import Tensor, nn


def prepare(
    network: nn.Module, images: Tensor, labels: Tensor, target: tuple[Tensor, ...], alpha: float
) -> Callable[[], list[Tensor]]:
    """Return a function that computes the gradients of all trials once (see `invgrad.performance.bench.Adapter`)."""
    objective = CosineSimilarity()
    objective.initialize(nn.CrossEntropyLoss(), SimpleNamespace(mixed_precision=False))
    # breaching takes one mean of both directions' differences, the released code the sum of two means.
    prior = TotalVariation({"dtype": images.dtype, "device": images.device}, scale=2 * alpha)

    def of(trial: int) -> Tensor:
        candidate = images[trial].detach().requires_grad_()
        shared = [each[trial] for each in target]
        total = objective(network, shared, candidate, labels[trial])[0] + prior(candidate)
        (gradient,) = torch.autograd.grad(total, candidate)
        return gradient

    return lambda: [of(trial) for trial in range(len(images))]
