"""The interval of a difference, against arithmetic done here by hand and by slow code."""

import math
import random
from dataclasses import asdict

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import rows, student_t_cdf

from invgrad.paper.differences import CopyEffect, compare, copy_effect


def test_interval_of_one_network_seed() -> None:
    # Ours: 10, 12, 14, so mean 12, variance 4, over three images 4/3. Paper: 13 with std 3 over 9 images, so 9/9 = 1.
    # Degrees of freedom (1 + 4/3)² / (1²/8 + (4/3)²/2) = (49/9) / (73/72) = 392/73 = 5.36986.
    # Student's t at 0.975 is 2.570582 for 5 and 2.446912 for 6 degrees of freedom.
    ours = compare(rows([[10, 12, 14]]), 13, 3, 9)
    assert (ours.value, ours.difference, ours.std_images) == (12, -1, 2)
    assert math.isnan(ours.std_seeds)
    assert (ours.n_images, ours.n_seeds, ours.lossy) == (3, 1, 0)
    quantile = (ours.ci_high - ours.difference) / math.sqrt(1 + 4 / 3)
    assert 2.446912 < quantile < 2.570582
    assert student_t_cdf(quantile, 392 / 73) == pytest.approx(0.975, abs=1e-6)
    assert ours.difference - ours.ci_low == pytest.approx(ours.ci_high - ours.difference)


def test_interval_of_three_network_seeds_on_other_images() -> None:
    # Every seed has deviations (-1, 0, 1) from its mean, so the pooled variance is 1 and the images give 1/3 whatever
    # the number of seeds. Seed means 10, 12, 14: s² = 4, times 1 + 1/3. Paper: std 4 over 16 images, so 1.
    ours = compare(rows([[9, 10, 11], [11, 12, 13], [13, 14, 15]]), 11, 4, 16)
    assert (ours.value, ours.difference, ours.std_images, ours.std_seeds) == (12, 1, 1, 2)
    assert (ours.n_images, ours.n_seeds) == (3, 3)
    total = 1 + 1 / 3 + 16 / 3
    freedom = total**2 / (1 / 15 + (1 / 9) / 2 + (256 / 9) / 2)
    assert student_t_cdf((ours.ci_high - 1) / math.sqrt(total), freedom) == pytest.approx(0.975, abs=1e-6)


def test_of_the_same_images_the_interval_predicts_one_further_network() -> None:
    # The same rows beside a printed mean over three images: neither their spread nor the printed one matters.
    # s = 2 and two degrees of freedom: t = 4.302653.
    for std in (0.1, 4):
        ours = compare(rows([[9, 10, 11], [11, 12, 13], [13, 14, 15]]), 11, std, 3)
        assert ours.ci_high - 1 == pytest.approx(4.302653 * 2 * math.sqrt(1 + 1 / 3), rel=1e-6)
    assert math.isnan(compare(rows([[9, 10, 11]]), 11, 4, 3).ci_high), "one network predicts no other"


def test_a_copy_among_the_images_makes_them_others() -> None:
    ours = rows([[9, 10, 11], [11, 12, 13], [13, 14, 15]])
    ours["lossy"] = ours["image"] == 1
    found = compare(ours, 11, 4, 3)
    assert found.lossy == pytest.approx(1 / 3)
    total = 16 / 3 + 1 / 3 + 16 / 3
    freedom = total**2 / ((16 / 3) ** 2 / 2 + (1 / 9) / 2 + (16 / 3) ** 2 / 2)
    assert student_t_cdf((found.ci_high - 1) / math.sqrt(total), freedom) == pytest.approx(0.975, abs=1e-6)


def test_the_effect_of_copies_is_a_source_of_error_of_its_own() -> None:
    ours = rows([[9, 10, 11], [11, 12, 13], [13, 14, 15]])
    ours["lossy"] = ours["image"] == 1
    found = compare(ours, 11, 4, 16, CopyEffect(change=-3, error=0.5, images=20))
    copies = (9 + 0.25) / 9
    total = 1 + 1 / 3 + 16 / 3 + copies
    freedom = total**2 / (1 / 15 + (1 / 9) / 2 + (256 / 9) / 2 + copies**2 / 19)
    assert found.difference == 1, "nothing is corrected"
    assert student_t_cdf((found.ci_high - 1) / math.sqrt(total), freedom) == pytest.approx(0.975, abs=1e-6)
    assert compare(ours.assign(lossy=False), 11, 4, 16, CopyEffect(-3, 0.5, 20)) == compare(
        ours.assign(lossy=False), 11, 4, 16
    ), "without copies it does not matter"


