"""Conversion of images between files, uint8 pixels and normalised network inputs."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from invgrad.data.pictures import fitted, opened
from invgrad.data.registry import Channels
from invgrad.settings import SettingsError


def to_unit(images: Tensor, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Convert uint8 images to values in [0, 1]."""
    return images.to(device=device, dtype=dtype) / 255


def normalise(images: Tensor, mean: Channels, std: Channels, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Normalise uint8 images [n, 3, h, w] for a network: (value in [0, 1] − mean) / std per channel."""
    return standardise(to_unit(images, dtype, device), mean, std)


def standardise(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Normalise images with values in [0, 1]: (value − mean) / std per channel."""
    return (images - _per_channel(mean, images.dtype, images.device)) / _per_channel(std, images.dtype, images.device)


def denormalise(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Undo `standardise`; values outside [0, 1] are not clamped."""
    return images * _per_channel(std, images.dtype, images.device) + _per_channel(mean, images.dtype, images.device)


def read_image(path: Path, *, height: int, width: int) -> Tensor:
    """Read an image as uint8 [3, height, width]; `SettingsError` if the file is not an image of that size."""
    image = opened(path).image
    if image.size != (width, height):
        raise SettingsError(f"{path}: {image.width}x{image.height} pixels, not {width}x{height}")
    return pixels_of(image)


def fit_image(path: Path, *, size: int, resize: int | None) -> tuple[Tensor, str]:
    """Read an image of any size as uint8 [3, size, size], with a description of its changes ("" if none).

    Its shorter side becomes `resize` pixels (None: `size`), then the centre is cut out, bilinear as by torchvision's
    `Resize` and `CenterCrop`. `SettingsError` if the file is not an image.
    """
    image, on_white = opened(path)
    side = resize or size
    crop = f"{image.width}x{image.height} pixels, shorter side resized to {side}, centre cropped to {size}x{size}"
    changes = (crop if image.size != (size, size) else "", "transparent pixels are shown on white" if on_white else "")
    return pixels_of(fitted(path, image, size, side)), "; ".join(filter(None, changes))


def pixels_of(image: Image.Image) -> Tensor:
    """Return the pixels of an RGB image, uint8 [3, height, width]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _per_channel(values: Channels, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1)
