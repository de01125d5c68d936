"""Labels read off a shared gradient."""

from torch import Tensor, nn

from invgrad.attack.settings import Attack
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.settings import SettingsError


def infer_labels(last_weight: Tensor, images: int) -> Tensor:
    """Infer the labels of a client's images from the gradient [..., classes, features] of the last weight matrix.

    Returns the rows with the smallest sums, [..., images], ascending; labels are assumed to be distinct. For one image
    this is iDLG (Zhao et al. 2020; released code: `reconstruct`), exact for cross-entropy if the last layer's inputs
    are non-negative, as after a ReLU or a sigmoid. With several images, every row sums (p − 1)·Σfeatures of the image
    of that class and p·Σfeatures of the others: a negative one is certain evidence of its class, but a confident
    network hides an image that it classifies well. The order of the images within a batch leaves no trace in a
    gradient.
    """
    smallest: Tensor = last_weight.sum(-1).topk(images, largest=False).indices
    return smallest.sort(-1).values


def known_labels(network: nn.Module, client: Client, shared: Shared, attack: Attack, classes: int) -> Tensor | None:
    """Return the labels [clients, n] that the server knows or infers; None if the attack is to optimise them."""
    if shared.labels is not None:
        if not (int(shared.labels.min()) >= 0 and int(shared.labels.max()) < classes):
            raise SettingsError(f"labels: must lie in 0..{classes - 1}, got {shared.labels.unique().tolist()}")
        return shared.labels
    if attack.unknown_labels == "optimised":
        return None
    if client.kind != "gradient":
        raise SettingsError("unknown_labels: labels can be inferred from a gradient only (nearest: optimised)")
    if shared.images > classes:
        raise SettingsError(f"unknown_labels: {shared.images} images cannot have distinct labels (nearest: optimised)")
    matrices = [index for index, parameter in enumerate(network.parameters()) if parameter.dim() == 2]
    if not matrices or shared.tensors[matrices[-1]].shape[1] != classes:
        raise SettingsError("unknown_labels: the network has no last linear layer to infer from (nearest: optimised)")
    inferred: Tensor = infer_labels(shared.tensors[matrices[-1]], shared.images)
    return inferred
