"""Tables say what the frames hold: nothing averaged or left out silently, and files that other programs read."""

import math
from pathlib import Path

import pandas as pd
import pytest

from invgrad.paper import compare, verdicts
from invgrad.stamp import Stamp
from invgrad.tables import (
    comparison,
    difference_and_interval,
    finite,
    left_out,
    mean_and_spread,
    mean_psnr,
    save_table,
    settings_in_long_form,
    settings_table,
    unlike_paper,
)


def row(cell: str, seed: int, image: int, psnr: float, status: str = "ok", iterations: int = 30) -> dict[str, object]:
    run = {"dataset": "cifar10", "iterations": iterations, "restarts": 2}
    return {"cell": cell, "seed": seed, "image": image, "psnr": psnr, "status": status} | run


ROWS = pd.DataFrame(
    [
        *(row("a", seed, image, 20.0 + 2 * seed + image) for seed in range(2) for image in range(3)),
        row("b", 0, 0, 15.0),
        row("b", 0, 1, math.inf, iterations=12),
        row("b", 0, 2, math.nan, "failed"),
    ]
)
PAPER = {"measure": "psnr_mean", "n": 100, "unit": "dB", "where": "Table 1", "note": ""}
VALUES = pd.DataFrame(
    [
        {"id": "t", "cell": "a", "value": 22.5, "std": 3.0, "checked": True} | PAPER,
        {"id": "t", "cell": "b", "value": 15.5, "std": math.nan, "checked": False}
        | PAPER
        | {"measure": "psnr_shown", "n": 1},
    ]
)
STAMP = Stamp("0123abcd", "tiny", "fedcba9876543210")
VERDICTS = verdicts(VALUES, ROWS, {"a": ["iterations 30 instead of 500"]})


def summary() -> pd.DataFrame:
    table = []
    for cell in ("b", "a"):
        ours = vars(compare(ROWS[ROWS["cell"] == cell], math.nan, math.nan, 1))
        table.append({"cell": cell, "label": cell.upper()} | ours)
    return pd.DataFrame(table).set_index("cell")


def test_numbers_without_spread_interval_or_value() -> None:
    assert mean_and_spread(18.0, 3.333) == "18.00 ± 3.33"
    assert mean_and_spread(18.0, math.nan) == "18.00"
    assert mean_and_spread(math.nan, math.nan) == "–"
    assert difference_and_interval(0.5, -0.2, 1.2) == "+0.50 (-0.20 to +1.20)"
    assert difference_and_interval(-0.5, math.nan, math.nan) == "-0.50"
    assert difference_and_interval(math.nan, math.nan, math.nan) == "–"


def test_comparison_keeps_the_order_and_counts_what_is_not_in_the_mean() -> None:
    table = comparison(summary(), VERDICTS, ROWS)
    assert table["cell"].tolist() == ["B", "A"]
    unreported, reported = table.to_dict("records")
    assert unreported["PSNR in dB (± images)"] == "15.00"
    assert unreported["failed / exact"] == "1 / 1"
    assert unreported["iterations × restarts"] == "12–30 × 2"
    assert [unreported[each] for each in ("paper († recalled)", "difference (95 % interval)", "verdict")] == ["–"] * 3
    assert reported["PSNR in dB (± images)"] == "22.00 ± 1.00"
    assert reported["± seeds"] == "1.41"
    assert reported["n (images × seeds)"] == "3 × 2"
    assert reported["paper († recalled)"] == "22.50 ± 3.00"
    assert reported["difference (95 % interval)"].startswith("-0.50 (-")
    assert reported["verdict"] == "not comparable"
    assert "iterations 30 instead of 500" in reported["reason"]


def test_comparison_by_the_displayed_image_marks_what_is_recalled() -> None:
    table = comparison(summary(), VERDICTS, ROWS, "psnr_shown")
    assert table["paper († recalled)"].tolist() == ["15.50 †", "–"]
    assert table["difference (95 % interval)"].tolist() == ["-0.50", "–"]


def test_only_finite_values_are_averaged_and_the_others_told() -> None:
    assert finite(ROWS)["psnr"].max() == 24
    assert len(finite(ROWS)) == 7
    assert left_out(ROWS) == "1 failed, 1 exact"
    assert left_out(finite(ROWS)) == ""
    assert mean_psnr(ROWS) == "21.00 dB, 1 failed, 1 exact"
    assert mean_psnr(ROWS[ROWS["psnr"] == math.inf]) == "1 exact"
    assert mean_psnr(ROWS[:0]) == "–"


def test_what_is_unlike_the_paper_is_said_once() -> None:
    cells = {
        "a": {"label": "A", "obstacles": ["width 8 instead of 64"]},
        "b": {"label": "B", "obstacles": ["width 8 instead of 64", "restarts 1 instead of 8"]},
        "c": {"label": "C", "obstacles": ["width 8 instead of 64", "restarts 1 instead of 8"]},
    }
    assert unlike_paper(cells) == "Unlike the paper: width 8 instead of 64. B / C: restarts 1 instead of 8."
    assert unlike_paper({"a": {"label": "A", "obstacles": []}}) == ""
    assert unlike_paper({}) == ""


