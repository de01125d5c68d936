"""Images of a split in memory, and the file that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from invgrad.data.registry import Channels, SplitName
from invgrad.results.files import read_tensors, write_tensors
from invgrad.settings import SettingsError

TENSORS = ("images", "labels", "index", "lossy")


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split of a data set. Compared by identity, as tensors have no single equality."""

    dataset: str
    split: SplitName
    source: str
    """Origin of the images, in one sentence for a reader."""
    images: Tensor
    """Images, uint8 [n, 3, height, width], RGB."""
    labels: Tensor
    """Labels, int64 [n], in 0..classes-1."""
    index: Tensor
    """Position of each image in the full published split, int64 [n] (of packaged ImageNet: the sample's number)."""
    lossy: Tensor
    """True for each image that is a JPEG copy, not exactly the published one; bool [n]."""
    classes: int
    mean: Channels
    """Mean per channel, over the data set's training images with values in [0, 1]; `std` likewise."""
    std: Channels


def save_split(split: Split, path: Path) -> None:
    """Write a split as one safetensors file, everything that is not a tensor as JSON in its metadata."""
    values = dict(vars(split))
    write_tensors(path, {key: values.pop(key) for key in TENSORS}, values)


def read_split(path: Path) -> Split:
    """Read a split that `save_split` wrote; `SettingsError` if the file is missing or something else."""
    tensors, values = read_tensors(path)
    try:
        return Split(**values | tensors | {key: tuple(values[key]) for key in ("mean", "std")})
    except (KeyError, TypeError) as error:
        raise SettingsError(f"{path}: not a saved split: {error}") from None


def rows_at(row_of: Mapping[int, int], positions: Sequence[int], where: str) -> list[int]:
    """Return the rows of these positions; `SettingsError` that starts with `where` if one is not there."""
    if missing := [position for position in positions if position not in row_of]:
        nearest = min(row_of, key=lambda position: abs(position - missing[0]))
        raise SettingsError(f"{where}: no image has index {missing[0]}; nearest: {nearest}")
    return [row_of[position] for position in positions]
