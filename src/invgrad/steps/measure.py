"""Metrics: the only step where reconstructions meet the truth; one row per image."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invgrad.data import Channels
from invgrad.metrics import align, mean_squared_error, ssim
from invgrad.results import Record, read_record, read_tensors, write_csv


def measure(cell: str, shards: Sequence[tuple[int, Path, Path]], out: Path) -> None:
    """Write the per-image rows of a cell, whose shards are (network seed, reconstructions, truth)."""
    record = Record({"cell": cell})
    tables = [rows(cell, seed, reconstruction, truth) for seed, reconstruction, truth in shards]
    write_csv(out, pd.concat(tables, ignore_index=True))
    record.write(out)


def rows(cell: str, seed: int, reconstruction: Path, truth: Path) -> pd.DataFrame:
    """One row per image of a shard."""
    attacked, about = read_tensors(reconstruction)
    true, source = read_tensors(truth)
    clients, images = true["index"].shape
    which = pd.DataFrame(
        {
            "cell": cell,
            "seed": seed,
            "dataset": source["dataset"],
            "split": source["split"],
            "source": source["source"],
            "lossy": source["lossy"],
            "client": true["index"][:, 0].repeat_interleave(images).tolist(),
            "image": true["index"].flatten().tolist(),
            "shared_norm": true["shared_norm"].repeat_interleave(images).tolist(),
        }
    )
    measures, _ = compare(attacked, true["images"], true["labels"], about["mean"], about["std"])
    record = read_record(reconstruction)
    how = {"precision": about["precision"], "device": record["device"]}
    how["seconds_per_client"] = record["seconds"] / clients
    return pd.concat([which, measures], axis=1).assign(**how)


def compare(
    attacked: Mapping[str, Tensor], images: Tensor, labels: Tensor, mean: Channels, std: Channels
) -> tuple[pd.DataFrame, Tensor]:
    """The measures of every image of every client, in the order of the originals `images` (uint8 [clients, n, 3, h, w])
    with their `labels` [clients, n]; and the positions [clients, n] of the reconstructions that belong to them.

    `attacked` holds the tensors of a `Reconstruction`. A client whose every restart failed has the status `failed` and
    no measures.
    """
    aligned = align(attacked, images, labels, mean, std)
    candidates, originals = (each.flatten(0, 1) for each in (aligned.reconstructions, aligned.originals))
    selected = attacked["selected"]
    chosen, taken = (
        attacked[each].gather(1, selected.clamp(min=0)[:, None])[:, 0] for each in ("matching_cost", "iterations")
    )
    cost = torch.where(selected >= 0, chosen, math.nan)  # averaged restarts have no matching cost of their own
    iterations = torch.where(selected >= 0, taken, attacked["iterations"].amax(1))

    def by_image(values: Tensor) -> list[float]:
        return values.repeat_interleave(images.shape[1]).tolist()

    table = pd.DataFrame(
        {
            "label": labels.flatten().tolist(),
            "attacked_label": attacked["labels"].take_along_dim(aligned.positions, 1).flatten().tolist(),
            "matched_by": ["assignment" if each else "position" for each in by_image(aligned.assigned)],
            "psnr": aligned.psnr.flatten().tolist(),
            "mse": mean_squared_error(candidates, originals).tolist(),
            "ssim": ssim(candidates, originals),
            "matching_cost": by_image(cost),
            "restarts": attacked["matching_cost"].shape[1],
            "selected_restart": by_image(selected),
            "iterations": by_image(iterations),
            "status": ["failed" if each else "ok" for each in aligned.failed.flatten().tolist()],
        }
    )
    table.loc[table["status"] == "failed", ["psnr", "mse", "ssim", "matching_cost"]] = math.nan
    return table, aligned.positions
