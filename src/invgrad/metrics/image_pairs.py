"""Pairs of original and reconstructed images, and trajectories of the attacks, read from result files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple, Self

import pandas as pd
import torch
from torch import Tensor

from invgrad.data.images import denormalise
from invgrad.data.registry import PerChannel, title
from invgrad.metrics.image_quality import Aligned, align, mean_squared_error, psnr, ssim
from invgrad.results.files import read_tensors
from invgrad.settings import SettingsError


@dataclass(frozen=True)
class ImagePairs:
    """Originals and reconstructions, in [0, 1], of one cell and one network seed, client by client."""

    dataset: str
    """Name of the data set for readers."""
    source: str
    client: list[int]
    """Number of the client that holds each image, from 0, over all shards."""
    index: list[int]
    label: list[int]
    attacked_label: list[int]
    """Label of the reconstruction that the attack used or found; −1 if it did neither."""
    originals: Tensor
    """Original images, float32 [n, 3, h, w]."""
    reconstructions: Tensor
    """Reconstructions, float32 [n, 3, h, w], clamped to [0, 1]; not a number where the trial failed."""
    psnr: list[float]
    """PSNR in dB; not a number where the trial failed."""
    flat_psnr: list[float]
    """PSNR in dB of an image of the data set's mean colour alone."""

    @property
    def ranking(self) -> list[int]:
        """Rank the images from the highest PSNR to the lowest, failed ones last; returns their positions."""
        return sorted(range(len(self.psnr)), key=lambda position: (isnan(self.psnr[position]), -self.psnr[position]))

    def pick(self, positions: Sequence[int]) -> Self:
        """Select the images at these positions, in this order."""
        chosen = list(positions)
        return replace(
            self,
            client=[self.client[position] for position in chosen],
            index=[self.index[position] for position in chosen],
            label=[self.label[position] for position in chosen],
            attacked_label=[self.attacked_label[position] for position in chosen],
            originals=self.originals[chosen],
            reconstructions=self.reconstructions[chosen],
            psnr=[self.psnr[position] for position in chosen],
            flat_psnr=[self.flat_psnr[position] for position in chosen],
        )


def read_image_pairs(reconstructions: Sequence[str], truths: Sequence[str], count: int | None = None) -> ImagePairs:
    """Read the first `count` images (all, if None or if there are fewer) of the shards in these files, in order."""
    shards: list[ImagePairs] = []
    for reconstruction, truth in zip(reconstructions, truths, strict=True):
        if count is None or sum(len(each.index) for each in shards) < count:
            first = shards[-1].client[-1] + 1 if shards else 0
            shards.append(_image_pairs(_read(reconstruction, truth), first))
    return ImagePairs(
        dataset=shards[0].dataset,
        source=shards[0].source,
        client=[client for each in shards for client in each.client][:count],
        index=[index for each in shards for index in each.index][:count],
        label=[label for each in shards for label in each.label][:count],
        attacked_label=[label for each in shards for label in each.attacked_label][:count],
        originals=torch.cat([each.originals for each in shards])[:count],
        reconstructions=torch.cat([each.reconstructions for each in shards])[:count],
        psnr=[value for each in shards for value in each.psnr][:count],
        flat_psnr=[value for each in shards for value in each.flat_psnr][:count],
    )


def read_trajectories(reconstructions: Sequence[str], truths: Sequence[str]) -> pd.DataFrame:
    """Read the trajectory of every restart from the shards in these files: a row per client, image, restart and point.

    Columns: `client` (the index of its first image), `image` (its index), `restart`, `iteration` (number of finished
    iterations), `matching_cost` (gradient-matching loss) and `psnr` (dB). The selected reconstructions decide, for all
    restarts and points, to which image each of a client's candidates belongs. Raises `SettingsError` if the attack kept
    no snapshots.
    """
    shards = [_read(*each) for each in zip(reconstructions, truths, strict=True)]
    tables = [_trajectory(shard, client) for shard in shards for client in range(shard.clients)]
    return pd.concat(tables, ignore_index=True)