def test_the_effect_of_copies_is_that_of_the_same_images_and_networks() -> None:
    # Changes of image 0: -1 and -3, so -2; of image 1: 0 and 2, so 1; image 2 has only one seed on both sides: 4.
    originals = rows([[10, 20, 30], [12, 22, math.nan]])
    copies = rows([[9, 20, 34], [9, 24, 40]])
    found = copy_effect(copies, originals)
    assert found is not None
    assert (found.change, found.images) == (pytest.approx(1), 3)
    assert found.error == pytest.approx(math.sqrt((9 + 0 + 9) / 2 / 3))
    originals["lossy"] = originals["image"] == 2
    lossless = copy_effect(copies, originals)
    assert lossless is not None
    assert (lossless.change, lossless.images) == (pytest.approx(-0.5), 2), "a copy is no original"
    assert copy_effect(copies[copies["image"] == 0], originals) is None


def test_interval_of_a_displayed_image_uses_our_spread() -> None:
    # Variance 4 over three images; one displayed image: 4 · (1 + 1/3) with 2 degrees of freedom, t = 4.302653.
    ours = compare(rows([[10, 12, 14]]), 12, math.nan, 1)
    assert ours.ci_high == pytest.approx(4.302653 * math.sqrt(16 / 3), rel=1e-6)


def test_an_image_attacked_twice_under_one_seed_counts_once() -> None:
    once = rows([[10, 12, 14]])
    twice = pd.concat([once, once.assign(psnr=once["psnr"] + 2)])
    assert asdict(compare(twice, 13, 3, 9)) == pytest.approx(
        asdict(compare(rows([[11, 13, 15]]), 13, 3, 9)), nan_ok=True
    )


def test_every_network_seed_counts_the_same_however_many_images_it_has() -> None:
    ours = compare(rows([[10, 12, 14, 16], [20, 22, math.nan, math.nan]]), 13, 3, 9)
    assert (ours.value, ours.n_images, ours.n_seeds) == (17, 4, 2)
    # Deviations ±3, ±1 and ±1: 20 + 2 over 3 + 1 degrees of freedom.
    assert ours.std_images == pytest.approx(math.sqrt(22 / 4))


@pytest.mark.parametrize("seeds", [5, 20])
@pytest.mark.parametrize("printed", [8, 100])
def test_the_interval_is_that_of_slow_code(seeds: int, printed: int) -> None:
    """Of 8 images: the same as the paper's, or others than its 100."""
    draw = random.Random(seeds + printed)
    table = [[draw.gauss(20, 3) for _ in range(8)] for _ in range(seeds)]
    ours = compare(rows(table), 18, 3.3, printed)
    means = [sum(each) / 8 for each in table]
    centre = sum(means) / seeds
    parts = [(sum((mean - centre) ** 2 for mean in means) / (seeds - 1) * (1 + 1 / seeds), seeds - 1)]
    if printed != 8:
        squares = sum((psnr - mean) ** 2 for mean, each in zip(means, table, strict=True) for psnr in each)
        parts += [(3.3**2 / printed, printed - 1), (squares / (7 * seeds) / 8, 7)]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / known for variance, known in parts)
    assert ours.difference == pytest.approx(centre - 18)
    half = ours.ci_high - ours.difference
    assert student_t_cdf(half / math.sqrt(total), freedom) == pytest.approx(0.975, abs=1e-6)


psnrs = st.floats(0, 60)
tables = st.integers(1, 12).flatmap(
    lambda n_images: st.lists(st.lists(psnrs, min_size=n_images, max_size=n_images), min_size=1, max_size=6)
)


@settings(max_examples=50, deadline=None)
@given(table=tables, paper=psnrs, std=st.floats(0.1, 30), shift=st.floats(-20, 20))
def test_shifting_every_psnr_shifts_the_difference(
    table: list[list[float]], paper: float, std: float, shift: float
) -> None:
    before, after = (
        compare(rows(t), paper, std, 10) for t in (table, [[p + shift for p in images] for images in table])
    )
    assert after.difference - before.difference == pytest.approx(shift, abs=1e-9)
    assert after.ci_high - before.ci_high == pytest.approx(shift, abs=1e-6, nan_ok=True) or math.isnan(before.ci_high)
