"""What several notebooks draw: grids of images at integer zoom, saved with a note of where they come from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from torch import Tensor

from invgrad.metrics.image_pairs import ImagePairs

DPI = 200
FONT_POINTS = 7.0
LINE = round(FONT_POINTS * 1.45 * DPI / 72)
"""Pixels from one line of text to the next."""
GAP = 6
"""Pixels between images."""
IMAGE_SIDE = 170
"""About how many pixels of a figure an image is wide."""
LABEL_WIDTH = 180
"""Pixels at which the labels of strips are wrapped."""
LEAST_WIDTH, PAGE_WIDTH = 900, 2040
"""Of a figure, in pixels: narrower grids leave white beside them, and `in_lines` cuts wider ones."""


@dataclass(frozen=True)
class Strip:
    """One row of a grid."""

    label: str
    images: Tensor
    """[n, 3, h, w] in [0, 1]; not a number where there is no image, which is drawn as a crossed grey box."""
    captions: Sequence[str] = ()
    """Under each image, wrapped at its width; empty for none."""


def decibels(psnr: float) -> str:
    """`18.32 dB`, `∞ dB` for an exact reconstruction, `failed` for none (not a number)."""
    if math.isnan(psnr):
        return "failed"
    return "∞ dB" if math.isinf(psnr) else f"{psnr:.2f} dB"


def above(galleries: Sequence[tuple[str, ImagePairs]]) -> list[Strip]:
    """Originals above reconstructions: a strip of reconstructions for every label and gallery, with the PSNR of each
    image. Galleries of the same originals stand together, below these.
    """
    groups: list[tuple[ImagePairs, list[Strip]]] = []
    for label, gallery in galleries:
        strips = next((strips for first, strips in groups if _same_originals(first, gallery)), None)
        if strips is None:
            strips = [Strip(f"original ({gallery.dataset})", gallery.originals)]
            groups.append((gallery, strips))
        strips.append(Strip(label, gallery.reconstructions, [decibels(value) for value in gallery.psnr]))
    return [strip for _, strips in groups for strip in strips]


def beside(galleries: Sequence[tuple[str, ImagePairs]]) -> Strip:
    """The first image of every gallery in one strip, with its label and PSNR as caption. Its original stands left of
    it, unless the gallery before has the same.
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
        captions.append(f"{label}\n{decibels(gallery.psnr[0])}")
        shown = original
    return Strip("", torch.stack(images), captions)


def in_lines(strips: Sequence[Strip]) -> list[Strip]:
    """The strips cut into lines no wider than a page, of about equal length. Neighbours of equally many images are cut
    together: the first line of each of them, then the second ….
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
    """A grid with one strip a row, below `title` and above `note`. Every pixel of an image is `zoom`×`zoom` pixels of
    the figure, unsmoothed; if None, as many as bring an image close to `IMAGE_SIDE`.
    """
    left = _label_width(strips)
    width = max(LEAST_WIDTH, *(left + len(strip.images) * (_side(strip.images, zoom) + GAP) for strip in strips))
    headline, footnote = (_wrapped(text, width - 2 * GAP) for text in (title, note))
    captions = [[_wrapped(text, _side(strip.images, zoom)) for text in strip.captions] for strip in strips]
    heights = [_height(strip, lines, zoom) for strip, lines in zip(strips, captions, strict=True)]
    top = GAP + (_lines(headline) + 0.5) * LINE
    height = math.ceil(top + sum(heights) + (_lines(footnote) + 0.5) * LINE)
    figure, axes = _canvas(width, height)
    _write(axes, GAP, GAP, headline)
    for strip, lines, strip_height in zip(strips, captions, heights, strict=True):
        _draw(axes, strip, lines, (left, round(top)), zoom)
        top += strip_height
    _write(axes, GAP, top, footnote, color="0.35")
    return figure


def _same_originals(one: ImagePairs, other: ImagePairs) -> bool:
    return one.dataset == other.dataset and torch.equal(one.originals, other.originals)


def _canvas(width: int, height: int) -> tuple[Figure, Axes]:
    """A new figure of so many pixels, and axes all over it whose unit is the pixel, from the upper left."""
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _draw(axes: Axes, strip: Strip, captions: Sequence[str], corner: tuple[int, int], zoom: int | None) -> None:
    left, top = corner
    side = _side(strip.images, zoom)
    bottom = top + _zoom(strip.images, zoom) * strip.images.shape[-2]
    label = _wrapped(strip.label, LABEL_WIDTH)
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
    return max(images + below, LINE * _lines(_wrapped(strip.label, LABEL_WIDTH)) + GAP)


def _zoom(images: Tensor, zoom: int | None) -> int:
    return zoom or max(1, round(IMAGE_SIDE / images.shape[-1]))


def _side(images: Tensor, zoom: int | None) -> int:
    """How many pixels of the figure an image is wide."""
    return _zoom(images, zoom) * images.shape[-1]


def _label_width(strips: Sequence[Strip]) -> int:
    """Pixels left of the images."""
    widest = max(_text_width(line) for strip in strips for line in _wrapped(strip.label, LABEL_WIDTH).split("\n"))
    return math.ceil(widest) + 2 * GAP


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text whose first line has its upper edge at `y`."""
    for number, line in enumerate(text.split("\n")):
        baseline = y + (number + 0.75) * LINE
        axes.text(x, baseline, line, fontsize=FONT_POINTS, va="baseline", parse_math=False, **style)


def _lines(text: str) -> int:
    return len(text.split("\n")) if text else 0


def _wrapped(text: str, width: float) -> str:
    """The text with line breaks, so that no line is wider than so many pixels, unless it is one word."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".lstrip()
            if line and _text_width(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


@cache
def _text_width(line: str) -> float:
    """Pixels."""
    return float(TextPath((0, 0), line, size=FONT_POINTS).get_extents().width) * DPI / 72 if line else 0.0
