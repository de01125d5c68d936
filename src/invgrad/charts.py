"""One look for all charts: small type, no frames, colours that colour-blind readers tell apart, the caption above."""

import textwrap
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invgrad.plots import DPI, FONT_POINTS

Shared = Literal["none", "all", "row", "col"]

PALETTE: list[tuple[float, float, float]] = list(sns.color_palette("colorblind"))
"""Ten colours, RGB in [0, 1]; plots take them in this order."""
FAINT = "0.72"
"""The grey of what stands behind a mean: single images, single restarts."""
MARGIN = 0.06
"""Inches around and between panels."""
CHARACTER_WIDTH = 0.62
"""Of the font, at most, relative to its size."""

LOOK = {
    "font.size": FONT_POINTS,
    "figure.titlesize": FONT_POINTS,
    "axes.titlesize": FONT_POINTS,
    "axes.labelsize": FONT_POINTS,
    "xtick.labelsize": FONT_POINTS,
    "ytick.labelsize": FONT_POINTS,
    "legend.fontsize": FONT_POINTS,
    "legend.title_fontsize": FONT_POINTS,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.dpi": DPI,
}


def subplots(
    rows: int,
    columns: int,
    title: str,
    *,
    width: float = 2.3,
    height: float = 1.9,
    share_x: Shared = "none",
    share_y: Shared = "none",
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, an array [rows, columns] also for a single row or column; each panel, its labels included,
    takes `width` × `height` inches. The title is wrapped and stands above, in room of its own.

    Sets matplotlib's defaults to `LOOK`, so that what is added to the panels later looks alike.
    """
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font="DejaVu Sans", rc=LOOK)
    total = width * columns
    lines = textwrap.wrap(title, int((total - 2 * MARGIN) * 72 / (CHARACTER_WIDTH * FONT_POINTS)))
    headline = len(lines) * 1.3 * FONT_POINTS / 72
    figure, axes = plt.subplots(
        rows,
        columns,
        squeeze=False,
        figsize=(total, height * rows + headline + MARGIN),
        sharex=share_x,
        sharey=share_y,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=MARGIN, h_pad=MARGIN)  # type: ignore[union-attr, call-arg]
    figure.suptitle("\n".join(lines), x=MARGIN / total, ha="left", linespacing=1.3)
    return figure, axes


def legend_below(figure: Figure) -> None:
    """One legend for all panels, below them, in which each label stands once."""
    shown: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True)) | shown
    inches = figure.get_figwidth() - 2 * MARGIN
    entry = (max(map(len, shown)) * CHARACTER_WIDTH + 4) * FONT_POINTS / 72
    columns = max(1, min(len(shown), int(inches / entry)))
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns)


def mark(axes: Axes, x: float, text: str) -> None:
    """A dotted vertical line at `x` with a short text at its upper end."""
    axes.axvline(x, color="0.4", linewidth=0.7, linestyle=":", zorder=0)
    axes.annotate(
        text,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(2, 0),
        textcoords="offset points",
        va="top",
        color="0.4",
    )
