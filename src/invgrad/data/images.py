"""Conversion of images between files, uint8 pixels and normalised network inputs."""

from pathlib import Path
from warnings import catch_warnings

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from invgrad.data.registry import Channels
from invgrad.settings import SettingsError

MOST_PIXELS = 2**26
"""Most pixels of an image file, and of what it is resized to: a file of a few bytes can name any number."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are read; Pillow would start other programs for some of the rest."""


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
    image = opened(path)
    if image.size != (width, height):
        raise SettingsError(f"{path}: {image.width}x{image.height} pixels, not {width}x{height}")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def fit_image(path: Path, *, size: int, resize: int | None) -> tuple[Tensor, str]:
    """Read an image of any size as uint8 [3, size, size], with a description of its changes ("" if none).

    Its shorter side becomes `resize` pixels (None: `size`), then the centre is cut out, bilinear as by torchvision's
    `Resize` and `CenterCrop`. `SettingsError` if the file is not an image.
    """
    width, height = opened(path).size
    side = resize or size
    change = f"{width}x{height} pixels, shorter side resized to {side}, centre cropped to {size}x{size}"
    pixels = torch.from_numpy(pixels_of(path, size, side)).permute(2, 0, 1)
    return pixels, "" if (width, height) == (size, size) else change


def pixels_of(file: Path, size: int, resize: int | None) -> np.typing.NDArray[np.uint8]:
    """Read uint8 [size, size, 3]; adapt other sizes as torchvision's `Resize(resize)`, `CenterCrop(size)` do."""
    image = opened(file)
    if image.size != (size, size):
        if resize is None:
            raise SettingsError(f"{file}: {image.width}x{image.height} pixels, not {size}x{size}")
        short = min(image.size)
        width, height = (int(resize * side / short) for side in image.size)
        _refuse_large(width, height, f"{file}: {image.width}x{image.height} pixels, resized to")
        left, top = round((width - size) / 2), round((height - size) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.array(image)


def opened(file: Path) -> Image.Image:
    """Open the RGB image in a file; `SettingsError` if it is not a readable image, or not one that RGB can show."""
    Image.init()  # otherwise it knows some of the formats only after a first failure
    try:
        with catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
            _refuse_large(*image.size, f"{file}:")
            if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photograph and its preview
                raise SettingsError(f"{file}: holds several pictures, not one")
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise SettingsError(f"{file}: has transparent pixels, whose colour is not defined")
            if image.mode in ("I", "F"):
                raise SettingsError(f"{file}: its values have no known range; nearest: 8 or 16 bits")
            return _as_rgb(image)
    except SettingsError:
        raise
    except Exception as error:  # of a broken or hostile file, Pillow raises what its decoders happen to
        raise SettingsError(f"{file}: not a readable image: {error}") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB of 8 bits; what has more is scaled, where Pillow would clip it."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _refuse_large(width: int, height: int, what: str) -> None:
    """Raise `SettingsError`, starting with `what`, for an image of more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise SettingsError(f"{what} {width}x{height} pixels are more than {MOST_PIXELS:,}")


def _per_channel(values: Channels, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1)
