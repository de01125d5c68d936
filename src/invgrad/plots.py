"""What several notebooks draw: grids of images at integer zoom, saved with a note of where they come from."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from invgrad import __version__
from invgrad.results import source_version, write

DPI = 200
FONT_POINTS = 7.0
CHARACTER_WIDTH = 0.62
"""Of the font, at most, relative to its size."""
GAP = 6
"""Pixels between images."""


@dataclass(frozen=True)
class Strip:
    """One row of a grid."""

    label: str
    images: Tensor
    """[n, 3, h, w] in [0, 1]."""
    captions: Sequence[str] = ()
    """A line under each image; empty for none."""


def image_grid(strips: Sequence[Strip], title: str, zoom: int = 5) -> Figure:
    """A grid with one strip a row; every pixel of an image is `zoom`×`zoom` pixels of the figure, unsmoothed."""
    line = round(FONT_POINTS * 1.5 * DPI / 72)
    label_width = round(max(len(strip.label) for strip in strips) * FONT_POINTS * CHARACTER_WIDTH * DPI / 72) + GAP
    widths = [len(strip.images) * (strip.images.shape[-1] * zoom + GAP) for strip in strips]
    heights = [strip.images.shape[-2] * zoom + (line if any(strip.captions) else GAP) for strip in strips]
    width = label_width + max(widths)
    headline = textwrap.wrap(title, int(width / (CHARACTER_WIDTH * FONT_POINTS * DPI / 72)))
    top = (len(headline) + 1) * line
    height = top + sum(heights)
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.text(GAP / width, 1 - 0.3 * line / height, "\n".join(headline), fontsize=FONT_POINTS, va="top")
    for strip, strip_height in zip(strips, heights, strict=True):
        _draw(figure, strip, (width, height), (label_width, top), zoom)
        top += strip_height
    return figure


def save_figure(figure: Figure, stem: Path, title: str) -> None:
    """Write `<stem>.png` and `<stem>.pdf`; the metadata carries the title, the version and the commit."""
    commit, dirty = source_version()
    origin = f"invgrad {__version__}, commit {commit}{' with uncommitted changes' if dirty else ''}"
    write(
        stem.with_suffix(".png"),
        lambda path: figure.savefig(path, dpi=DPI, metadata={"Title": title, "Software": origin}),
    )
    write(
        stem.with_suffix(".pdf"),
        lambda path: figure.savefig(path, metadata={"Title": title, "Creator": origin, "CreationDate": None}),
    )


def _draw(figure: Figure, strip: Strip, size: tuple[int, int], corner: tuple[int, int], zoom: int) -> None:
    width, height = size
    left, top = corner
    rows, columns = (side * zoom for side in strip.images.shape[-2:])
    middle = 1 - (top + rows / 2) / height
    figure.text((left - GAP) / width, middle, strip.label, fontsize=FONT_POINTS, ha="right", va="center")
    for number, image in enumerate(strip.images):
        x = left + number * (columns + GAP)
        axes = figure.add_axes((x / width, 1 - (top + rows) / height, columns / width, rows / height))
        axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="none", vmin=0, vmax=1)
        axes.axis("off")
        if strip.captions:
            below = 1 - (top + rows + GAP / 2) / height
            centre = (x + columns / 2) / width
            figure.text(centre, below, strip.captions[number], fontsize=FONT_POINTS, ha="center", va="top")
