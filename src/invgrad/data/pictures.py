"""Image files, read as every viewer shows them."""

from pathlib import Path
from typing import NamedTuple
from warnings import catch_warnings

import numpy as np
from PIL import Image, ImageOps

from invgrad.settings import SettingsError

MOST_PIXELS = 2**26
"""Most pixels of an image file, and of what it is resized to: a file of a few bytes can name any number."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are read; Pillow would start other programs for some of the rest."""

TIFF_BITS, TIFF_PHOTOMETRIC = 258, 262
"""Tags of a TIFF file: bits of a value, and whether 0 is white (0) or black (1)."""


class Picture(NamedTuple):
    """An image file's content: an upright RGB image of 8 bits, and what a reader has to know of it."""

    image: Image.Image
    on_white: bool
    """True if some of its pixels are transparent: they are shown on white."""


def opened(file: Path) -> Picture:
    """Read an image file; `SettingsError` if it is not readable, or not one picture that RGB can show."""
    Image.init()  # otherwise it knows some of the formats only after a first failure
    try:
        with catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
            refuse_large(*image.size, f"{file}:")
            if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photograph and its preview
                raise SettingsError(f"{file}: holds several pictures, not one")
            if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
                raise SettingsError(f"{file}: its values have no known range; nearest: 8 or 16 bits")
            colours, on_white = _as_rgb(_of_8_bits(image))
            return Picture(_upright(colours), on_white)
    except SettingsError:
        raise
    except Exception as error:  # of a broken or hostile file, Pillow raises what its decoders happen to
        raise SettingsError(f"{file}: not a readable image: {error}") from None


def fitted(file: Path, image: Image.Image, size: int, resize: int | None) -> Image.Image:
    """Adapt a file's image to size×size as torchvision's `Resize(resize)`, `CenterCrop(size)` do.

    `SettingsError` if it has another size and `resize` is None.
    """
    if image.size == (size, size):
        return image
    if resize is None:
        raise SettingsError(f"{file}: {image.width}x{image.height} pixels, not {size}x{size}")
    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    refuse_large(width, height, f"{file}: {image.width}x{image.height} pixels, resized to")
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))


def refuse_large(width: int, height: int, what: str) -> None:
    """Raise `SettingsError`, starting with `what`, for an image of more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise SettingsError(f"{what} {width}x{height} pixels are more than {MOST_PIXELS:,}")


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey values of 16 (in TIFF also 12) bits to 8, where Pillow would clip them."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values, tags = np.asarray(image).astype(np.uint32), getattr(image, "tag_v2", {})
    peak = 2 ** tags.get(TIFF_BITS, (16,))[0] - 1
    scaled = ((values * 255 + peak // 2) // peak).astype(np.uint8)
    grey = Image.fromarray(255 - scaled if tags.get(TIFF_PHOTOMETRIC) == 0 else scaled)
    if (clear := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return grey


def _as_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert to RGB, transparent pixels on white; tell if there are any."""
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", image.size, "white")
            white.info = image.info
            return Image.alpha_composite(white, layers).convert("RGB"), True
    return image.convert("RGB"), False


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data say; data that are broken say nothing, as for viewers."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image
