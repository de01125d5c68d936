"""Protocols of a client: it shares its gradient, or a federated-averaging update.

The attacker simulates the same function on its candidate images, so it is written once, here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt

import torch
from torch import Tensor, nn

from invgrad.clients import by_graph
from invgrad.clients.differentiation import differentiable_twice, refusing_what_has_no_derivative
from invgrad.clients.loss import (
    Gradient,
    Loss,
    Parameters,
    Statistics,
    batch_statistics,
    cross_entropy,
    normalised_by_batch,
    trainable,
)
from invgrad.clients.recomputation import Grad, Recomputed
from invgrad.clients.settings import STEPS_AT_ONCE, Client, FederatedAveraging


def loss_of(client: Client, network: nn.Module) -> Loss:
    """Return the loss whose gradients this client computes; raises as `normalised_by_batch` does."""
    return cross_entropy(network if client.batch_norm == "evaluation" else normalised_by_batch(network))


def sent_statistics(client: Client, network: nn.Module) -> Statistics:
    """Return the function that computes the batch-norm statistics that this client sends; none if it withholds them."""
    if client.statistics == "withheld":
        return lambda parameters, images: ()
    return batch_statistics(normalised_by_batch(network))


def sharing(client: Client, network: nn.Module) -> Callable[[Tensor, Tensor], tuple[Gradient, Gradient]]:
    """Return the function by which this client computes, from images and labels, what it shares: one tensor for each of
    `trainable(network)`, before any defence, and the batch statistics that it sends.

    It raises `SettingsError` for a network without derivative, and this function as `loss_of` does.
    """
    loss, sent, parameters = loss_of(client, network), sent_statistics(client, network), trainable(network)

    @torch.no_grad()
    def shares(images: Tensor, labels: Tensor) -> tuple[Gradient, Gradient]:
        with differentiable_twice(network), refusing_what_has_no_derivative():
            return share(client, loss, parameters, images, labels, by_graph.grad), sent(parameters, images)

    return shares


def share(
    client: Client,
    loss: Loss,
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    grad: Grad = torch.func.grad,
) -> tuple[Tensor, ...]:
    """Compute the tensors that a client shares, one per parameter, for images [n, 3, h, w] and labels as for `Loss`.

    They are differentiable with respect to the images and class probabilities, but after more than `STEPS_AT_ONCE`
    local steps once only; `grad` is the function by which the gradients are computed.
    """
    if client.kind == "gradient":
        return tuple(grad(loss)(parameters, images, labels).values())
    before = tuple(parameters.values())
    after = _after_local_steps(
        grad, client, loss, tuple(parameters), client.batches(len(images)), images, labels, *before
    )
    return shared_of(client, after, before)


def shared_of(client: FederatedAveraging, after: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Compute the shared update from the parameters after the local steps and before."""
    if client.shared == "parameters":
        return tuple(after)
    return tuple(torch.sub(*each) for each in zip(after, before, strict=True))


def _after_local_steps(
    grad: Grad,
    client: FederatedAveraging,
    loss: Loss,
    names: tuple[str, ...],
    batches: Sequence[slice],
    images: Tensor,
    labels: Tensor,
    *values: Tensor,
) -> tuple[Tensor, ...]:
    """Take a local SGD step on each batch, starting from `values`; returns the parameters."""
    if len(batches) > STEPS_AT_ONCE:
        length = isqrt(len(batches))
        for first in range(0, len(batches), length):
            part = partial(_after_local_steps, grad, client, loss, names, batches[first : first + length])
            values = Recomputed.apply(grad, part, images, labels, *values)
        return values
    local = dict(zip(names, values, strict=True))
    for batch in batches:
        gradient = grad(loss)(local, images[batch], labels[batch])
        local = {name: value - client.learning_rate * gradient[name] for name, value in local.items()}
    return tuple(local.values())
