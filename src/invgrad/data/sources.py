"""Sources of the images of every data set: an installed package, torchvision, an image folder.

A source lists its images of a split without decoding anything; `load` then decodes only the images that are wanted.
The data sets and their sources are written in the registry: `datasets.yaml` beside this module, to which a
project adds in `data/datasets.yaml`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from invgrad.data.availability import source_name, split_name
from invgrad.data.crops import photo_crops
from invgrad.data.folders import list_folder
from invgrad.data.images import pixels_of, to_unit
from invgrad.data.pictures import fitted, opened
from invgrad.data.registry import REGISTRY, Channels, Dataset, SourceName, SplitName, describe, is_lossy
from invgrad.data.splits import Split, rows_at
from invgrad.settings import SettingsError


@dataclass(frozen=True)
class Listing:
    """A source's images of a split, in index order: in memory (uint8 [n, 3, size, size]) or as files to decode."""

    index: Sequence[int]
    labels: Sequence[int]
    images: Tensor | list[Path]


Source = Callable[[str, Dataset, SplitName, Path | None], Listing]


def load(
    dataset: str,
    split: str,
    source: str,
    root: Path | None,
    registry: Path = REGISTRY,
    limit: int | None = None,
    indices: Sequence[int] | None = None,
) -> Split:
    """Load images of a split of a data set.

    `root` is the folder of the user's data sets; the packaged source needs none. Either `limit` takes the first images
    (all, if there are fewer), or `indices` takes those at these positions of the published split, in this order.
    `SettingsError` for unknown names, a source that lacks the split, files that are missing or damaged.
    """
    data = describe(dataset, registry)
    name = split_name(split)
    supplier = source_name(dataset, data, source, name)
    listing = SOURCES[supplier](dataset, data, name, root)
    rows = _rows(listing.index, limit, indices, f"{dataset} {split} from source '{source}'")
    if isinstance(listing.images, Tensor):
        files, images, lossy = [], listing.images[rows].contiguous(), [False] * len(rows)
    else:
        files = [listing.images[row] for row in rows]
        images, lossy = _decode(files, data), list(map(is_lossy, files))
    mean, std = _statistics(dataset, data, supplier, root)
    return Split(
        dataset=dataset,
        split=name,
        source=data.sources[supplier].sentence(files),
        images=images,
        labels=torch.tensor([listing.labels[row] for row in rows], dtype=torch.int64),
        index=torch.tensor([listing.index[row] for row in rows], dtype=torch.int64),
        lossy=torch.tensor(lossy),
        classes=data.classes,
        mean=mean,
        std=std,
    )


def _packaged(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    files = [path for package in data.sources["packaged"].packages for path in package.paths()]
    if data.crops:
        images = photo_crops(tuple(files), data.crops, split, data.images[split] // data.classes, data.size)
        return Listing(range(len(images)), [row % data.classes for row in range(len(images))], images)
    numbers = [file.stem.split("_")[-2:] for file in files]
    return _in_order([(int(index), int(label), str(file)) for (index, label), file in zip(numbers, files, strict=True)])


def _in_order(found: list[tuple[int, int, str]]) -> Listing:
    """Sort (index, label, file) into a listing."""
    index, labels, files = zip(*sorted(found), strict=True)
    return Listing(index, labels, list(map(Path, files)))


def _torchvision(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    if dataset == "imagenet":
        return _whole_folder(dataset, data, split, root)
    # imported here because it takes seconds and the other sources do without
    from torchvision import datasets

    archive = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    folder = _needed(root, "torchvision")
    try:
        content = archive(folder, train=split == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"{folder}: put {archive.filename} here (from {archive.url}); it could not be downloaded: {error}"
        ) from None
    return Listing(range(len(content.data)), content.targets, torch.from_numpy(content.data).permute(0, 3, 1, 2))


def _whole_folder(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    """List a complete image folder, numbered as by torchvision: class by class, then by file name.

    The released code's indices count so: with 50 images a class, 8112 is in class 162, the beagle.
    """
    listing = _folder(dataset, data, split, _needed(root, "torchvision"))
    if len(listing.index) != data.images[split]:
        raise SettingsError(
            f"{dataset}: {len(listing.index)} of {data.images[split]} {split} images are in {root}, so their positions "
            "are unknown; nearest: source 'folder', which numbers what is there"
        )
    return listing


def _folder(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    return _in_order(list_folder(dataset, data, split, _needed(root, "folder")))


SOURCES: dict[SourceName, Source] = {"packaged": _packaged, "torchvision": _torchvision, "folder": _folder}


def _needed(root: Path | None, source: str) -> Path:
    if root is None:
        raise SettingsError(f"source '{source}' needs the folder that holds the data sets (root)")
    return root


def _rows(index: Sequence[int], limit: int | None, indices: Sequence[int] | None, where: str) -> list[int]:
    if indices is None:
        if limit is not None and limit < 1:
            raise SettingsError(f"{where}: limit {limit} takes no image; nearest: 1")
        return list(range(len(index)))[:limit]
    if limit is not None:
        raise SettingsError(f"{where}: limit and indices exclude each other")
    return rows_at({position: row for row, position in enumerate(index)}, indices, where)


def _statistics(dataset: str, data: Dataset, source: SourceName, root: Path | None) -> tuple[Channels, Channels]:
    if data.statistics:
        return data.statistics.mean, data.statistics.std
    training = SOURCES[source](dataset, data, "train", root).images
    images = training if isinstance(training, Tensor) else _decode(training, data)
    std, mean = torch.std_mean(to_unit(images, torch.float64, "cpu"), dim=(0, 2, 3), correction=0)
    return tuple(mean.tolist()), tuple(std.tolist())


def _decode(files: Sequence[Path], data: Dataset) -> Tensor:
    """Decode the images, uint8 [n, 3, size, size]."""
    images = torch.empty(len(files), 3, data.size, data.size, dtype=torch.uint8)
    on_white = 0
    # one thread: on two cores a pool was slower, for 32-pixel and for 500-pixel files
    for row, file in enumerate(files):
        image, transparent = opened(file)
        on_white += transparent
        images[row] = pixels_of(fitted(file, image, data.size, data.resize))
    if on_white:
        print(f"{on_white} of {len(files)} images have transparent pixels, which are shown on white")
    return images
