"""Conversion of images between files, uint8 pixels and normalised network inputs."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from invgrad.data.pictures import fitted, opened
from invgrad.data.registry import PerChannel
from invgrad.settings import SettingsError


def to_unit(images: Tensor, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Convert uint8 images to values in [0, 1]."""
    return images.to(device=device, dtype=dtype) / 255


def normalise(
    images: Tensor, mean: PerChannel, std: PerChannel, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Normalise uint8 images [n, channels, h, w] for a network: (value in [0, 1] − mean) / std per channel."""
    return standardise(to_unit(images, dtype, device), mean, std)


def standardise(images: Tensor, mean: PerChannel, std: PerChannel) -> Tensor:
    """Normalise images with values in [0, 1]: (value − mean) / std per channel."""
    return (images - _per_channel(mean, images.dtype, images.device)) / _per_channel(std, images.dtype, images.device)


def denormalise(images: Tensor, mean: PerChannel, std: PerChannel) -> Tensor:
    """Undo `standardise`; values outside [0, 1] are not clamped."""
    return images * _per_channel(std, images.dtype, images.device) + _per_channel(mean, images.dtype, images.device)


def read_image(path: Path, *, channels: int, height: int, width: int) -> Tensor:
    """Read an image as uint8 [channels, height, width]; `SettingsError` if the file is not an image of that size."""
    image = opened(path).image
    if image.size != (width, height):
        raise SettingsError(f"{path}: {image.width}x{image.height} pixels, not {width}x{height}")
    return pixels_of(image, channels)


def fit_image(path: Path, *, size: int, resize: int | None, channels: int = 3) -> tuple[Tensor, str]:
    """Read an image of any size as uint8 [channels, size, size], with a description of its changes ("" if none).

    Its shorter side becomes `resize` pixels (None: `size`), then the centre is cut out, bilinear as by torchvision's
    `Resize` and `CenterCrop`. `SettingsError` if the file is not an image.
    """
    image, on_white = opened(path)
    side = resize or size
    crop = f"{image.width}x{image.height} pixels, shorter side resized to {side}, centre cropped to {size}x{size}"
    changes = (crop if image.size != (size, size) else "", "transparent pixels are shown on white" if on_white else "")
    return pixels_of(fitted(path, image, size, side), channels), "; ".join(filter(None, changes))


def pixels_of(image: Image.Image, channels: int = 3) -> Tensor:
    """Return the pixels of an RGB image, uint8 [channels, height, width]: its colours, or for one channel its greys.

    `SettingsError` for another number of channels.
    """
    if channels not in (1, 3):
        raise SettingsError(f"a picture has 1 or 3 channels, not {channels}")
    pixels = np.array(image if channels == 3 else image.convert("L"))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def jpeg_copies(images: Tensor, quality: int) -> Tensor:
    """Copy uint8 RGB images [n, 3, height, width] as JPEG files of this quality hold them."""
    return torch.stack([_jpeg_copy(image, quality) for image in images])


def _jpeg_copy(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return pixels_of(Image.open(file))


def _per_channel(values: PerChannel, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)
