"""Seeded samples of a set of images: some to attack, and others of the same set to compare them with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from invgrad.data.availability import find_source, split_name, what_to_put_where
from invgrad.data.folders import LOSSLESS
from invgrad.data.images import fit_image
from invgrad.data.registry import LOSSY, describe, title
from invgrad.data.sources import SOURCES, load
from invgrad.seeds import generator
from invgrad.settings import SettingsError

MOST_OTHERS = 1000
LEAST_IMAGES = 20
"""Images that a set needs, for a reconstruction to be nearest to its original by chance in one of 20 cases at most."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Images drawn from a set."""

    source: str
    """The set, in words."""
    size: int
    """Number of images in the set."""
    names: Sequence[str]
    """A name for each image drawn, [n]."""
    images: Tensor
    """Images drawn, uint8 [n, channels, h, w]."""
    labels: Tensor | None
    """Labels of these, int64 [n]; None if the set says none."""
    others: Tensor
    """Images of the set, at most `MOST_OTHERS` besides one of those drawn, uint8 [m, channels, h, w]."""


def sample_split(dataset: str, split: str, root: Path | None, count: int, seed: int) -> Sample:
    """Draw images of a split of a data set: of a folder below `root` or torchvision's, or without it of a package.

    `SettingsError` if the images are not there, or too few.
    """
    wanted = ("folder", "torchvision") if root else ("packaged",)
    source = find_source(dataset, [split], wanted, root or Path())
    if source is None:
        raise SettingsError(f"--root: {what_to_put_where(dataset, [split], wanted, root or Path())}")
    positions = SOURCES[source](dataset, describe(dataset), split_name(split), root).index
    chosen = [positions[row] for row in _drawn(len(positions), count, seed, f"{dataset} {split}")]
    data = load(dataset, split, source, root, indices=chosen)
    return Sample(
        source=f"the {split} split of {title(dataset)}: {data.source}",
        size=len(positions),
        names=[f"{dataset}-{split}-{position}" for position in chosen[:count]],
        images=data.images[:count],
        labels=data.labels[:count],
        others=data.images[: MOST_OTHERS + 1],
    )


def sample_folder(folder: Path, shape: tuple[int, int, int], resize: int | None, count: int, seed: int) -> Sample:
    """Draw image files of a folder and its subfolders, fitted to the shape channels, height, width as `fit_image` does.

    `SettingsError` if they are too few, or one cannot be read.
    """
    suffixes = (*LOSSY, *LOSSLESS)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    where = f"--images: the folder {folder} and its subfolders ({', '.join(suffixes)})"
    chosen = [files[row] for row in _drawn(len(files), count, seed, where)]
    channels, size, _ = shape
    pixels = torch.stack([fit_image(file, size=size, resize=resize, channels=channels)[0] for file in chosen])
    return Sample(
        source=f"the folder {folder.resolve().name}",
        size=len(files),
        names=[str(file.relative_to(folder)) for file in chosen[:count]],
        images=pixels[:count],
        labels=None,
        others=pixels[: MOST_OTHERS + 1],
    )


def _drawn(size: int, count: int, seed: int, where: str) -> list[int]:
    """Draw rows of a set: first those to attack, then others, in a random order."""
    if size < (least := max(count, LEAST_IMAGES)):
        raise SettingsError(f"{where}: {size} images, but {least} are needed, each to be compared with others")
    rows: list[int] = torch.randperm(size, generator=generator("audit", seed))[: max(count, MOST_OTHERS + 1)].tolist()
    return rows
