"""Square crops of large images, as a small data set."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from invgrad.data.pictures import opened
from invgrad.data.registry import Box, Crops, SplitName
from invgrad.seeds import generator
from invgrad.settings import SettingsError


def cut(
    crops: Crops, photo: Image.Image, split: SplitName, count: int, size: int, name: str
) -> list[tuple[Box, Image.Image]]:
    """Cut `count` windows (left, top, right, bottom) out of a large image, each area-averaged to size×size.

    Sides and places are uniform, drawn from the settings' `seed`, the split and the large image's `name`; windows of
    too little contrast are drawn again. No pixel is in windows of both splits. Raises `SettingsError` if nearly every
    window has too little contrast.
    """
    border = round(crops.train_share * photo.height)
    top, bottom = (0, border) if split == "train" else (border, photo.height)
    largest = min(int(crops.largest * min(photo.size)), bottom - top)
    if largest < crops.smallest:
        raise SettingsError(f"{name}: no {split} window of {crops.smallest} pixels fits; nearest: {largest}")
    random = generator(crops.seed, split, name)
    kept: list[tuple[Box, Image.Image]] = []
    for _ in range(100 * count):
        side = _uniform(crops.smallest, largest, random)
        x, y = _uniform(0, photo.width - side, random), _uniform(top, bottom - side, random)
        box = (x, y, x + side, y + side)
        crop = photo.crop(box).resize((size, size), Image.Resampling.BOX)
        if np.asarray(crop).std(axis=(0, 1)).mean() >= 255 * crops.contrast:
            kept.append((box, crop))
        if len(kept) == count:
            return kept
    raise SettingsError(f"{name}: hardly any {split} window has a contrast of {crops.contrast}")


@lru_cache(maxsize=4)
def photo_crops(photos: tuple[Path, ...], crops: Crops, split: SplitName, per_class: int, size: int) -> Tensor:
    """Return crops of large images, [per_class · photos, 3, size, size], one class an image, classes interleaved."""
    images = torch.empty(per_class, len(photos), size, size, 3, dtype=torch.uint8)
    for label, file in enumerate(photos):
        for row, (_, crop) in enumerate(cut(crops, opened(file).image, split, per_class, size, file.name)):
            images[row, label] = torch.from_numpy(np.array(crop))
    return images.flatten(0, 1).permute(0, 3, 1, 2)


def _uniform(low: int, high: int, random: torch.Generator) -> int:
    """Draw an integer from low..high, both included."""
    return int(torch.randint(low, high + 1, (), generator=random))
