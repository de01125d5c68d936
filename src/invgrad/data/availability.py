"""Availability of data sets: sources, their splits, and the folders for missing data. Imports no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast, get_args

from invgrad.data.registry import REGISTRY, Dataset, SourceName, SplitName, describe
from invgrad.settings import SettingsError, unknown

SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "validation": ("test", "val", "validation")}


def available(dataset: str, split: str, source: str, registry: Path = REGISTRY) -> int:
    """Count the images that a source has of a split, from the registry alone; `SettingsError` if it has none."""
    data = describe(dataset, registry)
    name = split_name(split)
    supply = data.sources[source_name(dataset, data, source, name)]
    samples = 0 if data.crops else sum(len(package.files) for package in supply.packages)
    return samples or published(dataset, name, registry)


def published(dataset: str, split: SplitName, registry: Path = REGISTRY) -> int:
    """Count the images of the full split; `SettingsError` if the registry does not say."""
    images = describe(dataset, registry).images
    if split not in images:
        raise SettingsError(f"{dataset}: images: {unknown('split', split, images)}")
    return images[split]


def find_source(
    dataset: str, splits: Iterable[str], wanted: Sequence[str], root: Path, registry: Path = REGISTRY
) -> SourceName | None:
    """Find the first of the wanted sources that has these splits; None if data has to be put somewhere first.

    Archives that torchvision downloads count as present. Raises `SettingsError` if no wanted source could have the
    splits.
    """
    data, names = describe(dataset, registry), [split_name(split) for split in splits]
    able = [cast(SourceName, source) for source in wanted if set(names) <= set(_supplied(data, source))]
    if not able:
        for name in names:
            source_name(dataset, data, wanted[-1], name)
        raise SettingsError(f"no source has all of {', '.join(names)}; give another than {', '.join(wanted)}")
    there = (source for source in able if all(_is_there(dataset, name, source, root) for name in names))
    return next(there, None)


def what_to_put_where(dataset: str, splits: Iterable[str], wanted: Sequence[str], root: Path) -> str:
    """Explain to a user in one line where missing data has to be put."""
    data = describe(dataset)
    origins = " or ".join(data.sources[cast(SourceName, source)].origin for source in wanted)
    folders = " and ".join(" or ".join(SPLIT_FOLDERS[split_name(split)]) for split in sorted(splits))
    return f"put {origins} into {root / dataset}, in the folder {folders} with a folder for each class"


def _supplied(data: Dataset, source: str) -> tuple[SplitName, ...]:
    supply = data.sources.get(known_source(source))
    return supply.splits if supply else ()


def _is_there(dataset: str, split: SplitName, source: str, root: Path) -> bool:
    folders = (root / dataset / name for name in SPLIT_FOLDERS[split])
    return not is_folder(dataset, source) or any(folder.is_dir() for folder in folders)


def is_folder(dataset: str, source: str) -> bool:
    """Tell if a source reads an image folder.

    The files of all others are compared with published checksums whenever they are read.
    """
    return source == "folder" or (source == "torchvision" and dataset == "imagenet")


def split_name(split: str) -> SplitName:
    """Check the name of a split; `SettingsError` if there is none."""
    if split not in get_args(SplitName):
        raise SettingsError(unknown("split", split, get_args(SplitName)))
    return cast(SplitName, split)


def source_name(dataset: str, data: Dataset, source: str, split: SplitName) -> SourceName:
    """Check the name of a source; `SettingsError` if it is unknown or has no such split."""
    wanted = known_source(source)
    able = [name for name, supply in data.sources.items() if split in supply.splits]
    if wanted not in able:
        raise SettingsError(f"source '{source}' has no {split} images of {dataset}; these have: {', '.join(able)}")
    return wanted


def known_source(source: str) -> SourceName:
    """Check the name of a source; `SettingsError` if there is none."""
    if source not in get_args(SourceName):
        raise SettingsError(unknown("source", source, get_args(SourceName)))
    return cast(SourceName, source)
