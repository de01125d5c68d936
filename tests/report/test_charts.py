"""The common look of charts: everything fits, nothing overlaps, and a legend names each thing once."""

import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.text import Text

from invgrad.report.charts import flat_line, heading, legend_below, log_scale, mark, subplots
from invgrad.report.export import save_figure
from invgrad.report.image_grid import FONT_POINTS, Strip, image_grid
from invgrad.results.provenance import Stamp

TITLE = "A title that is much too long for a single line above a single panel. " * 3
STAMP = Stamp("0123abcd", "demo", "fedcba98")


@pytest.fixture(autouse=True)
def _defaults_restored() -> Iterator[None]:
    with mpl.rc_context():
        yield
    plt.close("all")


def _filled(rows: int, columns: int, title: str = TITLE) -> tuple[Figure, np.ndarray]:
    figure, axes = subplots(rows, columns, title, note=TITLE)
    for panel in axes.flat:
        panel.plot([0, 1], [0, 1], label="mean")
        panel.plot([0, 1], [1, 0], label="one image")
        panel.set(xlabel="iterations", ylabel="PSNR in dB", title="panel")
        mark(panel, 0.5, "paper")
    return figure, axes


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (2, 3)])
def test_axes_are_an_array_of_rows_and_columns(rows: int, columns: int) -> None:
    assert subplots(rows, columns, "title")[1].shape == (rows, columns)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3)])
