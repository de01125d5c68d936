"""Gradients and updates of clients whose images are at hand: the protocol, then the defence, client by client."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from invgrad.clients.protocols import sharing
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.data.images import normalise
from invgrad.data.registry import PerChannel
from invgrad.defences.settings import Defence, Noise
from invgrad.defences.updates import defended, epsilon_of

DELTA = 1e-5
"""The δ for which the ε of a client's noise is told."""


def promise(defence: Defence | None) -> str:
    """Say what a defence guarantees; empty if it guarantees nothing."""
    if not isinstance(defence, Noise):
        return ""
    epsilon = epsilon_of(DELTA, defence.multiplier)
    return f"sent once, this update is ({epsilon:.3g}, {DELTA:g})-differentially private as a whole"


def shared_by(
    client: Client,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    mean: PerChannel,
    std: PerChannel,
    labels_known: bool,
    seeds: Iterable[Sequence[object]],
    names: Sequence[str] = (),
) -> Shared:
    """Compute what every client shares, from images, uint8 [clients, n, channels, h, w], and labels [clients, n].

    The network's device computes. `seeds`: what the noise of each client's defence is derived from. Raises as
    `sharing` and the function that it returns do.
    """
    compute, device = sharing(client, network), next(network.parameters()).device
    tensors, statistics = [], []
    for own, classes, seed in zip(images, labels, seeds, strict=True):
        pixels = normalise(own, mean, std, torch.float32, device)
        update, sent = compute(pixels, classes.to(device))
        tensors.append(defended(client.defence, update, *seed))
        statistics.append(sent)
    channels, height, width = images.shape[2:]
    return Shared(
        tensors=tuple(torch.stack(each) for each in zip(*tensors, strict=True)),
        images=images.shape[1],
        shape=(channels, height, width),
        mean=tuple(mean),
        std=tuple(std),
        labels=labels.to(device) if labels_known else None,
        statistics=tuple(torch.stack(each) for each in zip(*statistics, strict=True)),
        names=tuple(names),
    )


def swapped(labels: Tensor, classes: int) -> Tensor:
    """Labels that images seem to have once the rows of classes 2k and 2k+1 of the classification layer are swapped.

    The last of an odd number of classes keeps its label.

    With the rows swapped, the logits of the two classes change places. The gradient is then, up to the same swap of its
    own rows, that of the network as it was for the image with the other label, which is what a client shares here.
    """
    other = labels ^ 1
    return torch.where(other < classes, other, labels)
