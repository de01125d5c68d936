"""Reference of the objective's gradient: one trial by autograd's double backward, as the released code computes it.

The faster ways are tested and timed against it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invgrad.clients.differentiation import differentiable_twice
from invgrad.clients.loss import called
from invgrad.clients.protocols import shared_of
from invgrad.clients.settings import Client, GradientClient
from invgrad.objective.distances import distance_of
from invgrad.objective.priors import total_variation
from invgrad.objective.settings import Distance

GRADIENT = GradientClient()


def objective_gradient(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    target: Sequence[Tensor],
    distance: Distance,
    total_variation_weight: float,
    client: Client = GRADIENT,
) -> tuple[Tensor, Tensor]:
    """Return the objective of one trial with images [n, 3, h, w] and labels [n], and its gradient with respect to the
    images. `client` normalises by running statistics.
    """
    candidate = images.detach().requires_grad_()
    with differentiable_twice(network):
        shared = _shared(network, candidate, labels, client)
    ones = images.new_ones(1, len(target))
    matching = distance_of(distance)([each[None] for each in shared], [each[None] for each in target], ones, ones)[0]
    objective = matching + total_variation_weight * total_variation(candidate)
    # As the released code does, this differentiates with respect to the parameters too, and throws that away.
    objective.backward()
    assert candidate.grad is not None
    network.zero_grad()
    return objective.detach(), candidate.grad


def _shared(network: nn.Module, images: Tensor, labels: Tensor, client: Client) -> tuple[Tensor, ...]:
    before: dict[str, Tensor] = {name: each for name, each in network.named_parameters() if each.requires_grad}
    if client.kind == "gradient":
        loss = F.cross_entropy(network(images), labels)
        return torch.autograd.grad(loss, list(before.values()), create_graph=True)
    local = before
    for batch in client.batches(len(images)):
        loss = F.cross_entropy(called(network, local, images[batch]), labels[batch])
        gradient = torch.autograd.grad(loss, list(local.values()), create_graph=True)
        pairs = zip(local.items(), gradient, strict=True)
        local = {name: value - client.learning_rate * each for (name, value), each in pairs}
    return shared_of(client, list(local.values()), list(before.values()))
