"""Step `share`: the gradient or update of each client, and, in a file of its own, the client's images.

The attack reads the first file; only the metrics read the second, the truth.
"""

from pathlib import Path

import torch
from torch import Tensor

from invgrad.clients.assignment import clients
from invgrad.clients.settings import ShareStep
from invgrad.clients.shared import write_shared
from invgrad.clients.sharing import shared_by, swapped
from invgrad.data.images import jpeg_copies
from invgrad.data.splits import read_split
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
    index = split.index[taken]
    # A client's name comes from its first image, so that its noise does not depend on how clients are sharded.
    names = [str(derive(split.dataset, split.split, first)) for first in index[:, 0].tolist()]
    try:
        with arithmetic("float32", False, device):
            shared = shared_by(
                step.shares,
                network,
                own,
                seen,
                mean=split.mean,
                std=split.std,
                labels_known=step.labels_known,
                seeds=[(name,) for name in names],
                names=names,
            )
    except SettingsError as error:
        raise SettingsError(f"--settings: shares: {error}") from None
    write_shared(out, network, step.shares, shared)
    secret = {"dataset": split.dataset, "split": split.split, "source": split.source}
    lossy = split.lossy[taken] | (step.jpeg_quality is not None)
    true = {"images": own, "lossy": lossy, "labels": labels, "index": index}
    write_tensors(truth, true | {"shared_norm": shared.norms()}, secret)
    record.write(out)
    record.write(truth)


def _held_images(images: Tensor, jpeg_quality: int | None) -> Tensor:
    """Images that clients hold, uint8 [clients, images, 3, height, width]: these, or JPEG copies of them."""
    return images if jpeg_quality is None else torch.stack([jpeg_copies(each, jpeg_quality) for each in images])
