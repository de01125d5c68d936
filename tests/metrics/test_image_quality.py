"""Measures of how close a reconstruction is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invgrad.metrics.image_quality import align, best_order, best_shift, pair, psnr, rank_correlation, ssim


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_psnr_and_ssim_are_symmetric_and_know_the_exact_image(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 2, 3, 16, 16, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(psnr(a, b), psnr(b, a))
    assert psnr(a, a).tolist() == [float("inf")] * 2
    assert ssim(a, b) == pytest.approx(ssim(b, a))
    assert ssim(a, a) == pytest.approx([1, 1])
    noise = torch.full_like(a, 0.01)
    torch.testing.assert_close(psnr(a * 0.9 + noise, a * 0.9), torch.full((2,), 40.0, dtype=torch.float64))


@given(seed=st.integers(0, 2**31), height=st.integers(3, 8), width=st.integers(3, 8))
@settings(max_examples=20, deadline=None)
def test_the_best_shift_is_that_of_trying_them_all(seed: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, original = (1.4 * torch.rand(3, height, width, generator=generator) - 0.2 for _ in range(2))
    tried = {
        (down, right): psnr(found.roll((down, right), (1, 2))[None], original[None]).item()
        for down in range(height)
        for right in range(width)
    }
    *shift, best = best_shift(found, original)
    assert best == pytest.approx(max(tried.values()), rel=1e-5)
    assert tried[shift[0], shift[1]] == pytest.approx(best, rel=1e-5)


def test_a_moved_image_is_found() -> None:
    original = torch.rand(3, 16, 12, generator=torch.Generator().manual_seed(0))
    assert best_shift(original.roll((-5, 3), (1, 2)), original) == (5, 9, math.inf)
    down, right, value = best_shift(torch.full_like(original, torch.nan), original)
    assert (down, right) == (0, 0)
    assert math.isnan(value)


def test_rank_correlation_leaves_out_what_failed() -> None:
    assert rank_correlation([0.1, 0.2, 0.3], [math.inf, 20, 15]) == pytest.approx(-1)
    assert rank_correlation([0.1, math.nan, 0.2, 0.3], [9, 99, math.nan, 15]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    for costs, values in (([], []), ([1], [2]), ([1, 1], [2, 3]), ([1, math.nan], [2, 3])):
        assert math.isnan(rank_correlation(costs, values))


def test_the_assignment_is_the_best_as_a_whole() -> None:
    """Each on its own, two originals are closest to the first reconstruction; a failed one takes what is left."""
    originals, found = (
        torch.tensor(values)[:, None, None, None].expand(-1, 3, 2, 2)
        for values in ([0.5, 0.6, 0], [0.6, 0.2, torch.nan])
    )
    assert best_order(found[:2], originals[:2]).tolist() == [1, 0]
    assert best_order(found, originals).tolist() == [2, 0, 1]


@pytest.mark.parametrize("labels", [[[1], [2]], [[1, 2], [3, 4]]])
def test_a_single_image_is_never_assigned(labels: list[list[int]]) -> None:
    true = torch.tensor(labels)
    images = torch.rand(*true.shape, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    positions, assigned = pair(images.flip(1), torch.full_like(true, -1), images, true)
    several = true.shape[1] > 1
    assert assigned.tolist() == [several] * 2
    assert positions.tolist() == ([[1, 0]] * 2 if several else [[0]] * 2)


def test_images_of_one_label_are_assigned_among_each_other() -> None:
    true = torch.tensor([[3, 5, 3, 3], [1, 2, 3, 4]])
    images = torch.rand(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    positions, assigned = pair(images[:, [2, 1, 3, 0]], true, images, true)
    assert positions.tolist() == [[3, 1, 0, 2], [0, 1, 2, 3]]
    assert assigned.tolist() == [True, False]
    swapped = images[:, [1, 0, 2, 3]]
    assert pair(swapped, true, images, true)[0][0, 1] == 1, "another label stays where it is, whatever it looks like"


def test_reconstructions_stand_beside_their_originals() -> None:
    images = torch.randint(256, (2, 3, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.tensor([[0, 1, 2], [3, 4, 5]])
    turned = [2, 0, 1]
    found = ((images / 255 - 0.5) / 0.25)[:, turned]
    found[1, 0, 0, 0, 0] = torch.inf
    aligned = align({"images": found, "labels": labels[:, turned]}, images, labels, (0.5,) * 3, (0.25,) * 3)
    torch.testing.assert_close(aligned.reconstructions[0], aligned.originals[0])
    assert aligned.positions.tolist() == [[1, 2, 0]] * 2
    assert aligned.failed.tolist() == [[False] * 3, [False, False, True]]
    assert aligned.reconstructions[1, 2].isnan().all()
    assert aligned.psnr.isnan().tolist() == aligned.failed.tolist()
    assert aligned.psnr.nan_to_num(99).min() > 60
