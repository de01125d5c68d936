"""Image grids: rows of images at integer zoom, with labels and captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from torch import Tensor

from invgrad.metrics.image_pairs import ImagePairs
from invgrad.report.tables import BELOW_FLAT, marked

DPI = 200
FONT_POINTS = 7.0
LINE = round(FONT_POINTS * 1.45 * DPI / 72)
"""Pixels from one line of text to the next."""
GREY = "0.4"
"""Colour of notes, and of PSNRs below the flat image's."""
GAP = 6
"""Pixels between images."""
IMAGE_SIDE = 170
"""Approximate width of an image, in pixels of the figure."""
LABEL_WIDTH = 180
"""Width in pixels at which the labels of strips are wrapped."""
LEAST_WIDTH, PAGE_WIDTH = 900, 2040
"""Widths of a figure, in pixels: a narrower grid is filled up with white, and `in_lines` cuts a wider one."""


@dataclass(frozen=True)
class Strip:
    """One row of a grid."""

    label: str
    images: Tensor
    """Images [n, 3, h, w] in [0, 1]; a missing one is NaN, and drawn as a crossed grey box."""
    captions: Sequence[str] = ()
    """Text under each image, wrapped at its width; empty for none."""


def decibels(psnr: float, flat_psnr: float = math.nan) -> str:
    """Text of a PSNR, `marked`: `18.32 dB`, `∞ dB` for an exact reconstruction, `failed` for NaN."""
    if math.isnan(psnr):
        return "failed"
    return marked("∞ dB" if psnr == math.inf else f"{psnr:.2f} dB", psnr, flat_psnr)


def psnr_texts(gallery: ImagePairs) -> list[str]:
    """Text of the PSNR of every image."""
    return [decibels(*each) for each in zip(gallery.psnr, gallery.flat_psnr, strict=True)]


def above(galleries: Sequence[tuple[str, ImagePairs]]) -> list[Strip]:
    """Stack strips of originals above strips of reconstructions, one for every label and gallery, with each PSNR.

    Galleries of the same originals stand together, below these.
    """
    groups: list[tuple[ImagePairs, list[Strip]]] = []
    for label, gallery in galleries:
        strips = next((strips for first, strips in groups if _same_originals(first, gallery)), None)
        if strips is None:
            strips = [Strip(f"original ({gallery.dataset})", gallery.originals)]
            groups.append((gallery, strips))
        strips.append(Strip(label, gallery.reconstructions, psnr_texts(gallery)))
    return [strip for _, strips in groups for strip in strips]


def beside(galleries: Sequence[tuple[str, ImagePairs]]) -> Strip:
    """One strip of the first image of every gallery, with its label and PSNR as caption.

    Its original stands to the left, unless the gallery before has the same original.
    """
    images: list[Tensor] = []
    captions: list[str] = []
    shown = None
    for label, gallery in galleries:
        original = gallery.originals[0]
        if shown is None or not torch.equal(original, shown):
            images.append(original)
            captions.append(f"original ({gallery.dataset})")
        images.append(gallery.reconstructions[0])
        captions.append(f"{label}\n{psnr_texts(gallery)[0]}")
        shown = original
    return Strip("", torch.stack(images), captions)


