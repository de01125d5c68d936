"""Pictures in the folder that a command writes."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from invgrad.data.images import denormalise
from invgrad.data.registry import PerChannel
from invgrad.results.files import write
from invgrad.settings import SettingsError


def numbered_pngs(folder: Path, name: str, images: int) -> list[Path]:
    """Paths for several pictures of one kind; a single one has no number."""
    numbers = [""] if images == 1 else [f"-{number}" for number in range(1, images + 1)]
    return [folder / f"{name}{number}.png" for number in numbers]


def refuse_existing(folder: Path, files: Iterable[Path]) -> None:
    """Raise `SettingsError` if one of the files to write in the folder exists."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--out: {folder} is a file; name a folder")
    if there := next(filter(Path.exists, files), None):
        raise SettingsError(f"--out: {there} is there already; name another folder")


def shown(images: Tensor, mean: PerChannel, std: PerChannel) -> Tensor:
    """Return normalised images as uint8 pixels, clipped, and black where an attack failed."""
    return (255 * denormalise(images, mean, std).clamp(0, 1).nan_to_num(0)).round().to(torch.uint8)


def write_pngs(paths: Sequence[Path], images: Tensor) -> None:
    """Write images, uint8 [n, channels, h, w], each to its path: three channels in colour, others in grey beside each
    other.
    """
    for path, image in zip(paths, images, strict=True):
        write(path, _picture(image).save)


def png(image: Tensor) -> bytes:
    """Return the PNG file of an image, uint8 [channels, h, w], as `write_pngs` writes it."""
    file = io.BytesIO()
    _picture(image).save(file, "PNG")
    return file.getvalue()


def _picture(image: Tensor) -> Image.Image:
    pixels = image.permute(1, 2, 0) if len(image) == 3 else torch.cat([*image], 1)
    return Image.fromarray(pixels.numpy())
