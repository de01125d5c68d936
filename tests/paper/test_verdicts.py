"""The reported values and the verdict rule, against arithmetic done here by hand."""

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from findings import facts
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import rows, value

from invgrad.data.registry import describe
from invgrad.experiments.config import CONFIG, load
from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import CopyEffect, compare
from invgrad.paper.values import COLUMNS, FLAT_PSNR
from invgrad.paper.verdicts import ROW_COLUMNS, RULE, VERDICT_COLUMNS, Verdict, read_values, verdicts
from invgrad.settings import SettingsError, read_yaml
from invgrad.steps.verdict import write_verdicts

ROOT = Path(__file__).parents[2]
VALUES = ROOT / "data" / "paper_values.csv"
FIGURES = ROOT / "figures/small"
LINE = "table1,some-cell,psnr_mean,18.00,3.33,100,dB,Table 1,true,quoted"


def judge(paper: pd.DataFrame, ours: pd.DataFrame, *deviations: str) -> Any:
    return verdicts(paper, ours, {"some-cell": CellFacts(deviations=deviations)}).iloc[0]


def write(path: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


# The file of reported values


def test_the_file_holds_every_reported_value() -> None:
    values = read_values(VALUES)
    assert values.groupby("id").size().to_dict() == {"table1": 8, "fig5": 10, "fig6": 4, "table2": 5, "ablation": 4}
    assert (values["measure"] == "psnr_shown").sum() == 9
    assert values["std"].isna().equals(values["measure"] == "psnr_shown")
    assert values["checked"].dtype == bool


def test_the_flat_image_of_the_reported_values_is_that_of_their_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    project = load(read_yaml(CONFIG) | {"scale": "paper"})
    clients = {project.paper.cells[cell].clients for cell in read_values(VALUES)["cell"]}
    assert {project.paper.victims[project.paper.clients[each].victim].dataset for each in clients} == {"cifar10"}
    statistics = describe("cifar10").statistics
    assert statistics
    assert -10 * math.log10(sum(each**2 for each in statistics.std) / 3) == pytest.approx(FLAT_PSNR, abs=0.05)


def test_a_value_is_recalled_or_checked() -> None:
    values = read_values(VALUES)
    assert "lenet-untrained-proposed" in values.loc[values["checked"], "cell"].tolist()
    assert (values["checked"] != values["note"].str.startswith("recalled; not checked")).all()


def test_standard_errors_of_the_ablation_are_stored_as_standard_deviations() -> None:
    ablation = read_values(VALUES).query("id == 'ablation'")
    printed = ablation["note"].str.extract(r"standard error (\S+)$")[0].astype(float)
    assert (ablation["std"] / math.sqrt(10) - printed).abs().max() < 0.001


def test_columns_may_come_in_another_order_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    lines = [",".join(reversed(COLUMNS)), ",".join(reversed(LINE.split(",")))]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    assert read_values(path).equals(read_values(write(tmp_path / "plain.csv", LINE)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("18.00", "eighteen", "line 3: value: .*number.*'eighteen'"),
        ("18.00", "nan", "line 3: value: .*finite"),
        ("3.33", "?", "line 3: std: .*number.*'\\?'"),
        ("3.33", "-1", "line 3: std: '-1' is out of range"),
        ("3.33", "", "line 3: std: psnr_mean needs one"),
        ("100", "1", "line 3: n: psnr_shown is one image"),
        ("100", "many", "line 3: n: .*integer.*'many'"),
        ("psnr_mean", "psnr_shown", "line 3: n: psnr_shown is one image"),
        ("psnr_mean", "ssim", "line 3: measure: .*'psnr_mean' or 'psnr_shown', got 'ssim'"),
        ("dB", "percent", "line 3: unit: .*(?i:'dB'), got 'percent'"),
        ("true", "yes", "line 3: checked: .*'true' or 'false', got 'yes'"),
        ("some-cell", "Some cell", "line 3: cell: .*'Some cell'"),
        ("Table 1", "", "line 3: where: .*got None"),
        (",quoted", "", "line 3: 9 cells for 10 columns"),
        ("some-cell", "other-cell", "line 3: cell, measure: 'other-cell', 'psnr_mean' is already in line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    other = LINE.replace("some-cell", "other-cell")
    path = write(tmp_path / "values.csv", other, LINE.replace(old, new, 1))
    with pytest.raises(SettingsError, match=message) as error:
        read_values(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (",".join(COLUMNS[:-1]), "line 1: column 'note' must be there once, is there 0 times"),
        (",".join([*COLUMNS, "note"]), "line 1: column 'note' must be there once, is there 2 times"),
        (",".join([*COLUMNS[:-1], "notes"]), "line 1: unknown column 'notes'; nearest: 'note'"),
        ("", "line 1: column 'id' must be there once"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_values(write(tmp_path / "values.csv", LINE, header=header))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.csv: cannot be read"):
        read_values(tmp_path / "none.csv")


# The verdicts


LINES = [[10.0, 12, 14, 12], [11, 13, 15, 12], [10, 12, 14, 12], [11, 13, 15, 12], [10, 12, 14, 13]]
"""Five network seeds, four images: mean 12.4 dB."""


def test_reproduced() -> None:
    row = judge(value(12.5, 3, 100), rows(LINES))
    assert row["verdict"] == "reproduced"
    assert row["reason"] == "the interval includes 0 and the difference is within ±3.00 dB"


def test_a_reproduced_value_names_what_its_interval_leaves_open() -> None:
    # Means 10, 11, 12, 13, 14: s² = 2.5, 20 images as printed, so ± t(4) · √(2.5 · 6/5) = ± 2.776 · 1.732.
    ours = rows([[9.0 + seed, 11.0 + seed] * 10 for seed in range(5)])
    row = judge(value(11.5, 3, 20), ours)
    assert row["verdict"] == "reproduced"
    assert row["reason"].endswith("within ±3.00 dB; a difference beyond that, of up to 5.31 dB, is not excluded")
    assert "beyond" not in judge(value(11.5, 6, 20), ours)["reason"]


def test_the_images_of_a_client_count_once_in_a_mean() -> None:
    images = rows([[9.0, 11, 12, 14], [10, 12, 13, 15], [11, 13, 14, 16], [9, 11, 12, 14], [10, 12, 13, 15]])
    clients = images.assign(client=images["image"] // 2 * 2)
    row, means = judge(value(12.5, 3, 2), clients), rows([[10.0, 13], [11, 14], [12, 15], [10, 13], [11, 14]])
    assert row[["value", "std_images", "n_images"]].tolist() == [12.3, pytest.approx(1.5 * math.sqrt(2)), 2]
    columns = ["std_seeds", "ci_low", "ci_high", "verdict"]
    assert row[columns].tolist() == judge(value(12.5, 3, 2), means)[columns].tolist()
    assert judge(value(12.5, 3, 2), images)["n_images"] == 4, "rows that do not tell clients"


def test_of_a_client_some_of_whose_images_are_copies_the_share_counts() -> None:
    images = rows([[10.0, 12, 14, 12]] * 5)
    clients = images.assign(client=images["image"] // 2 * 2, lossy=images["image"] == 3)
    assert judge(value(12.5, 3, 100), clients)["lossy"] == 0.25


def test_jpeg_copies_are_named_with_their_share() -> None:
    ours = rows(LINES)
    ours["lossy"] = ours["image"] == 3
    row = judge(value(12.5, 3, 100), ours)
    assert row["verdict"] == "reproduced"
    assert row["reason"].endswith("; 25% of the images are JPEG copies: their effect is not known")
    assert row["lossy"] == 0.25
    assert "JPEG" not in judge(value(12.5, 3, 100), ours.assign(lossy=False))["reason"]


def test_the_measured_effect_of_copies_is_in_the_interval_of_cells_like_those() -> None:
    ours = rows(LINES)
    ours["lossy"] = ours["image"] == 3
    originals, copies = rows([[10, 12, 14]] * 5, "originals"), rows([[10, 16, 20]] * 5, "copies")
    everything = pd.concat([ours, originals.assign(lossy=False), copies.assign(lossy=True)])
    facts = {
        "some-cell": CellFacts(alike="a"),
        "originals": CellFacts(alike="a"),
        "copies": CellFacts(alike="b", copies_of="originals"),
    }
    row = verdicts(value(12.5, 3, 100), everything, facts).iloc[0]
    # Changes 0, 4, 6: mean 10/3, standard deviation √(28/3), error √(28/9).
    assert row["reason"].endswith(
        "; 25% of the images are JPEG copies: the interval allows for their effect, +3.33 ± 1.76 dB"
    )
    expected = compare(ours, 12.5, 3, 100, CopyEffect(10 / 3, math.sqrt(28) / 3, 3))
    assert row["ci_high"] == pytest.approx(expected.ci_high)
    assert expected.ci_high > compare(ours, 12.5, 3, 100).ci_high + 0.1
    for other in ({"some-cell": CellFacts(alike="c")}, {"copies": CellFacts(alike="b")}):
        row = verdicts(value(12.5, 3, 100), everything, facts | other).iloc[0]
        assert row["reason"].endswith("their effect is not known"), "another victim or attack; no copies"


def test_differs() -> None:
    row = judge(value(20, 3, 100), rows(LINES))
    assert row["verdict"] == "differs"
    assert row["reason"] == "the interval excludes 0"
    assert row["ci_low"] < row["ci_high"] < 0


def test_differs_even_within_the_margin() -> None:
    row = judge(value(20, 5, 1000), rows([[18 + seed / 100 + i % 2 / 100 for i in range(50)] for seed in range(5)]))
    assert abs(row["difference"]) < 5
    assert row["verdict"] == "differs"


def test_undecided() -> None:
    ours = rows([[10, 12, 14], [20, 22, 24], [10, 12, 14], [20, 22, 24], [15, 17, 19]])
    row = judge(value(21, 3, 100), ours)
    assert row["ci_low"] < 0 < row["ci_high"]
    assert row["verdict"] == "undecided"
    assert row["reason"] == "the interval includes 0, but the difference is beyond ±3.00 dB"
    assert row["difference"] == -4
    assert judge(value(21, 4, 100), ours)["verdict"] == "reproduced"


@pytest.mark.parametrize("paper", [12.5, 30])
@pytest.mark.parametrize("n", [4, 100])
@pytest.mark.parametrize("seeds", [1, 2, 4, 5])
def test_fewer_than_five_network_seeds_decide_nothing(seeds: int, n: int, paper: float) -> None:
    row = judge(value(paper, 3, n), rows(LINES[:seeds]))
    if seeds == 5:
        assert row["verdict"] == ("reproduced" if paper == 12.5 else "differs")
        return
    assert row["verdict"] == "undecided"
    several = "s" if seeds > 1 else ""
    assert row["reason"].startswith(f"{seeds} network seed{several}: it takes 5 to tell how much networks differ")
    assert ("the spread between networks is not in the interval" in row["reason"]) == (seeds == 1)


def test_a_network_seed_without_a_finite_psnr_does_not_count() -> None:
    row = judge(value(12.5, 3, 100), rows([*LINES[:4], [math.nan, math.inf, math.nan, math.nan]]))
    assert (row["n_seeds"], row["verdict"]) == (4, "undecided")


def test_not_comparable_lists_the_deviations_and_still_gives_the_numbers() -> None:
    row = judge(
        value(12.5, 3, 100), rows([[10, 12, 14], [11, 13, 15]]), "other data", "1200 iterations instead of 4800"
    )
    assert row["verdict"] == "not comparable"
    assert row["reason"] == "other data; 1200 iterations instead of 4800"
    assert row["difference"] == 0
    assert row["ci_low"] < 0 < row["ci_high"]


@pytest.mark.parametrize("ours", [rows([[12.0]], cell="other-cell"), pd.DataFrame(columns=ROW_COLUMNS)])
def test_not_run(ours: pd.DataFrame) -> None:
    row = judge(value(12.5, 3, 100), ours, "other data")
    assert (row["verdict"], row["reason"]) == ("not run", "no rows of this cell")
    assert (row["n_images"], row["n_seeds"], row["n_failed"], row["n_exact"]) == (0, 0, 0, 0)
    assert row[["value", "difference", "ci_low", "ci_high"]].isna().all()


def test_a_cell_that_was_left_out_says_why() -> None:
    table = verdicts(
        value(12.5, 3, 100), pd.DataFrame(columns=ROW_COLUMNS), {"some-cell": CellFacts(left_out="no time")}
    )
    assert table[["verdict", "reason"]].values.tolist() == [["not run", "no time"]]


def test_one_image_gives_no_interval_for_a_mean() -> None:
    row = judge(value(12.5, 3, 100), rows([[12], [13], [12], [13], [12]]))
    assert row["verdict"] == "undecided"
    assert row["reason"] == "too few images for an interval"
    assert row[["ci_low", "ci_high", "std_images"]].isna().all()


def test_exact_reconstructions_are_counted_and_not_averaged() -> None:
    row = judge(value(12.5, 3, 100), rows([[10, 12, 14, math.inf], [10, math.inf, 14, math.inf]]))
    assert (row["value"], row["n_exact"], row["n_images"]) == (12, 3, 3)
    assert row["reason"].endswith("; 3 exact (infinite PSNR), not in the mean")


def test_failed_rows_are_counted_and_not_averaged() -> None:
    ours = rows([[10, 12, 14, math.nan], [10, 12, 14, 12]])
    ours.loc[ours["status"] == "failed", "psnr"] = 99.0
    row = judge(value(12.5, 3, 100), ours)
    assert (row["value"], row["n_failed"], row["n_images"]) == (12, 1, 4)
    assert row["reason"].endswith("; 1 failed, not in the mean")


@pytest.mark.parametrize("psnr", [math.nan, math.inf])
def test_no_finite_psnr_is_undecided(psnr: float) -> None:
    row = judge(value(12.5, 3, 100), rows([[psnr, psnr]]))
    count = "2 failed" if math.isnan(psnr) else "2 exact (infinite PSNR)"
    assert (row["verdict"], row["reason"]) == ("undecided", f"no finite PSNR; {count}, not in the mean")


@pytest.mark.parametrize("ours", [rows([[math.nan]]), rows([[12.0]]), rows([[10, 12, 14], [20, 22, 24]])])
def test_a_setting_that_differs_is_not_comparable_rather_than_undecided(ours: pd.DataFrame) -> None:
    assert judge(value(21, 3, 100), ours)["verdict"] == "undecided"
    assert judge(value(21, 3, 100), ours, "other data")["verdict"] == "not comparable"


@pytest.mark.parametrize("other", [20.0, math.nan])
def test_a_displayed_image_is_not_compared_with_a_mean(other: float) -> None:
    row = judge(value(19.0, math.nan, 1), rows([[19, other], [20, other]]))
    assert row["verdict"] == "not comparable"
    assert row["reason"].startswith("which image is shown is not known")


ONE_IMAGE = [[19.0], [20], [21], [19], [21]]
"""Five seeds: mean 20, s² = 1, times 1 + 1/5; four degrees of freedom, t = 2.776445."""


@pytest.mark.parametrize(("paper", "verdict"), [(20.5, "reproduced"), (30.0, "differs")])
def test_a_displayed_image_is_compared_with_our_only_image(paper: float, verdict: str) -> None:
    row = judge(value(paper, math.nan, 1), rows(ONE_IMAGE))
    assert row["verdict"] == verdict
    assert row["ci_high"] - row["difference"] == pytest.approx(2.776445 * math.sqrt(6 / 5), rel=1e-6)
    assert row["reason"].endswith("; the image shown is taken to be ours, so the interval covers network seeds only")


def test_a_displayed_image_beyond_three_decibels_is_undecided() -> None:
    # The interval reaches 3.04 dB.
    row = judge(value(23.02, math.nan, 1), rows(ONE_IMAGE))
    assert row["verdict"] == "undecided"
    assert row["reason"].startswith("the interval includes 0, but the difference is beyond ±3.00 dB")


def test_a_copy_of_a_displayed_image_gives_no_interval() -> None:
    row = judge(value(19.0, math.nan, 1), rows(ONE_IMAGE).assign(lossy=True))
    assert row["verdict"] == "undecided"
    assert row["reason"].startswith("too few images for an interval")


def test_every_verdict_has_its_rule() -> None:
    assert tuple(RULE) == get_args(Verdict)


def test_the_committed_verdicts_are_those_of_the_committed_rows() -> None:
    again = verdicts(read_values(VALUES), pd.read_csv(FIGURES / "rows.csv"), facts())
    written = pd.read_csv(StringIO(again.to_csv(index=False)))
    pd.testing.assert_frame_equal(written, pd.read_csv(FIGURES / "verdicts.csv"), rtol=1e-12)
    counted = json.loads((FIGURES / "metrics.json").read_text())["verdicts"]
    assert again["verdict"].value_counts().to_dict() == counted


def test_one_row_per_reported_value_in_their_order() -> None:
    values = read_values(VALUES)
    table = verdicts(values, rows([[17, 18, 20], [18, 20, 19]], cell="lenet-untrained-proposed"), {})
    assert table.columns.tolist() == VERDICT_COLUMNS
    assert table[["cell", "measure"]].equals(values[["cell", "measure"]])
    run = table[table["verdict"] != "not run"].iloc[0]
    assert (run["cell"], run["paper_value"], run["paper_std"], run["paper_n"]) == (
        "lenet-untrained-proposed",
        18.0,
        3.33,
        100,
    )
    assert bool(run["paper_checked"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "fine"}, "unknown status 'fine'; nearest: 'failed'"),
        ({"psnr": math.nan}, "cell 'some-cell', seed 0, image 0: status is 'ok', but psnr is nan"),
        ({"psnr": -math.inf}, "status is 'ok', but psnr is -inf"),
        ({"seed": math.nan}, "column 'seed' has an empty value"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        judge(value(12.5, 3, 100), rows([[10, 12]]).assign(**change))


def test_rows_without_a_column_are_refused() -> None:
    with pytest.raises(SettingsError, match="rows: no column 'seed'"):
        judge(value(12.5, 3, 100), rows([[10, 12]]).drop(columns="seed"))


# Properties

psnrs = st.floats(0, 60)
tables = st.integers(1, 12).flatmap(
    lambda n_images: st.lists(st.lists(psnrs, min_size=n_images, max_size=n_images), min_size=1, max_size=4)
)
quick = settings(max_examples=50, deadline=None)


@quick
@given(
    # Six degrees of freedom and more in every term: with fewer, those of Welch and Satterthwaite grow so fast with the
    # paper's share of the variance that a wider spread can give a narrower interval.
    images=st.lists(psnrs, min_size=7, max_size=20).filter(lambda images: len(images) != 10),
    shifts=st.lists(st.floats(-5, 5), min_size=7, max_size=9),
    std=st.floats(0.1, 30),
    wider=st.floats(1, 10),
    place=st.floats(-0.999, 0.999),
)
def test_widening_the_spread_of_the_paper_keeps_what_is_reproduced(
    images: list[float], shifts: list[float], std: float, wider: float, place: float
) -> None:
    ours = rows([[psnr + shift for psnr in images] for shift in shifts])
    around = compare(ours, 0, std, 10)
    paper = around.value + place * min(around.ci_high - around.difference, std)
    assert judge(value(paper, std, 10), ours)["verdict"] == "reproduced"
    assert judge(value(paper, std * wider, 10), ours)["verdict"] == "reproduced"


@quick
@given(table=tables, paper=psnrs, data=st.data())
def test_the_order_of_the_rows_does_not_matter(table: list[list[float]], paper: float, data: st.DataObject) -> None:
    ours = rows(table)
    shuffled = ours.iloc[data.draw(st.permutations(range(len(ours))))]
    before, after = (verdicts(value(paper, 3, 100), r, {}) for r in (ours, shuffled))
    pd.testing.assert_frame_equal(before, after)


def test_a_run_without_attacks_has_no_number(tmp_path: Path) -> None:
    description = tmp_path / "description.json"
    named = dict.fromkeys(("label", "network", "training", "attack", "variant", "clients", "victim"), "")
    numbers = {"epoch": 0, "swapped_rows": False, "seeds": [0], "shards": 1, "images_per_client": 1}
    unset = dict.fromkeys(("variant_of", "total_variation", "step_decay"))
    cell = {**named, **numbers, **unset, "deviations": [], "left_out": "no time", "settings": {}}
    content = {"scale": "demo", "about": "", "artefacts": {}, "cells": {"some-cell": cell}}
    description.write_text(json.dumps(content))
    values = tmp_path / "values.csv"
    values.write_text(",".join(COLUMNS) + f"\n{LINE}\n")
    rows_file, metrics, out = (tmp_path / name for name in ("rows.csv", "metrics.json", "verdicts.csv"))
    write_verdicts([], values, description, rows_file, metrics, out)
    (judged,) = pd.read_csv(out).to_dict("records")
    assert (judged["verdict"], judged["reason"], judged["n_images"]) == ("not run", "no time", 0)
    assert pd.read_csv(rows_file).empty
    assert json.loads(metrics.read_text()) == {"verdicts": {"not run": 1}, "failed": 0, "psnr": {}}
    description.write_text("{}")
    with pytest.raises(SettingsError, match=r"description\.json: scale: field required"):
        write_verdicts([], values, description, rows_file, metrics, out)
