"""Step `activations`: distances between the activations of reconstructions and originals, layer by layer."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from invgrad.data.images import standardise
from invgrad.metrics.activations import ActivationError, activation_errors
from invgrad.metrics.image_pairs import read_image_pairs
from invgrad.networks.checkpoint import load_victim
from invgrad.networks.settings import Custom, source_files
from invgrad.results.files import write_csv
from invgrad.results.origin import Origin, numbered, refuse_another_victim, refuse_other_clients
from invgrad.results.provenance import Record


def activations(
    cell: str,
    shards: Sequence[tuple[int, Path, Path, Path]],
    out: Path,
    device: torch.device,
    custom: Custom | None = None,
) -> None:
    """Write one row per image and layer of a cell; `shards`: (network seed, victim, reconstructions, truth)."""
    seeds, victims, reconstructions, truths = zip(*shards, strict=True)
    inputs = numbered("victim", victims) | numbered("reconstruction", reconstructions) | numbered("truth", truths)
    origin = Origin.of("activations", {"cell": cell, "seeds": list(seeds)}, inputs, source_files(custom))
    record = Record(origin, device)
    for number, (_, _, reconstruction, truth) in enumerate(shards):
        refuse_another_victim(reconstruction, origin, f"victim {number}")
        refuse_other_clients(reconstruction, truth)
    tables = [
        errors(victim, reconstruction, truth, device, custom).assign(cell=cell, seed=seed)
        for seed, victim, reconstruction, truth in shards
    ]
    write_csv(out, pd.concat(tables, ignore_index=True))
    record.write(out)


def errors(
    victim: Path, reconstruction: Path, truth: Path, device: torch.device, custom: Custom | None = None
) -> pd.DataFrame:
    """The activation errors of a shard's images, which pass the network one by one; no rows of failed trials."""
    network, about = load_victim(victim, device, custom=custom)
    shown = read_image_pairs([str(reconstruction)], [str(truth)])
    rows = []
    for number, index in enumerate(shown.index):
        if not math.isnan(shown.psnr[number]):
            pair = (
                standardise(images[number : number + 1].to(device), about.mean, about.std)
                for images in (shown.originals, shown.reconstructions)
            )
            rows += [{"image": index, **error._asdict()} for error in activation_errors(network, *pair)]
    return pd.DataFrame(rows, columns=["image", *ActivationError._fields])
