"""Style of all charts: small type, no frames, colours for colour-blind readers, the title above the panels."""

import math
import re
from typing import Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from invgrad.paper.weights import power
from invgrad.report.image_grid import DPI, FONT_POINTS, GREY, wrapped

Shared = Literal["none", "all", "row", "col"]

PALETTE: list[tuple[float, float, float]] = list(sns.color_palette("colorblind"))
"""Ten colours, RGB in [0, 1]; plots take them in this order."""
FAINT = "0.72"
"""Grey of what is drawn behind a mean: single images, single restarts."""
MARGIN = 0.06
"""Inches around and between panels."""
SIDE = 0.5
"""Inches of a panel's width that the numbers and the label beside its axis take at most."""
LINE = 1.4 * FONT_POINTS / 72
"""Inches from one line of the title to the next."""

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
    note: str = "",
    width: float = 2.3,
    height: float = 1.9,
    share_x: Shared = "none",
    share_y: Shared = "none",
) -> tuple[Figure, np.ndarray]:
    """Make a figure and its axes, an array [rows, columns] also for a single row or column.

    Each panel, with its labels, takes `width` × `height` inches. The title stands above the panels and the note below
    them, both wrapped. Matplotlib's settings become its defaults and `LOOK`, for everything that is drawn later.
    """
    mpl.rcdefaults()  # in place of what a matplotlibrc of the user's says
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font="DejaVu Sans", rc=LOOK)
    across = width * columns
    headline, footnote = (_wrapped(text, across - 2 * MARGIN) for text in (title, note))
    above, below = (len(lines) * LINE + bool(lines) * MARGIN for lines in (headline, footnote))
    down = above + height * rows + below
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(across, down), sharex=share_x, sharey=share_y, layout="constrained"
    )
    room = (0, below / down, 1, 1 - (above + below) / down)
    figure.get_layout_engine().set(w_pad=MARGIN, h_pad=MARGIN, rect=room)  # type: ignore[union-attr, call-arg]
    spacing = LINE * 72 / FONT_POINTS / 1.2  # matplotlib's own lines are 1.2 times the font high
    x, y = MARGIN / across, MARGIN / down
    figure.text(x, 1 - y, "\n".join(headline), va="top", linespacing=spacing)
    figure.text(x, y, "\n".join(footnote), va="bottom", linespacing=spacing, color=GREY)
    return figure, axes


def legend_below(figure: Figure) -> None:
    """Add one legend for all panels below them, with each label once."""
    shown: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    engine = figure.get_layout_engine()
    left, bottom, width, height = room = engine.get()["rect"]  # type: ignore[union-attr]
    for columns in range(len(shown), 0, -1):
        legend = figure.legend(shown.values(), shown, loc="lower center", ncols=columns, bbox_to_anchor=room)
        if legend.get_window_extent().width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    taken = legend.get_window_extent().height / figure.bbox.height + MARGIN / figure.get_figheight()
    engine.set(rect=(left, bottom + taken, width, height - taken))  # type: ignore[union-attr, call-arg]


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with a few plain numbers, however few decades the data spans.

    Call it after the data is drawn; it changes nothing if no value is positive.
    """
    if not math.isfinite(axes.dataLim.minposx if which == "x" else axes.dataLim.minposy):
        return
    axes.set(**{f"{which}scale": "log"})
    axis, (low, high) = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    decades = math.log10(high / low)
    subs = (1, 2, 5) if decades < 1 else (1, 3) if decades < 2 else (1,)
    powers = LogLocator(subs=subs, numticks=4 if which == "x" else 6)
    axis.set_major_locator(powers if decades > 0.7 else MaxNLocator(3))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value) if low < 1e-3 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def heading(axes: Axes, *lines: str) -> None:
    """Write lines above a panel, each broken where it would not fit the panel's width, behind a comma if it can be."""
    width = axes.figure.get_figwidth() / axes.get_gridspec().ncols - SIDE  # type: ignore[union-attr]
    glued = re.sub("(?<![,\n]) ", "\u00a0", "\n".join(lines))
    parts = "\n".join(_wrapped(glued, width)).replace("\u00a0", " ")
    axes.set_title("\n".join(_wrapped(parts, width)))


def flat_line(axes: Axes, psnr: float) -> None:
    """Draw a dashed horizontal line at the PSNR of the flat image; none if that is not a number."""
    if not math.isnan(psnr):
        axes.axhline(psnr, color=GREY, linewidth=0.7, linestyle="--", zorder=0, label="flat image")


def mark(axes: Axes, x: float, text: str) -> None:
    """Draw a dotted vertical line at `x` with a short text at its upper end."""
    axes.axvline(x, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
    axes.annotate(
        text,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(2, 0),
        textcoords="offset points",
        va="top",
        color=GREY,
    )


def _wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines no wider than `width` inches; none if it is empty."""
    return wrapped(text.strip(), width * DPI).split("\n") if text.strip() else []
