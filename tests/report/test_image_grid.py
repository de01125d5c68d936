"""Grids of images show every pixel as it is, each with its own caption, inside the figure."""

import math
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from invgrad.metrics.image_pairs import ImagePairs
from invgrad.report.export import save_figure
from invgrad.report.image_grid import (
    DPI,
    GAP,
    GREY,
    LEAST_WIDTH,
    PAGE_WIDTH,
    Strip,
    above,
    beside,
    decibels,
    image_grid,
    in_lines,
)
from invgrad.results.provenance import SOFTWARE, Stamp

LONG = "a label of so many words that no grid of images has room for it on one line"


@pytest.fixture(autouse=True)
def _close_figures() -> None:
    plt.close("all")


def random(*shape: int, seed: int = 0) -> Tensor:
    """Of values that eight bits hold."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)) / 255


def gallery(dataset: str, *, originals: int, reconstructions: int, psnr: list[float]) -> ImagePairs:
    """Originals and reconstructions are named by their seeds."""
    count = len(psnr)
    images, found = (random(count, 3, 8, 8, seed=seed) for seed in (originals, reconstructions))
    numbers = list(range(count))
    return ImagePairs(dataset, "packaged", numbers, numbers, numbers, numbers, images, found, psnr, [7.5] * count)


def pixels(figure: Figure) -> np.ndarray:
    """uint8 [height, width, 3], as saved."""
    file = BytesIO()
    figure.savefig(file, dpi=DPI, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def find(image: Tensor, zoom: int, drawn: np.ndarray) -> list[tuple[int, int]]:
    """The positions (row, column) in a drawing at which an image stands, enlarged pixel by pixel."""
    wanted = (image * 255).round().byte().permute(1, 2, 0).numpy().repeat(zoom, 0).repeat(zoom, 1)
    windows = np.lib.stride_tricks.sliding_window_view(drawn, wanted.shape)[:, :, 0]
    corners = np.argwhere((windows[:, :, ::zoom, ::zoom] == wanted[::zoom, ::zoom]).all((2, 3, 4)))
    return [(y, x) for y, x in corners.tolist() if np.array_equal(windows[y, x], wanted)]


@pytest.mark.parametrize(("value", "text"), [(18.324, "18.32 dB"), (math.inf, "∞ dB"), (math.nan, "failed")])
def test_a_psnr_is_written_so_that_exact_and_failed_ones_are_told_apart(value: float, text: str) -> None:
    assert decibels(value) == text


def test_a_psnr_below_that_of_the_flat_image_is_marked_and_grey() -> None:
    assert [decibels(value, 10) for value in (9.99, 10, math.inf, math.nan)] == [
        "9.99 dB ↓",
        "10.00 dB",
        "∞ dB",
        "failed",
    ]
    shown = gallery("cifar10", originals=0, reconstructions=1, psnr=[7.0, 8.0])
    texts = {text.get_text(): text.get_color() for text in image_grid(above([("a", shown)]), "").axes[0].texts}
    assert texts["7.00 dB ↓"] == GREY
    assert texts["8.00 dB"] == texts["a"] != GREY


@pytest.mark.parametrize(("zoom", "used"), [(3, 3), (None, 21)])
def test_every_pixel_is_a_square_of_its_colour(zoom: int | None, used: int) -> None:
    images = random(3, 3, 8, 8)
    drawn = pixels(image_grid([Strip("first", images[:2], ["a", "b"]), Strip("second", images[2:])], "Title", zoom))
    places = [find(image, used, drawn) for image in images]
    assert [len(each) for each in places] == [1, 1, 1]
    (row, left), (same_row, right), (below, same_column) = (each[0] for each in places)
    assert (same_row, same_column) == (row, left)
    assert right == left + 8 * used + GAP
    assert below > row + 8 * used + GAP


@pytest.mark.parametrize(("side", "zoom"), [(32, 5), (64, 3), (224, 1)])
def test_images_of_any_size_are_drawn_about_equally_large(side: int, zoom: int) -> None:
    strip = Strip("", random(20, 3, side, side))
    assert round(image_grid([strip], "").get_figwidth() * DPI) == pytest.approx(20 * (side * zoom + GAP), abs=3 * GAP)


def test_a_missing_image_is_a_crossed_grey_box() -> None:
    images = torch.stack([random(3, 8, 8), torch.full((3, 8, 8), torch.nan)])
    drawn = pixels(image_grid([Strip("", images)], "", zoom=10))
    ((row, column),) = find(images[0], 10, drawn)
    box = drawn[row : row + 80, column + 80 + GAP : column + 160 + GAP]
    grey, line = box[10, 40], box[40, 40]
    assert len(set(grey.tolist())) == len(set(line.tolist())) == 1
    assert line[0] < grey[0] < 255
    assert (drawn[row + 10, column + 160 + GAP + 1] == 255).all()


def test_all_text_is_inside_the_figure_and_apart() -> None:
    images = random(6, 3, 32, 32)
    captions = [f"image {number} of a very deep network\n{decibels(-math.inf)}" for number in range(6)]
    strips = [Strip(LONG, images, captions), Strip("short", images), Strip("x" * 60, images)]
    figure = image_grid(strips, LONG * 3, zoom=5, note=LONG * 3)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert {text.get_fontsize() for text in figure.axes[0].texts} == {7}
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            apart = box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 or other.y0 >= box.y1
            assert apart, (box, other)
    extents = [image.get_window_extent() for image in figure.axes[0].images]
    assert not any(box.overlaps(extent) for box in boxes for extent in extents)


def test_dollar_signs_are_no_formulas_and_a_small_grid_leaves_room_for_the_title() -> None:
    figure = image_grid([Strip("$a$", random(1, 3, 4, 4), ["$b$"])], "from $HOME to $HOME")
    assert figure.get_figwidth() * DPI == LEAST_WIDTH
    assert "from $HOME to $HOME" in [text.get_text() for text in figure.axes[0].texts]
    assert len(pixels(figure))


@pytest.mark.parametrize("count", [1, 10, 11, 16, 50, 100])
def test_lines_fit_a_page_and_hold_every_image_in_order(count: int) -> None:
    captions = [str(number) for number in range(count)]
    strips = [Strip("original", random(count, 3, 32, 32)), Strip("found", random(count, 3, 32, 32, seed=1), captions)]
    lines = in_lines(strips)
    for number, strip in enumerate(strips):
        mine = lines[number::2]
        assert {each.label for each in mine} == {strip.label}
        assert torch.equal(torch.cat([each.images for each in mine]), strip.images)
        assert [caption for each in mine for caption in each.captions] == list(strip.captions)
        lengths = [len(each.images) for each in mine]
        assert all(longer == lengths[0] for longer in lengths[:-1])
        assert lengths[-1] <= lengths[0]
    assert image_grid(lines, "").get_figwidth() * DPI <= PAGE_WIDTH
    plt.close("all")


def test_strips_of_other_lengths_are_cut_apart_from_each_other() -> None:
    strips = [Strip(label, random(count, 3, 32, 32)) for label, count in (("a", 16), ("b", 16), ("c", 2), ("d", 16))]
    lines = in_lines(strips)
    assert [(line.label, len(line.images)) for line in lines] == [
        *(("a", 8), ("b", 8), ("a", 8), ("b", 8)),
        ("c", 2),
        *(("d", 8), ("d", 8)),
    ]


def test_galleries_of_the_same_images_stand_below_one_strip_of_originals() -> None:
    one = gallery("cifar10", originals=0, reconstructions=1, psnr=[12.0, math.nan])
    other = gallery("photos10", originals=0, reconstructions=3, psnr=[math.inf, 9.876])
    more = gallery("photos10", originals=2, reconstructions=5, psnr=[6.0, 5.0])
    again = gallery("cifar10", originals=0, reconstructions=4, psnr=[8.0, 7.0])
    strips = above([("a", one), ("b", other), ("c", again), ("d", more)])
    assert [strip.label for strip in strips] == [
        *("original (cifar10)", "a", "c"),
        *("original (photos10)", "b"),
        *("original (photos10)", "d"),
    ]
    assert [list(strip.captions) for strip in strips[1:5]] == [
        ["12.00 dB", "failed"],
        ["8.00 dB", "7.00 dB ↓"],
        [],
        ["∞ dB", "9.88 dB"],
    ]
    expected = [one.originals, one.reconstructions, again.reconstructions, other.originals, other.reconstructions]
    expected += [more.originals, more.reconstructions]
    assert all(torch.equal(strip.images, images) for strip, images in zip(strips, expected, strict=True))


def test_an_original_stands_once_beside_the_galleries_that_share_it() -> None:
    galleries = [gallery("cifar10", originals=seed, reconstructions=9 - seed, psnr=[10.0 + seed]) for seed in (0, 0, 2)]
    strip = beside([(str(number), each) for number, each in enumerate(galleries)])
    assert list(strip.captions) == [
        "original (cifar10)",
        "0\n10.00 dB",
        "1\n10.00 dB",
        "original (cifar10)",
        "2\n12.00 dB",
    ]
    first, second, third = galleries
    shown = [first.originals, first.reconstructions, second.reconstructions, third.originals, third.reconstructions]
    assert torch.equal(strip.images, torch.cat(shown))
    assert [not torch.equal(*pair) for pair in pairwise(strip.images)] == [True, False, True, True]


def test_a_saved_figure_says_how_it_was_made_and_nothing_that_changes_from_run_to_run(tmp_path: Path) -> None:
    stamp = Stamp("0123abcd+changes", "tiny", "fedcba9876543210")
    figure = image_grid([Strip("", random(1, 3, 8, 8))], "Title")
    for name in ("one", "other"):
        save_figure(figure, tmp_path / name, "Weight α = 1 %", stamp)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        told = {key: picture.info[key] for key in ("Title", "Software", "Commit", "Scale", "Settings")}
    assert told == {
        "Title": "Weight α = 1 %",
        "Software": SOFTWARE,
        "Commit": "0123abcd+changes",
        "Scale": "tiny",
        "Settings": "fedcba9876543210",
    }
    document = (tmp_path / "one.pdf").read_bytes()
    assert b"/Keywords (commit=0123abcd+changes, scale=tiny, settings=fedcba9876543210)" in document
    assert f"/Creator ({SOFTWARE})".encode() in document
    assert "Weight α = 1 %".encode("utf-16-be") in document
    assert b"Date" not in document
