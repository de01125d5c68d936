"""Initialisation of the candidate images of a trial."""

from pathlib import Path

import torch
from torch import Tensor

from invgrad.attack.settings import FromImage, Normal, Start, Uniform, Zeros
from invgrad.data.images import normalise, read_image
from invgrad.data.registry import PerChannel


def draw(start: Start, shape: tuple[int, ...], mean: PerChannel, std: PerChannel, generator: torch.Generator) -> Tensor:
    """Draw images of `shape` [n, channels, h, w], float32 on the CPU, normalised by `mean` and `std`.

    Raises `SettingsError` if the file of `FromImage` is not an image of that size.
    """
    match start:
        case Normal():
            return torch.randn(shape, generator=generator, device="cpu")
        case Uniform():
            return torch.rand(shape, generator=generator, device="cpu") * 2 - 1
        case Zeros():
            return torch.zeros(shape, device="cpu")
        case FromImage():
            return _read(start.path, shape, mean, std)


def _read(path: Path, shape: tuple[int, ...], mean: PerChannel, std: PerChannel) -> Tensor:
    image = read_image(path, channels=shape[1], height=shape[2], width=shape[3])
    start = normalise(image[None], mean, std, torch.float32, "cpu").expand(shape)
    return start.clone(memory_format=torch.contiguous_format)  # torch 2.9's vmap takes no other