def setting(value: str, provenance: str = "code", paper: str | None = None) -> dict[str, str | None]:
    return {"value": value, "provenance": provenance, "paper": paper}


def described(iterations: str = "30") -> dict[str, dict[str, dict[str, str | None]]]:
    return {
        "settings": {
            "attack.kind": setting("optimisation"),
            "attack.optimiser.step_size": setting("0.1", "recalled"),
            "attack.optimiser.kind": setting("adam", "recalled"),
            "attack.iterations": setting(iterations, "chosen", "500"),
            "attack.box": setting("true"),
            "victims.network.weights": setting("null", "code", "IMAGENET"),
            "victims.training": setting("null"),
        }
    }


def cells() -> dict[str, dict[str, dict[str, dict[str, str | None]]]]:
    lbfgs = described("15")
    lbfgs["settings"]["attack.optimiser.kind"] = setting("lbfgs")
    lbfgs["settings"]["attack.optimiser.step_size"] = setting("1.0")
    del lbfgs["settings"]["victims.training"]
    lbfgs["settings"]["victims.training.epochs"] = setting("2")
    return {"a": described(), "b": lbfgs, "c": described()}


def test_cells_with_equal_settings_share_a_row_of_what_differs() -> None:
    table, same = settings_table(cells())
    assert table.columns.tolist() == ["cells", "optimiser", "iterations", "network", "training"]
    assert table["cells"].tolist() == ["a, c", "b"]
    assert table["optimiser"].tolist() == ["adam, step size 0.1 [r]", "lbfgs, step size 1 [c]"]
    assert table["iterations"].tolist() == ["30 (paper: 500) [*]", "15 (paper: 500) [*]"]
    assert table["network"].tolist() == ["weights none (paper: IMAGENET) [c]"] * 2
    assert table["training"].tolist() == ["–", "as listed"]
    assert same == "The same wherever they apply: attack optimisation [c]; box yes [c]; training epochs 2 [c]."


def test_the_long_form_has_every_setting_of_every_cell() -> None:
    long = settings_in_long_form(cells())
    assert long.columns.tolist() == ["cell", "setting", "value", "provenance", "paper"]
    assert len(long) == sum(len(each["settings"]) for each in cells().values())
    assert long.loc[long["setting"] == "attack.iterations", "paper"].tolist() == ["500"] * 3
    assert long.loc[long["setting"] == "attack.box", "paper"].tolist() == [""] * 3


@pytest.mark.parametrize("length", [2, 80])
def test_files_hold_the_table_and_escape_what_their_format_reads(tmp_path: Path, length: int) -> None:
    table = pd.DataFrame({"100 % | α": ["a_b & {c} \\ d", "± 3 |x|" + 50 * "."] * (length // 2), "n": range(length)})
    save_table(table, tmp_path / "some", "50 % of α_1", STAMP)
    read = pd.read_csv(tmp_path / "some.csv")
    assert read.to_numpy().tolist() == table.to_numpy().tolist()
    markdown = (tmp_path / "some.md").read_text()
    assert markdown.startswith("50 % of α_1\n\n|")
    assert "± 3 \\|x\\|" in markdown
    latex = (tmp_path / "some.tex").read_text()
    assert r"a\_b \& \{c\} \textbackslash{} d" in latex
    assert r"100 \% | $\alpha$" in latex
    assert r"p{0.60\linewidth}l" in latex
    assert r"\caption{50 \% of $\alpha$\_1}" in latex
    assert (r"\begin{longtable}" in latex) == (length > 30)


def test_files_that_can_hold_a_comment_say_in_one_how_they_were_made(tmp_path: Path) -> None:
    save_table(pd.DataFrame({"a": ["x"]}), tmp_path / "some", "Caption", STAMP)
    lines = (tmp_path / "some.md").read_text().splitlines()
    assert lines[-3:] == ["| x   |", "", f"<!-- {STAMP} -->"], "apart from the table, which a blank line ends"
    lines = (tmp_path / "some.tex").read_text().splitlines()
    assert lines[0] == f"% {STAMP}"
    assert str(STAMP) not in "".join(lines[1:]) + (tmp_path / "some.csv").read_text()


def test_the_csv_may_hold_other_data(tmp_path: Path) -> None:
    save_table(pd.DataFrame({"a": ["x"]}), tmp_path / "some", "", STAMP, pd.DataFrame({"b": [1]}))
    assert pd.read_csv(tmp_path / "some.csv").columns.tolist() == ["b"]
    assert "| a" in (tmp_path / "some.md").read_text()
