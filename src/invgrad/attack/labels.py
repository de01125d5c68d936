"""Labels read off a shared gradient.

With logits z = W·a + b, the cross-entropy's gradient for the logits of an image is p − y: its predicted probabilities,
minus 1 at its class. The gradient of b is its mean over the images, that of a row of W the mean of (p − y)·a.
"""

import torch
from torch import Tensor, nn

from invgrad.attack.settings import Attack
from invgrad.clients.loss import trainable
from invgrad.clients.protocols import sharing
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.settings import SettingsError

CLOSE = 1e-3
"""Relative difference of two directions that count as the same, rounded."""


def known_labels(network: nn.Module, client: Client, shared: Shared, attack: Attack, classes: int) -> Tensor | None:
    """Return the labels [clients, n] that the server knows or infers; None if the attack is to optimise them."""
    if classes < 2:
        raise SettingsError(
            f"network: {classes} output, which makes every cross-entropy 0; give one of 2 classes or more"
        )
    if shared.labels is not None:
        low, high = int(shared.labels.min()), int(shared.labels.max())
        if low < 0 or high >= classes:
            wrong, near = (low, 0) if low < 0 else (high, classes - 1)
            raise SettingsError(f"labels: must lie in 0..{classes - 1}, got {wrong} (nearest: {near})")
        return shared.labels
    if attack.unknown_labels == "optimised":
        return None
    if client.kind != "gradient":
        raise SettingsError("unknown_labels: labels can be inferred from a gradient only (nearest: optimised)")
    return infer_labels(_logit_gradient(network, client, shared, classes), shared.images)


def infer_labels(logit_gradient: Tensor, images: int) -> Tensor:
    """Infer the labels of a client's images from the mean of p − y over them, [..., classes].

    Every image takes 1/n from the entry of its class. So n times the class of the smallest entry is chosen, and 1/n is
    given back to it: the greedy choice of LLG (Wainakh et al. 2021), whose estimate of what an image takes is exact
    here. For one image this finds the one negative entry, that of its class. For a batch it finds how often each class
    is there: exactly if the total probabilities of the classes, summed over the images, differ by less than 1 from each
    other; else it is an estimate, since a network that is sure of an image's class takes little from its entry.

    Returns [..., images], ascending: the order of the images within a batch leaves no trace in a gradient.
    """
    left = images * logit_gradient
    found = []
    for _ in range(images):
        smallest = left.argmin(-1, keepdim=True)
        left = left.scatter_add(-1, smallest, torch.ones_like(left))
        found.append(smallest)
    return torch.cat(found, -1).sort(-1).values


@torch.no_grad()
def _logit_gradient(network: nn.Module, client: Client, shared: Shared, classes: int) -> Tensor:
    """Return the mean of p − y over the images of each client, [clients, classes].

    It is the gradient of a last bias, where there is one. Else it is estimated from the weight of a last layer, if its
    inputs are not negative: the sums of the rows, which have the signs of the entries, divided by the sum of the inputs
    for images of noise. For one image the label is then exact, too (iDLG, Zhao et al. 2020).
    """
    given = dict(zip(trainable(network), shared.tensors, strict=True))
    change, moved = _moved(network, client, (shared.images, *shared.shape), classes)
    last_first = [name for name in reversed(moved) if given[name].any() and moved[name].shape[:1] == (classes,)]
    for name in sorted(last_first, key=lambda name: moved[name].dim()):  # biases before weights
        inputs = _inputs(moved[name].reshape(classes, -1), change)
        if inputs is not None and (moved[name].dim() == 1 or (inputs >= -CLOSE * inputs.max()).all()):
            return given[name].double().reshape(len(shared), classes, -1).sum(-1) / inputs.sum().item()
    raise SettingsError(
        "labels: cannot be inferred, since nothing is shared for a last layer that has a bias, or inputs that are not "
        "negative; give labels, or optimise them (nearest: unknown_labels='optimised')"
    )


def _moved(
    network: nn.Module, client: Client, shape: tuple[int, ...], classes: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a change of the logits' gradient p − y, [classes], and how it moves the gradient of every parameter.

    The images, of this shape, are noise; what changes is y, which may be any probabilities.
    """
    generator = torch.Generator().manual_seed(0)
    parameters = trainable(network)
    like = next(iter(parameters.values()))
    images = torch.randn(shape, generator=generator, device="cpu").to(like)
    before, after = torch.randn(2, classes, generator=generator, device="cpu").softmax(-1).to(like)
    compute = sharing(client, network)
    first, second = (compute(images, each.expand(len(images), -1))[0] for each in (before, after))
    moved = {name: b - a for name, a, b in zip(parameters, first, second, strict=True)}
    return before - after, moved


def _inputs(moved: Tensor, change: Tensor) -> Tensor | None:
    """Return the mean inputs [inputs] of a last layer, whose weight's gradient [classes, inputs] moves by the outer
    product of the logits' `change` and these (a bias has the input 1); None if it is no last layer.
    """
    inputs = change @ moved / change.square().sum()
    apart = (moved - torch.outer(change, inputs)).norm()
    return inputs if apart < CLOSE * moved.norm() and inputs.sum() > 0 else None
