import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import memory
import numpy as np
import pytest
from PIL import Image

from invgrad.data.images import fit_image
from invgrad.data.pictures import opened
from invgrad.settings import SettingsError


def png(
    width: int, height: int, *more: tuple[bytes, bytes], bits: int = 8, colour: int = 0, rows: bytes = bytes(1000)
) -> bytes:
    """A PNG that names a size and holds these rows, and these chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rgb_of_16_bits(pixel: tuple[int, int, int]) -> bytes:
    """A PNG of one colour, which Pillow itself cannot write."""
    rows = (b"\0" + struct.pack(">3H", *pixel) * 8) * 8
    return png(8, 8, bits=16, colour=2, rows=rows)


SQUARE = Image.effect_noise((300, 300), 50).convert("RGB")
TEXT = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a line that becomes a ribbon": (lambda: saved(Image.new("L", (1, 65_000))), "256x16640000 pixels are more than"),
    "a lying ribbon": (lambda: saved(Image.new("RGB", (40_000, 3)), "TIFF"), "256 pixels are more than"),
    "a huge plane": (lambda: png(20_000, 20_000), "not a readable image"),
    "a large plane": (lambda: png(9000, 9000), "9000x9000 pixels are more than"),
    "a plane beyond all bounds": (lambda: png(2**31 - 1, 2**31 - 1), "not a readable image"),
    "a giant text": (lambda: png(8, 8, TEXT), "not a readable image"),
    "half a file": (lambda: saved(SQUARE)[:5000], "not a readable image"),
    "half a JPEG": (lambda: saved(SQUARE, "JPEG")[:2000], "not a readable image"),
    "a program's picture": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
    "a film": (
        lambda: saved(SQUARE, "GIF", save_all=True, append_images=[Image.new("RGB", (300, 300))]),
        "several pictures",
    ),
    "a film as PNG": (
        lambda: saved(SQUARE, save_all=True, append_images=[Image.new("RGB", (300, 300))]),
        "several pictures",
    ),
    "a scan": (lambda: saved(Image.new("L", (14_000, 14_000))), "not a readable image"),
    "numbers without a range": (lambda: saved(Image.new("F", (300, 300), 0.5), "TIFF"), "no known range"),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_hostile_or_broken_picture_is_one_line(kind: str, suffix: str, tmp_path: Path) -> None:
    """Before it takes memory; the name says nothing of what is in the file."""
    content, words = PICTURES[kind]
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(content())
    with memory.limited(1 << 29), warnings.catch_warnings(action="error"), pytest.raises(SettingsError) as caught:
        fit_image(path, size=224, resize=256)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


RAMP = np.linspace(0, 65_535, 64).round().astype(np.uint16).reshape(8, 8)
HALF_CLEAR = Image.new("RGBA", (8, 8), (255, 0, 101, 51))
COLOURS = {
    "16 bits": (saved(Image.fromarray(np.full((8, 8), 20_000, dtype=np.uint16))), (78, 78, 78)),
    "16 bits of TIFF": (saved(Image.fromarray(np.full((8, 8), 65_535, dtype=np.uint16)), "TIFF"), (255, 255, 255)),
    "16 bits, 0 is white": (saved(Image.fromarray(RAMP * 0 + 20_000), "TIFF", tiffinfo={262: 0}), (177, 177, 177)),
    "16 bits of PGM": (saved(Image.fromarray(np.full((8, 8), 20_000, dtype=np.uint16)), "PPM"), (78, 78, 78)),
    "16 bits each of three": (rgb_of_16_bits((20_000, 0, 65_535)), (78, 0, 255)),
    "16 bits with a clear value": (saved(Image.fromarray(RAMP), transparency=int(RAMP[3, 3])), (255, 255, 255)),
    "ink": (saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "opaque": (saved(Image.new("RGBA", (8, 8), (1, 2, 3, 255))), (1, 2, 3)),
    "four fifths clear": (saved(HALF_CLEAR), (255, 204, 224)),
    "grey, clear": (saved(Image.new("LA", (8, 8), (9, 0))), (255, 255, 255)),
    "1 bit": (saved(Image.new("1", (8, 8), 1)), (255, 255, 255)),
    "palette": (saved(Image.new("RGB", (8, 8), (7, 8, 9)).quantize(2)), (7, 8, 9)),
    "palette with a hole": (saved(Image.new("RGB", (8, 8), (7, 8, 9)).quantize(2), transparency=0), (255, 255, 255)),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_a_picture_of_another_kind_is_shown_as_it_is(kind: str, tmp_path: Path) -> None:
    content, pixel = COLOURS[kind]
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    image, changes = fit_image(path, size=8, resize=None)
    assert image[:, 3, 3].tolist() == list(pixel)
    assert changes == ("transparent pixels are shown on white" if "clear" in kind or "hole" in kind else "")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_keep_every_level_that_8_bits_have(kind: str, tmp_path: Path) -> None:
    (tmp_path / "ramp").write_bytes(saved(Image.fromarray(RAMP), kind))
    shown = np.asarray(opened(tmp_path / "ramp").image)
    assert abs(shown[..., 0] - RAMP / 257).max() <= 0.5
    assert (shown == shown[..., :1]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_a_photograph_is_upright(kind: str, orientation: int, corner: tuple[int, int], tmp_path: Path) -> None:
    """A camera held sideways stores its lines so, and says where up is; the bright pixels are the first it stores."""
    stored = Image.new("RGB", (64, 32))
    stored.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "photo").write_bytes(saved(stored, kind, exif=exif))
    image = opened(tmp_path / "photo").image
    assert image.size == ((64, 32) if orientation in (1, 3) else (32, 64))
    bright = np.asarray(image)[..., 0]
    assert bright[corner] > 200
    assert bright.mean() == pytest.approx(255 / 8, abs=4)


def test_broken_data_on_a_photograph_leave_it_as_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(saved(SQUARE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"))
    assert opened(tmp_path / "photo.jpg").image.size == SQUARE.size
