"""Small examples that tests of several packages share."""

import torch
from torch import nn

from invgrad.clients.loss import cross_entropy
from invgrad.clients.protocols import share
from invgrad.clients.settings import GradientClient, ShareStep
from invgrad.clients.shared import Shared

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def shared_by(network: nn.Module, clients: int) -> Shared:
    """The gradients of this many clients, each with one random image of 32×32 pixels."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(clients, 1, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.randint(10, (clients, 1), generator=generator)
    loss, parameters = cross_entropy(network), dict(network.named_parameters())
    each = [share(GradientClient(), loss, parameters, x, y) for x, y in zip(images, labels, strict=True)]
    tensors = tuple(torch.stack(of_parameter).detach() for of_parameter in zip(*each, strict=True))
    names = tuple(f"image-{client}" for client in range(clients))
    return Shared(tensors=tensors, images=1, shape=(3, 32, 32), mean=MEAN, std=STD, labels=labels, names=names)


def share_step(**changes: object) -> ShareStep:
    """The settings of a step in which two clients share the gradient of one image each."""
    settings = {"shares": GradientClient(), "start": 0, "images_per_client": 1, "distinct_labels": True}
    return ShareStep.model_validate({**settings, "labels_known": True, "first": 0, "last": 2, **changes})
