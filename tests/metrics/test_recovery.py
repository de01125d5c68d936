"""The rule that says what a reconstruction gives away, and the interval of a share."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, binomtest
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from invgrad.metrics.recovery import best_first, correlation, draws_needed, interval, judge

SIDE = 32


def scenes(count: int, seed: int) -> Tensor:
    """Draw images of coarse coloured shapes with fine texture, [count, 3, 32, 32] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = interpolate(torch.randn(count, 3, 5, 5, generator=generator), SIDE, mode="bicubic")
    return (0.5 + 0.2 * coarse + 0.05 * torch.randn(count, 3, SIDE, SIDE, generator=generator)).clamp(0, 1)


def noise(like: Tensor, strength: float) -> Tensor:
    return strength * torch.randn(like.shape, generator=torch.Generator().manual_seed(9))


SET = scenes(200, seed=1)
OWN = SET[:4]


def of(reconstructions: Tensor, others: Tensor = SET) -> list[str]:
    found: list[str] = judge(reconstructions, OWN, others)["recovery"].tolist()
    return found


def test_what_anyone_would_call_recovered_is() -> None:
    assert of(OWN) == ["recovered"] * 4
    assert of(OWN + noise(OWN, 0.03)) == ["recovered"] * 4


@pytest.mark.parametrize(
    "worthless",
    [
        pytest.param(torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)), id="noise"),
        pytest.param(SET.mean((0, 2, 3))[:, None, None].expand_as(OWN), id="the flat image"),
        pytest.param(OWN.mean((2, 3), keepdim=True).expand_as(OWN), id="the image's own mean colour"),
        pytest.param(SET[10:14], id="images of others"),
        pytest.param(scenes(4, seed=3), id="images from elsewhere"),
        pytest.param(torch.full_like(OWN, torch.nan), id="every restart failed"),
        pytest.param(1 - OWN, id="inverted"),
    ],
)
def test_what_gives_nothing_away_is_not_recovered(worthless: Tensor) -> None:
    assert of(worthless) == ["not recovered"] * 4


def test_a_blurred_or_very_noisy_image_is_partly_recovered() -> None:
    assert of(interpolate(avg_pool2d(OWN, 8), SIDE, mode="bilinear")) == ["partly"] * 4
    assert of(OWN + noise(OWN, 0.3)) == ["partly"] * 4


def test_an_image_like_its_original_but_nearer_to_another_is_not_recovered() -> None:
    """Its PSNR and SSIM are high against the flat image; only the comparison with others tells."""
    cousin = (0.65 * OWN + 0.35 * SET[10:14]).clamp(0, 1)
    assert of(cousin) == ["recovered"] * 4
    assert of(cousin, torch.cat([SET, cousin])) == ["not recovered"] * 4


def test_a_copy_of_the_original_among_the_others_does_not_count() -> None:
    almost = (OWN + noise(OWN, 0.01)).clamp(0, 1)
    table = judge(OWN + noise(OWN, 0.05), OWN, torch.cat([SET, almost, OWN.roll(3, -1)]))
    assert table["recovery"].tolist() == ["recovered"] * 4
    assert table["others"].tolist() == [len(SET) + 8 - 3] * 4  # without itself, the noisy copy and the moved copy
    assert (table["nearest_other"] < 0.95).all()


def test_a_moved_copy_gives_as_much_away() -> None:
    table = judge(OWN.roll((-2, 3), (-2, -1)), OWN, SET)
    assert table["recovery"].tolist() == ["recovered"] * 4
    assert table[["shift_down", "shift_right"]].to_numpy().tolist() == [[2, SIDE - 3]] * 4
    assert np.isinf(table["psnr"]).all()


def test_the_best_of_several_attacks_counts() -> None:
    blurred = interpolate(avg_pool2d(OWN, 8), SIDE, mode="bilinear")
    one = torch.stack([OWN[0] + noise(OWN[0], 0.03), SET[10], blurred[2], SET[11]])
    other = torch.stack([blurred[0], OWN[1], OWN[2] + noise(OWN[2], 0.02), SET[12]])
    best = best_first({"one": judge(one, OWN, SET), "other": judge(other, OWN, SET)})
    assert best["image"].tolist() == [1, 2, 0, 3]
    assert best["attack"].tolist()[:3] == ["other", "other", "one"]
    assert best["recovery"].tolist() == [*["recovered"] * 3, "not recovered"]


def test_measures_are_told_beside_those_of_the_flat_image() -> None:
    table = judge(OWN + noise(OWN, 0.1), OWN, SET)
    colour = SET.mean((0, 2, 3))[:, None, None]
    expected = -10 * torch.log10(((OWN - colour) ** 2).mean((1, 2, 3)))
    assert table["flat_psnr"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert (table["psnr"] > table["flat_psnr"]).all()
    assert (table["ssim"] > table["flat_ssim"]).all()


def test_the_correlation_is_that_of_trying_every_shift() -> None:
    images, others = scenes(3, seed=4)[..., :6, :5], scenes(4, seed=5)[..., :6, :5]

    def slow(a: Tensor, b: Tensor) -> float:
        a, b = (each - each.mean((1, 2), keepdim=True) for each in (a, b))
        tried = [(a.roll((down, right), (1, 2)) * b).sum() for down in range(6) for right in range(5)]
        return float(max(tried) / (a.norm() * b.norm()))

    expected = [[slow(a, b) for b in others] for a in images]
    np.testing.assert_allclose(correlation(images, others), expected, atol=1e-5)
    np.testing.assert_allclose(correlation(0.3 + 0.5 * images, others), expected, atol=1e-5)


def test_large_images_are_compared_in_fewer_pixels() -> None:
    large = interpolate(SET[:3], 4 * SIDE)
    np.testing.assert_allclose(correlation(large, large), correlation(SET[:3], SET[:3]), atol=0.05)


@pytest.mark.parametrize(("found", "draws"), [(0, 10), (3, 10), (10, 10), (1, 500), (7, 8)])
def test_the_interval_is_that_of_clopper_and_pearson(found: int, draws: int) -> None:
    expected = binomtest(found, draws).proportion_ci(0.95, method="exact")
    assert interval(found / draws, draws) == pytest.approx((expected.low, expected.high))


def test_the_interval_holds_the_true_share_at_least_as_often_as_it_says() -> None:
    draws = 30
    for share in (0.02, 0.3, 0.77):
        covered = [low <= share <= high for low, high in (interval(k / draws, draws) for k in range(draws + 1))]
        assert pd.Series(binom.pmf(range(draws + 1), draws, share))[covered].sum() >= 0.95


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
def test_so_many_draws_are_needed_and_no_fewer(share: float) -> None:
    draws = draws_needed(share)
    assert interval(0, draws)[1] < share
    assert draws == 1 or interval(0, draws - 1)[1] >= share


def test_how_many_images_show_a_share_below_5_percent() -> None:
    assert draws_needed(0.05) == 72
    assert math.isclose(interval(0, 72)[1], 0.0499, abs_tol=1e-4)
