"""The choice among restarts by their cost, on trajectories whose numbers can be checked in the head."""

import math

import pandas as pd
import pytest

from invgrad.metrics.restart_choice import choice_of, chosen, ends

NAN, INF = math.nan, math.inf


def _trajectories(*images: list[tuple[float, float]], seed: int = 0) -> pd.DataFrame:
    """Of every image the final (cost, PSNR) of each restart; on the way, every restart looks the best."""
    columns = ["seed", "client", "image", "restart", "iteration", "matching_cost", "psnr"]
    rows = [
        (seed, image, image, restart, iteration, *values)
        for image, restarts in enumerate(images)
        for restart, end in enumerate(restarts)
        for iteration, values in ((0, (0.0, 99.0)), (50, (0.0, 99.0)), (100, end))
    ]
    return pd.DataFrame(rows, columns=columns)


GOOD = [(0.1, 20.0), (0.2, 18.0), (0.3, 10.0)]
"""The cheaper the better."""
BAD = [(0.1, 12.0), (0.2, 13.0), (0.3, 17.0)]
"""The cheaper the worse."""


def test_a_cost_that_orders_the_restarts_always_hits() -> None:
    choice = choice_of(_trajectories(GOOD, GOOD))
    assert (choice.images, choice.restarts, choice.left_out) == (2, 3, 0)
    assert (choice.hits, choice.lost, choice.correlation_within) == pytest.approx((1, 0, -1))
    assert (choice.hits_by_chance, choice.lost_by_chance) == pytest.approx((1 / 3, 4))


def test_a_cost_that_orders_them_the_wrong_way_round_loses_the_whole_range() -> None:
    choice = choice_of(_trajectories(BAD))
    assert (choice.hits, choice.lost, choice.correlation_within) == pytest.approx((0, 5, 1))
    assert choice.lost_by_chance == pytest.approx(3)


def test_numbers_are_means_over_images() -> None:
    choice = choice_of(_trajectories(GOOD, BAD))
    assert (choice.hits, choice.lost, choice.correlation_within) == pytest.approx((0.5, 2.5, 0))


def test_images_are_kept_apart_within_but_not_overall() -> None:
    # Each image is ordered well, but the one that is dearer throughout has the higher PSNR.
    choice = choice_of(_trajectories([(1, 11), (2, 10)], [(3, 31), (4, 30)]))
    assert choice.correlation_within == pytest.approx(-1)
    assert choice.correlation_overall == pytest.approx(0.6)


def test_the_same_image_under_another_network_seed_is_another() -> None:
    both = pd.concat([_trajectories(GOOD), _trajectories(BAD, seed=1)], ignore_index=True)
    assert choice_of(both).images == 2
    assert choice_of(both).hits == 0.5


def test_failed_and_exact_restarts_are_counted_and_left_out() -> None:
    choice = choice_of(_trajectories([(NAN, NAN), (0.0, INF), (0.1, 20.0), (0.2, 10.0)], [(INF, 1.0), (0.3, 7.0)]))
    assert (choice.images, choice.restarts, choice.left_out) == (2, 4, 3)
    assert (choice.hits, choice.lost) == (1, 0)
    assert choice.hits_by_chance == pytest.approx(0.75)


def test_one_restart_leaves_no_choice() -> None:
    choice = choice_of(_trajectories([(0.1, 20.0)], [(0.2, 18.0)]))
    assert math.isnan(choice.correlation_within)
    assert (choice.hits, choice.hits_by_chance, choice.lost) == (1, 1, 0)


def test_nothing_is_known_where_everything_failed() -> None:
    choice = choice_of(_trajectories([(NAN, NAN), (NAN, NAN)]))
    assert (choice.images, choice.left_out) == (0, 2)
    assert all(map(math.isnan, (choice.correlation_within, choice.correlation_overall, choice.hits, choice.lost)))


def test_ends_are_of_the_last_iteration_and_the_chosen_is_the_cheapest() -> None:
    last = ends(_trajectories(GOOD, BAD))
    assert set(last["iteration"]) == {100}
    assert list(chosen(last)["psnr"]) == [20, 12]
