"""Image folders of the user's: which files a split has there, and a digest of what they hold. Imports no torch."""

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from invgrad.data.availability import SPLIT_FOLDERS, split_name
from invgrad.data.registry import LOSSY, REGISTRY, Dataset, SplitName, describe
from invgrad.results.files import sha256
from invgrad.results.remembered import Remembered
from invgrad.settings import SettingsError

CLASS_LISTS = ("wnids.txt", "classes.txt")
LOSSLESS = (".png",)
NUMBER = re.compile(r"(\d+)_")


def list_folder(dataset: str, data: Dataset, split: SplitName, root: Path) -> list[tuple[int, int, str]]:
    """List the images of a split: position, label and file of each, class by class; `SettingsError` if there are none.

    Files are strings, since there may be a million.
    """
    base = root / dataset
    names = SPLIT_FOLDERS[split]
    folder = next((base / name for name in names if (base / name).is_dir()), None)
    if folder is None:
        raise SettingsError(f"{base}: no folder {' or '.join(names)} with {split} images of {dataset}")
    listed = [
        (label, f"{folder}/{name}/", file)
        for name, label in _class_order(base, folder, dataset, data).items()
        for file in sorted(os.listdir(folder / name))  # noqa: PTH208
        if file.lower().endswith(LOSSY + LOSSLESS)
    ]
    if not listed:
        raise SettingsError(f"{folder}: no {' or '.join(LOSSY + LOSSLESS)} file in the class folders")
    positions = _positions([(place, file) for _, place, file in listed])
    return [(position, label, place + file) for position, (label, place, file) in zip(positions, listed, strict=True)]


def folder_digest(
    dataset: str,
    split: str,
    root: Path,
    remembered: Path,
    indices: Collection[int] | None = None,
    registry: Path = REGISTRY,
) -> str:
    """Return a digest of the names and contents of all files in an image folder that a split is made from.

    `indices`: the positions of the images that are wanted; None: all. Contents are read again only of files that may
    have changed since the last time; the file `remembered` says which. `SettingsError` if there are no images.
    """
    data, base = describe(dataset, registry), root / dataset
    chosen = None if indices is None else set(indices)
    files = list_folder(dataset, data, split_name(split), root)
    wanted = [file for position, _, file in files if chosen is None or position in chosen]
    if data.statistics is None:  # they are computed from all training images
        wanted += [file for _, _, file in list_folder(dataset, data, "train", root)]
    wanted += [str(base / name) for name in CLASS_LISTS if (base / name).is_file()]
    contents = Remembered(remembered, "sha256", sha256)
    start = len(str(base))
    lines = sorted({f"{file[start:]} {contents.about(file)}" for file in wanted})
    contents.keep()
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _class_order(base: Path, folder: Path, dataset: str, data: Dataset) -> dict[str, int]:
    """Return the label of every class folder that is there, in label order."""
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    listed = next((base / name for name in CLASS_LISTS if (base / name).is_file()), None)
    names = data.class_names or (_lines(listed) if listed else found)
    if len(names) != data.classes:
        raise SettingsError(
            f"{listed or folder}: {len(names)} classes, {dataset} has {data.classes}; "
            f"name all of them, in order, in {base / CLASS_LISTS[-1]}"
        )
    labels = {name: label for label, name in enumerate(names) if name in found}
    if stray := sorted(set(found) - set(names)):
        raise SettingsError(f"{folder / stray[0]}: '{stray[0]}' is no class of {dataset}")
    return labels


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").strip().splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8: {error}") from None


def _positions(files: list[tuple[str, str]]) -> list[int]:
    """Read the number before the first underscore of every name; the order of the files if no name has one."""
    matches = [NUMBER.match(name) for _, name in files]
    if not any(matches):
        return list(range(len(files)))
    owners: dict[int, str] = {}
    for (place, name), match in zip(files, matches, strict=True):
        if match is None:
            raise SettingsError(f"{place}{name}: no number before the first underscore, but other images have one")
        other = owners.setdefault(int(match[1]), place + name)
        if other != place + name:
            raise SettingsError(f"{place}{name}: has the same number as {other}")
    return list(owners)