def in_lines(strips: Sequence[Strip]) -> list[Strip]:
    """Cut strips into lines no wider than a page, of about equal length.

    Neighbours with equally many images are cut together: the first line of each of them, then the second, and so on.
    """
    room = PAGE_WIDTH - _label_width(strips)
    lines: list[Strip] = []
    for count, neighbours in groupby(strips, lambda strip: len(strip.images)):
        together = list(neighbours)
        most = max(1, room // max(_side(strip.images, None) + GAP for strip in together))
        columns = math.ceil(count / math.ceil(count / most))
        for part in (slice(start, start + columns) for start in range(0, count, columns)):
            lines += [Strip(strip.label, strip.images[part], strip.captions[part]) for strip in together]
    return lines


def image_grid(strips: Sequence[Strip], title: str, zoom: int | None = None, note: str = "") -> Figure:
    """Draw a grid with one strip per row, below `title` and above `note`.

    Every pixel of an image becomes `zoom`×`zoom` pixels of the figure, unsmoothed. For None, the zoom brings images
    close to `IMAGE_SIDE`.
    """
    mpl.rcdefaults()  # in place of what a matplotlibrc of the user's says
    left = _label_width(strips)
    width = max(LEAST_WIDTH, *(left + len(strip.images) * (_side(strip.images, zoom) + GAP) for strip in strips))
    headline, footnote = (wrapped(text, width - 2 * GAP) for text in (title, note))
    captions = [[wrapped(text, _side(strip.images, zoom)) for text in strip.captions] for strip in strips]
    heights = [_height(strip, lines, zoom) for strip, lines in zip(strips, captions, strict=True)]
    top = GAP + (_lines(headline) + 0.5) * LINE
    height = math.ceil(top + sum(heights) + (_lines(footnote) + 0.5) * LINE)
    figure, axes = _canvas(width, height)
    _write(axes, GAP, GAP, headline)
    for strip, lines, strip_height in zip(strips, captions, heights, strict=True):
        _draw(axes, strip, lines, (left, round(top)), zoom)
        top += strip_height
    _write(axes, GAP, top, footnote, color=GREY)
    return figure


def wrapped(text: str, width: float) -> str:
    """Break a text into lines no wider than `width` pixels, unless a line is one word."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}".lstrip()
            if line and _text_width(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def _same_originals(one: ImagePairs, other: ImagePairs) -> bool:
    return one.dataset == other.dataset and torch.equal(one.originals, other.originals)


def _canvas(width: int, height: int) -> tuple[Figure, Axes]:
    """Make a figure of this size in pixels, and axes that fill it; their unit is the pixel, from the upper left."""
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _draw(axes: Axes, strip: Strip, captions: Sequence[str], corner: tuple[int, int], zoom: int | None) -> None:
    left, top = corner
    side = _side(strip.images, zoom)
    bottom = top + _zoom(strip.images, zoom) * strip.images.shape[-2]
    label = wrapped(strip.label, LABEL_WIDTH)
    _write(axes, left - GAP, (top + bottom - _lines(label) * LINE) / 2, label, ha="right")
    for number, image in enumerate(strip.images):
        x = left + number * (side + GAP)
        if image.isfinite().all():
            pixels = image.permute(1, 2, 0).numpy()
            axes.imshow(pixels, interpolation="none", extent=(x, x + side, bottom, top), aspect="auto", vmin=0, vmax=1)
        else:
            axes.fill([x, x + side, x + side, x], [top, top, bottom, bottom], color="0.85", linewidth=0)
            axes.plot([x, x + side, math.nan, x, x + side], [top, bottom, math.nan, bottom, top], "0.5", linewidth=0.7)
        if captions:
            _write(axes, x + side / 2, bottom + GAP / 2, captions[number], ha="center")


def _height(strip: Strip, captions: Sequence[str], zoom: int | None) -> int:
    """Pixels from the upper edge of a strip to that of the next."""
    images = _zoom(strip.images, zoom) * strip.images.shape[-2] + GAP
    below = GAP + LINE * max(map(_lines, captions)) if any(captions) else 0
    return max(images + below, LINE * _lines(wrapped(strip.label, LABEL_WIDTH)) + GAP)


def _zoom(images: Tensor, zoom: int | None) -> int:
    return zoom or max(1, round(IMAGE_SIDE / images.shape[-1]))


def _side(images: Tensor, zoom: int | None) -> int:
    """Width of an image, in pixels of the figure."""
    return _zoom(images, zoom) * images.shape[-1]


def _label_width(strips: Sequence[Strip]) -> int:
    """Width of the labels left of the images, in pixels."""
    widest = max(_text_width(line) for strip in strips for line in wrapped(strip.label, LABEL_WIDTH).split("\n"))
    return math.ceil(widest) + 2 * GAP


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write a text, PSNRs that are `marked` in grey; `y` is the upper edge of its first line."""
    for number, line in enumerate(text.split("\n")):
        baseline = y + (number + 0.75) * LINE
        grey = {"color": GREY} if line.endswith(BELOW_FLAT) else {}
        axes.text(x, baseline, line, fontsize=FONT_POINTS, va="baseline", parse_math=False, **style | grey)


def _lines(text: str) -> int:
    return len(text.split("\n")) if text else 0


@cache
def _text_width(line: str) -> float:
    """Width of a line of text, in pixels."""
    width, _, _ = text_to_path.get_text_width_height_descent(line, FontProperties(size=FONT_POINTS), ismath=False)
    return float(width) * DPI / 72
