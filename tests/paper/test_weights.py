"""The weight α where the paper's is not known: the cell that is judged, and the α that agree with print."""

import math
from typing import Any

import pandas as pd
import pytest
from judging import fisher_f_cdf, rows, value

from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import CopyEffect, compare
from invgrad.paper.verdicts import verdicts
from invgrad.paper.weights import Grid, power, same_deviation

SPREAD = [-4.0, -2, 0, 2, 4] * 4
"""Deviations of 20 images from their mean: a standard deviation of 2.9 dB."""


def cell(name: str, mean: float, *, images: int = 20, first: int = 0, seeds: int = 5) -> pd.DataFrame:
    """The rows of a cell of which the network seeds differ by tenths of a decibel."""
    table = [[mean + seed / 10 + deviation for deviation in SPREAD[:images]] for seed in range(seeds)]
    return rows(table, name, first)


GRID = {
    "some-cell": cell("some-cell", 21),
    "tv1e-3": cell("tv1e-3", 17),
    "tv1e-4": cell("tv1e-4", 13),
    "others-tv1e-2": cell("others-tv1e-2", 20, first=100),
    "others-tv1e-3": cell("others-tv1e-3", 22, first=100),
}
FACTS = {
    name: CellFacts(total_variation=weight, weight_known=False, alike="x")
    for name, weight in zip(GRID, [1e-2, 1e-3, 1e-4, 1e-2, 1e-3], strict=True)
}
"""One grid, of which no α is known."""


def judge(
    changes: dict[str, CellFacts] | None = None, *cells: pd.DataFrame, std: float = 3, without: tuple[str, ...] = ()
) -> Any:
    """The verdict on a printed 17.2 ± `std` dB of 100 images, with other facts or rows of some cells."""
    given = GRID | {each["cell"].iloc[0]: each for each in cells}
    everything = pd.concat([each for name, each in given.items() if name not in without])
    return verdicts(value(17.2, std, 100), everything, FACTS | (changes or {})).iloc[0]


def test_the_attackers_choice_on_other_images_is_judged() -> None:
    row = judge()
    assert (row["cell"], row["judged"], row["verdict"]) == ("some-cell", "tv1e-3", "reproduced")
    assert row["value"] == pytest.approx(17.2)
    assert (
        row["reason"]
        .partition("; mean and deviation")[0]
        .endswith("; the paper's α is not known: judged is α = 1e-3, 17.20 dB, which finds other images best")
    )


def test_the_choice_does_not_look_at_print() -> None:
    """Although 1e-3 agrees with print: on other images 1e-2 is best."""
    row = judge(None, cell("others-tv1e-3", 19, first=100))
    assert (row["judged"], row["verdict"]) == ("some-cell", "differs")
    assert row["weights"] == "1e-3 of 3 tried"
    assert (
        row["reason"]
        .partition("; mean and deviation")[0]
        .endswith("; the paper's α is not known: judged is α = 1e-2, 21.20 dB, which finds other images best")
    )


@pytest.mark.parametrize("tv", [None, cell("tv1e-3", 17, images=10)], ids=["no cell", "fewer images"])
def test_without_as_many_images_at_this_weight_the_configured_cell_is_judged(tv: pd.DataFrame | None) -> None:
    row = judge(without=("tv1e-3",)) if tv is None else judge(None, tv)
    assert (row["judged"], row["verdict"]) == ("some-cell", "differs")
    assert (
        row["reason"]
        .partition("; mean and deviation")[0]
        .endswith(
            "; the paper's α is not known: α = 1e-3 finds other images best, but not all 20 were attacked: "
            "judged is α = 1e-2, as configured"
        )
    )


def test_without_other_images_the_configured_cell_is_judged() -> None:
    row = judge(without=("others-tv1e-2", "others-tv1e-3"))
    assert (row["judged"], row["verdict"]) == ("some-cell", "differs")
    assert (
        row["reason"]
        .partition("; mean and deviation")[0]
        .endswith("; the paper's α is not known, nor an attacker's choice: judged is α = 1e-2, as configured")
    )


@pytest.mark.parametrize(
    "known",
    [
        CellFacts(total_variation=1e-2, weight_known=True, alike="x"),
        CellFacts(total_variation=1e-2, weight_known=False, alike="x", deviations=("other data",)),
    ],
    ids=["known", "not comparable"],
)
def test_where_it_is_known_or_nothing_is_comparable_the_cell_itself_is_judged(known: CellFacts) -> None:
    row = judge({"some-cell": known})
    assert (row["judged"], row["weights"]) == ("some-cell", "")
    assert "α" not in row["reason"]


