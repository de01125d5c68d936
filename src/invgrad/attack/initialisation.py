"""Initialisation of the candidate images of a trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from invgrad.attack.settings import FromImage, Normal, Start, Uniform, Zeros
from invgrad.data.images import normalise, read_image
from invgrad.data.registry import Channels
from invgrad.settings import SettingsError

PerChannel = Sequence[float]


def draw(start: Start, shape: tuple[int, ...], mean: PerChannel, std: PerChannel, generator: torch.Generator) -> Tensor:
    """Draw images of `shape` [n, 3, h, w], float32 on the CPU, normalised by `mean` and `std`.

    Raises `SettingsError` if the file of `FromImage` is not an image of that size.
    """
    match start:
        case Normal():
            return torch.randn(shape, generator=generator)
        case Uniform():
            return torch.rand(shape, generator=generator) * 2 - 1
        case Zeros():
            return torch.zeros(shape)
        case FromImage():
            return _read(start.path, shape, mean, std)


def _read(path: Path, shape: tuple[int, ...], mean: PerChannel, std: PerChannel) -> Tensor:
    if shape[1] != 3:
        raise SettingsError(f"start: {path}: an image has 3 channels, not {shape[1]}")
    image = read_image(path, height=shape[2], width=shape[3])
    channels = cast(tuple[Channels, Channels], (tuple(mean), tuple(std)))
    start = normalise(image[None], *channels, torch.float32, "cpu").expand(shape)
    return start.clone(memory_format=torch.contiguous_format)  # torch 2.9's vmap takes no other