class _Shard(NamedTuple):
    """A file of reconstructions, and the file of their originals."""

    path: str
    attacked: dict[str, Tensor]
    about: dict[str, Any]
    true: dict[str, Tensor]
    source: dict[str, Any]
    aligned: Aligned

    @property
    def clients(self) -> int:
        return len(self.true["index"])


def _read(reconstruction: str, truth: str) -> _Shard:
    attacked, about = read_tensors(Path(reconstruction))
    true, source = read_tensors(Path(truth))
    aligned = align(attacked, true["images"], true["labels"], about["mean"], about["std"])
    return _Shard(reconstruction, attacked, about, true, source, aligned)


def _image_pairs(shard: _Shard, first_client: int) -> ImagePairs:
    aligned, index = shard.aligned, shard.true["index"]
    clients = torch.arange(shard.clients) + first_client
    return ImagePairs(
        dataset=title(shard.source["dataset"]),
        source=shard.source["source"],
        client=clients.repeat_interleave(index.shape[1]).tolist(),
        index=index.flatten().tolist(),
        label=shard.true["labels"].flatten().tolist(),
        attacked_label=shard.attacked["labels"].take_along_dim(aligned.positions, 1).flatten().tolist(),
        originals=aligned.originals.flatten(0, 1).float(),
        reconstructions=aligned.reconstructions.flatten(0, 1).float().clamp(0, 1),
        psnr=aligned.psnr.flatten().tolist(),
        flat_psnr=aligned.flat_psnr.flatten().tolist(),
    )


def _trajectory(shard: _Shard, client: int) -> pd.DataFrame:
    """Build the rows of one client."""
    if "trajectory" not in shard.attacked:
        raise SettingsError(f"{shard.path}: holds no trajectories; set `snapshots` of the attack")
    candidates = denormalise(shard.attacked["trajectory"][client].float(), shard.about["mean"], shard.about["std"])
    candidates = candidates[:, :, shard.aligned.positions[client]].movedim(2, 0)  # [n, restarts, points, 3, h, w]
    originals = shard.aligned.originals[client].to(candidates.dtype)[:, None, None].expand_as(candidates)
    index: list[int] = shard.true["index"][client].tolist()
    iterations: list[int] = shard.attacked["trajectory_iteration"].tolist()
    return pd.DataFrame(
        product(index[:1], index, range(candidates.shape[1]), iterations),
        columns=["client", "image", "restart", "iteration"],
    ).assign(
        matching_cost=shard.attacked["trajectory_cost"][client].expand(candidates.shape[:3]).flatten().tolist(),
        psnr=psnr(candidates.flatten(0, 2), originals.flatten(0, 2)).tolist(),
    )


def compare(
    attacked: Mapping[str, Tensor], images: Tensor, labels: Tensor, mean: PerChannel, std: PerChannel
) -> tuple[pd.DataFrame, Tensor]:
    """Measure the reconstruction of every image of every client.

    Returns a row for each of the originals `images` (uint8 [clients, n, 3, h, w]) with their `labels` [clients, n], and
    the positions [clients, n] of the reconstructions that belong to them.

    `attacked` holds the tensors of a `Reconstruction`. A client whose every restart failed has the status `failed` and
    no measures.
    """
    aligned = align(attacked, images, labels, mean, std)
    candidates, originals = (each.flatten(0, 1) for each in (aligned.reconstructions, aligned.originals))
    selected = attacked["selected"]
    chosen, taken = (
        attacked[each].gather(1, selected.clamp(min=0)[:, None])[:, 0] for each in ("matching_cost", "iterations")
    )
    cost = torch.where(selected >= 0, chosen, math.nan)  # averaged restarts have no loss of their own
    iterations = torch.where(selected >= 0, taken, attacked["iterations"].amax(1))

    def by_image(values: Tensor) -> list[float]:
        return values.repeat_interleave(images.shape[1]).tolist()

    table = pd.DataFrame(
        {
            "label": labels.flatten().tolist(),
            "attacked_label": attacked["labels"].take_along_dim(aligned.positions, 1).flatten().tolist(),
            "matched_by": ["assignment" if each else "position" for each in by_image(aligned.assigned)],
            "psnr": aligned.psnr.flatten().tolist(),
            "flat_psnr": aligned.flat_psnr.flatten().tolist(),
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