def test_of_one_weight_the_cell_with_the_most_images_counts() -> None:
    smaller = {"tv1e-2": CellFacts(total_variation=1e-2, weight_known=False, alike="x")}
    known = {"some-cell": CellFacts(total_variation=1e-2, weight_known=False, alike="x")}
    ours = GRID | {"tv1e-2": cell("tv1e-2", 5, images=10)}
    for order in (known | smaller, smaller | known):
        assert Grid.around("some-cell", order | FACTS, ours).cells[1e-2] == "some-cell"
    ours["tv1e-2"] = cell("tv1e-2", 5)
    for order in (known | smaller, smaller | known):
        assert Grid.around("some-cell", order | FACTS, ours).cells[1e-2] == "some-cell", "the cell itself, of as many"


def test_cells_of_other_victims_or_settings_and_those_without_a_weight_are_in_no_grid() -> None:
    more = {
        "victim": CellFacts(total_variation=1e-5, alike="y"),
        "short": CellFacts(total_variation=1e-5, alike="x", deviations=("1,200 iterations",)),
        "none": CellFacts(total_variation=0, alike="x"),
        "not-run": CellFacts(total_variation=1e-6, alike="x"),
    }
    ours = GRID | {name: cell(name, 20) for name in ("victim", "short", "none", "unlisted")}
    grid = Grid.around("some-cell", FACTS | more, ours)
    assert grid.cells == {1e-2: "some-cell", 1e-3: "tv1e-3", 1e-4: "tv1e-4"}
    assert list(grid.others) == [1e-2, 1e-3]


def test_the_weights_that_agree_in_mean_and_deviation_are_counted() -> None:
    assert judge()["weights"] == "1e-3 of 3 tried"
    assert judge()["reason"].endswith("; mean and deviation agree with print for α = 1e-3 of 3 tried")
    assert judge(None, cell("tv1e-4", 17))["weights"] == "1e-3, 1e-4 of 3 tried"
    assert judge(None, cell("tv1e-3", 13))["weights"] == "none of 3 tried", "the mean"
    assert judge(std=6)["weights"] == "none of 3 tried", "the deviation"


def test_a_weight_with_fewer_than_five_seeds_was_not_tried() -> None:
    assert judge(None, cell("tv1e-4", 13, seeds=4))["weights"] == "1e-3 of 2 tried"
    assert judge(None, cell("tv1e-3", 17, seeds=4), without=("tv1e-4",))["weights"] == "", "one α is no grid"


def test_the_effect_of_copies_counts_for_a_weight_too() -> None:
    lossy = {name: each.assign(lossy=each["image"] >= 10) for name, each in GRID.items()}
    grid = Grid.around("some-cell", FACTS, lossy)
    assert grid.agreeing(17.2, 3, 100, None) == "1e-3 of 3 tried"
    assert grid.agreeing(17.2, 3, 100, CopyEffect(20, 1, 20)) == "1e-2, 1e-3, 1e-4 of 3 tried"


def test_where_all_failed_no_weight_is_chosen() -> None:
    failed = {name: each.assign(psnr=math.nan, status="failed") for name, each in GRID.items()}
    assert Grid.around("some-cell", FACTS, failed).attackers_choice() is None


@pytest.mark.parametrize(("ours", "paper"), [(3, 4.2), (4.2, 3), (3, 5), (5, 3), (2, 4.3), (1.88, 4.27), (4.05, 4.27)])
@pytest.mark.parametrize(("n_ours", "n_paper"), [(20, 100), (100, 100), (10, 10)])
def test_deviations_are_compared_by_an_f_test(ours: float, paper: float, n_ours: int, n_paper: int) -> None:
    below = fisher_f_cdf((ours / paper) ** 2, n_ours - 1, n_paper - 1)
    assert same_deviation(ours, n_ours, paper, n_paper) == (0.025 <= below <= 0.975)


@pytest.mark.parametrize(("value", "text"), [(1e-6, "1e-6"), (0.0025, "2.5e-3"), (0.1, "1e-1")])
def test_a_weight_is_written_as_in_the_configuration(value: float, text: str) -> None:
    assert power(value) == text


def test_a_mean_with_a_different_spread_alone_does_not_agree() -> None:
    """Mean and interval are those of `compare`."""
    ours = compare(GRID["tv1e-3"], 17.2, 6, 100)
    assert ours.includes_zero
    assert not same_deviation(ours.std_images, ours.n_images, 6, 100)