def test_title_panels_and_legend_stay_inside_the_figure_and_apart(rows: int, columns: int) -> None:
    figure, axes = _filled(rows, columns)
    legend_below(figure)
    figure.canvas.draw()
    title, note = figure.texts
    boxes = [part.get_tightbbox() for part in (title, note, *axes.flat, *figure.legends)]
    edge = figure.bbox
    assert all(edge.x0 <= b.x0 and edge.y0 <= b.y0 and b.x1 <= edge.x1 and b.y1 <= edge.y1 for b in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_longer_title_makes_the_figure_taller_not_the_panels_smaller() -> None:
    (short, few), (long, many) = _filled(1, 1, "title"), _filled(1, 1)
    for figure in (short, long):
        figure.canvas.draw()
    assert long.get_figheight() > short.get_figheight()
    assert many[0, 0].get_window_extent().height == pytest.approx(few[0, 0].get_window_extent().height, rel=0.1)


def test_all_type_has_the_same_size() -> None:
    figure, _ = _filled(2, 2)
    legend_below(figure)
    figure.canvas.draw()
    assert {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()} == {FONT_POINTS}


def test_panels_have_no_frame() -> None:
    _, axes = subplots(1, 1, "title")
    assert [side for side, spine in axes[0, 0].spines.items() if spine.get_visible()] == ["left", "bottom"]


def test_axes_are_shared_as_asked() -> None:
    _, axes = subplots(1, 2, "title", share_y="all")
    axes[0, 0].set(ylim=(3, 4), xlim=(5, 6))
    assert axes[0, 1].get_ylim() == (3, 4)
    assert axes[0, 1].get_xlim() != (5, 6)


def test_the_legend_names_each_thing_once() -> None:
    figure, axes = _filled(1, 3)
    axes[0, 2].plot([0, 1], [0, 0], label="only here")
    legend_below(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean", "one image", "only here"]


@pytest.mark.parametrize("width", [1.6, 2.3])
def test_headings_of_panels_are_whole_and_apart_and_break_behind_commas(width: float) -> None:
    figure, axes = subplots(1, 3, "title", width=width, share_y="row")
    for panel in axes.flat:
        panel.set(ylabel="gradient-matching loss")
        heading(panel, "ResNet-20, base width 8, untrained", "Eucl. loss + L-BFGS", "n = 20 images × 3 network seeds")
    figure.canvas.draw()
    boxes = [panel.title.get_window_extent() for panel in axes.flat]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    lines = axes[0, 0].get_title().split("\n")
    assert " ".join(lines).startswith("ResNet-20, base width 8, untrained Eucl. loss + L-BFGS n = 20")
    assert lines[0].endswith((",", "untrained"))


def test_the_flat_image_is_a_line_with_a_name_unless_its_psnr_is_not_known() -> None:
    _, axes = subplots(1, 2, "title")
    for panel, psnr in zip(axes.flat, (12.4, math.nan), strict=True):
        panel.plot([0, 1], [15, 18], label="mean")
        flat_line(panel, psnr)
    assert list(axes[0, 0].lines[-1].get_ydata()) == [12.4, 12.4]
    assert axes[0, 0].get_ylim()[0] < 12.4
    assert axes[0, 0].get_legend_handles_labels()[1] == ["mean", "flat image"]
    assert axes[0, 1].get_legend_handles_labels()[1] == ["mean"]


def test_small_numbers_of_an_axis_are_powers_of_ten() -> None:
    figure, axes = subplots(1, 1, "title")
    axes[0, 0].plot([1e-6, 1], [0, 1])
    log_scale(axes[0, 0], "x")
    figure.canvas.draw()
    texts = {label.get_text() for label in axes[0, 0].get_xticklabels()}
    assert {"1e-6", "1e-2"} <= texts or {"1e-6", "1e-3"} <= texts
    assert not {"1e-06", "0.01", "0.001"} & texts


def test_a_mark_stands_at_its_place_and_leaves_the_limits_of_the_other_axis() -> None:
    _, axes = subplots(1, 1, "title")
    axes[0, 0].plot([0, 1], [2, 3])
    before = axes[0, 0].get_ylim()
    mark(axes[0, 0], 0.25, "paper")
    assert list(axes[0, 0].lines[-1].get_xdata()) == [0.25, 0.25]
    assert axes[0, 0].texts[0].get_text() == "paper"
    assert axes[0, 0].get_ylim() == before


@pytest.mark.parametrize("span", [1.1, 2, 3, 5, 8, 30, 90, 1e3, 1e8])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_logarithmic_axis_has_a_few_plain_numbers(which: str, span: float) -> None:
    figure, axes = subplots(1, 1, "title")
    axes[0, 0].plot([3e-5, 3e-5 * span], [3e-5, 3e-5 * span])
    log_scale(axes[0, 0], which)
    figure.canvas.draw()
    axis, limits = (
        (axes[0, 0].xaxis, axes[0, 0].get_xlim()) if which == "x" else (axes[0, 0].yaxis, axes[0, 0].get_ylim())
    )
    shown = [tick for tick in axis.get_major_ticks() if limits[0] <= tick.get_loc() <= limits[1]]
    boxes = [tick.label1.get_window_extent() for tick in shown]
    assert 1 <= len(shown) <= 6
    assert [float(tick.label1.get_text()) for tick in shown] == pytest.approx([tick.get_loc() for tick in shown])
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert not any(label.get_text() for label in axis.get_minorticklabels())


@pytest.mark.parametrize("values", [[], [float("nan")], [0, -1]])
def test_without_positive_data_an_axis_stays_linear(values: list[float]) -> None:
    figure, axes = subplots(1, 1, "title")
    axes[0, 0].plot(range(len(values)), values)
    log_scale(axes[0, 0], "y")
    figure.canvas.draw()
    assert axes[0, 0].get_yscale() == "linear"


USERS_OWN = {
    "text.usetex": True,
    "font.family": "monospace",
    "font.size": 20,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "savefig.facecolor": "red",
    "axes.facecolor": "black",
    "axes.prop_cycle": cycler(color=["black"]),
    "pdf.fonttype": 42,
    "image.interpolation": "bicubic",
    "image.origin": "lower",
    "lines.linestyle": ":",
}


def test_a_matplotlibrc_of_the_users_reaches_no_figure(tmp_path: Path) -> None:
    """No LaTeX is asked for, and every file is the same to the last byte."""

    def files(folder: str) -> dict[str, bytes]:
        (tmp_path / folder).mkdir()
        figure = _filled(1, 2)[0]
        legend_below(figure)
        save_figure(figure, tmp_path / folder / "chart", TITLE, STAMP)
        mpl.rcParams.update(users)
        grid = image_grid([Strip("label", torch.rand(2, 3, 8, 8, generator=torch.Generator()), ("a", "b"))], TITLE)
        save_figure(grid, tmp_path / folder / "grid", TITLE, STAMP)
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    users: dict[str, Any] = {}
    plain = files("plain")
    users = USERS_OWN
    mpl.rcParams.update(users)
    assert sorted(plain) == ["chart.pdf", "chart.png", "grid.pdf", "grid.png"]
    assert files("users") == plain
