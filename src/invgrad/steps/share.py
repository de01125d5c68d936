"""Step `share`: the gradient or update of each client, and, in a file of its own, the client's images.

The attack reads the first file; only the metrics read the second, the truth.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from invgrad.clients.assignment import clients
from invgrad.clients.loss import trainable
from invgrad.clients.protocols import sharing
from invgrad.clients.settings import ShareStep
from invgrad.data.images import jpeg_copies, normalise
from invgrad.data.splits import read_split
from invgrad.defences.updates import defended
from invgrad.networks.checkpoint import load_victim
from invgrad.networks.settings import source_files
from invgrad.results.files import write_tensors
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record
from invgrad.runtime.devices import arithmetic
from invgrad.seeds import derive
from invgrad.settings import SettingsError


def share_shard(step: ShareStep, victim: Path, data: Path, out: Path, truth: Path, device: torch.device) -> None:
    """Write what the clients share to `out`, and their images and labels to `truth`, each with a record."""
    inputs = {"victim": victim, "data": data}
    origin = Origin.of("share", step.model_dump(mode="json"), inputs, source_files(step.custom))
    record = Record(origin, device)
    if step.first >= step.last:
        raise SettingsError(f"--settings: first {step.first} must be less than last {step.last}")
    try:
        step.shares.check(step.images_per_client)
    except ValueError as error:
        raise SettingsError(f"--settings: shares: {error}") from None
    network, about = load_victim(victim, device, custom=step.custom)
    split = read_split(data)
    if split.dataset != about.dataset:
        raise SettingsError(f"{data}: holds {split.dataset}, but the victim {victim} is for {about.dataset}")
    walk = step.model_dump(include={"start", "every", "indices", "images_per_client", "distinct_labels"})
    held = clients(split, count=step.last, **walk)[step.first :]
    taken = torch.tensor(held)
    own, labels = _held_images(split.images[taken], step.jpeg_quality), split.labels[taken]
    seen = swapped(labels, split.classes) if step.swapped_rows else labels
    try:
        compute = sharing(step.shares, network)
    except SettingsError as error:
        raise SettingsError(f"--settings: shares: {error}") from None
    index = split.index[taken]
    # A client's name comes from its first image, so that its noise does not depend on how clients are sharded.
    names = [str(derive(split.dataset, split.split, first)) for first in index[:, 0].tolist()]
    shares, statistics = [], []
    with arithmetic("float32", False, device):
        for name, each, classes in zip(names, own, seen, strict=True):
            images = normalise(each, split.mean, split.std, torch.float32, device)
            shared, sent = compute(images, classes.to(device))
            shares.append(defended(step.shares.defence, shared, name))
            statistics.append(sent)
    stacked = (torch.stack(each) for each in zip(*shares, strict=True))
    tensors = {f"shared.{name}": each for name, each in zip(trainable(network), stacked, strict=True)}
    for number, each in enumerate(zip(*statistics, strict=True)):
        tensors[f"statistics.{number:04d}"] = torch.stack(each)
    public = {
        "shares": step.shares.model_dump(mode="json"),
        "images": step.images_per_client,
        "shape": list(split.images.shape[1:]),
        "mean": split.mean,
        "std": split.std,
        "names": names,
    }
    known = {"labels": seen} if step.labels_known else {}
    write_tensors(out, known | tensors, public)
    secret = {"dataset": split.dataset, "split": split.split, "source": split.source}
    lossy = split.lossy[taken] | (step.jpeg_quality is not None)
    true = {"images": own, "lossy": lossy, "labels": labels, "index": index}
    write_tensors(truth, true | {"shared_norm": norms(tensors)}, secret)
    record.write(out)
    record.write(truth)


def _held_images(images: Tensor, jpeg_quality: int | None) -> Tensor:
    """Images that clients hold, uint8 [clients, images, 3, height, width]: these, or JPEG copies of them."""
    return images if jpeg_quality is None else torch.stack([jpeg_copies(each, jpeg_quality) for each in images])


def swapped(labels: Tensor, classes: int) -> Tensor:
    """Labels that images seem to have once the rows of classes 2k and 2k+1 of the classification layer are swapped.

    The last of an odd number of classes keeps its label.

    With the rows swapped, the logits of the two classes change places. The gradient is then, up to the same swap of its
    own rows, that of the network as it was for the image with the other label, which is what a client shares here.
    """
    other = labels ^ 1
    return torch.where(other < classes, other, labels)


def norms(shared: Mapping[str, Tensor]) -> Tensor:
    """Euclidean norm of all that each client shares, [clients]; from tensors [clients, …].

    The metrics use it; the server could compute it, too.
    """
    tensors = [tensor.double().flatten(1) for name, tensor in shared.items() if name.startswith("shared.")]
    return torch.stack([tensor.square().sum(1) for tensor in tensors]).sum(0).sqrt()
