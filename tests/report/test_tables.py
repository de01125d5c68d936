"""Tables say what the frames hold: nothing averaged or left out silently, and files that other programs read."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from invgrad.paper.weights import power
from invgrad.report.artefact import PAPER
from invgrad.report.export import save_table
from invgrad.report.settings_table import settings_in_long_form, settings_table
from invgrad.report.tables import (
    comparison_text,
    count_excluded,
    difference_and_interval,
    finite,
    flat_image,
    marked,
    mean_and_spread,
    mean_psnr,
    sample_size,
    unlike_paper,
)
from invgrad.results.provenance import Stamp


def row(cell: str, seed: int, image: int, psnr: float, status: str = "ok", iterations: int = 30) -> dict[str, object]:
    run = {"dataset": "cifar10", "source": "packaged", "flat_psnr": 15.5, "iterations": iterations, "restarts": 2}
    return {"cell": cell, "seed": seed, "image": image, "psnr": psnr, "status": status} | run


ROWS = pd.DataFrame(
    [
        *(row("a", seed, image, 20.0 + 2 * seed + image) for seed in range(2) for image in range(3)),
        row("b", 0, 0, 15.0),
        row("b", 0, 1, math.inf, iterations=12),
        row("b", 0, 2, math.nan, "failed"),
    ]
)
ROOT = Path(__file__).parents[2]
STAMP = Stamp("0123abcd", "tiny", "fedcba9876543210")


def compared(label: str, **paper: object) -> dict[str, object]:
    """A row of `ArtefactResults.comparison`."""
    ours = {
        "value": 22.0,
        "std_images": 1.0,
        "std_seeds": 1.414,
        "n_images": 3,
        "n_seeds": 2,
        "n_failed": 0,
        "n_exact": 0,
        "flat_psnr": 21.5,
    }
    run = {"iterations_min": 30, "iterations_max": 30, "restarts_min": 2, "restarts_max": 2}
    return (
        {"label": label, "dataset": "cifar10", "deviations": ""}
        | run
        | ours
        | dict.fromkeys(PAPER, math.nan)
        | {"verdict": None, "reason": None}
        | paper
    )


def test_numbers_without_spread_interval_or_value() -> None:
    assert mean_and_spread(18.0, 3.333) == "18.00 ± 3.33"
    assert mean_and_spread(18.0, math.nan) == "18.00"
    assert mean_and_spread(math.nan, math.nan) == "–"
    assert difference_and_interval(0.5, -0.2, 1.2) == "+0.50 (-0.20 to +1.20)"
    assert difference_and_interval(-0.5, math.nan, math.nan) == "-0.50"
    assert difference_and_interval(math.nan, math.nan, math.nan) == "–"


def test_a_comparison_is_shown_with_what_is_not_in_the_mean() -> None:
    few = {"std_images": math.nan, "std_seeds": math.nan, "n_failed": 1, "n_exact": 2, "iterations_min": 12}
    few["flat_psnr"] = 22.5
    paper = {"paper_value": 22.5, "paper_std": 3.0, "paper_checked": True, "verdict": "differs", "reason": "so"}
    interval = {"difference": -0.5, "ci_low": -0.75, "ci_high": -0.25}
    shown = comparison_text(pd.DataFrame([compared("B") | few, compared("A", **paper, **interval)]))
    assert shown.to_dict("records") == [
        {
            "cell": "B",
            "data": "CIFAR-10",
            "PSNR in dB (± images)": "22.00 ↓",
            "± seeds": "–",
            "n (images × seeds)": "3 × 2",
            "failed / exact": "1 / 2",
            "iterations × restarts": "12–30 × 2",
            "paper († recalled)": "–",
            "difference (95 % interval)": "–",
            "verdict": "–",
            "reason": "–",
        },
        {
            "cell": "A",
            "data": "CIFAR-10",
            "PSNR in dB (± images)": "22.00 ± 1.00",
            "± seeds": "1.41",
            "n (images × seeds)": "3 × 2",
            "failed / exact": "0 / 0",
            "iterations × restarts": "30 × 2",
            "paper († recalled)": "22.50 ± 3.00",
            "difference (95 % interval)": "-0.50 (-0.75 to -0.25)",
            "verdict": "differs",
            "reason": "so",
        },
    ]


def test_a_recalled_value_is_marked_and_may_have_no_spread_or_interval() -> None:
    paper = {"paper_value": 15.5, "paper_checked": False, "difference": -0.5}
    shown = comparison_text(pd.DataFrame([compared("A", **paper), compared("B")]))
    assert shown["paper († recalled)"].tolist() == ["15.50 †", "–"]
    assert shown["difference (95 % interval)"].tolist() == ["-0.50", "–"]
    shown = comparison_text(pd.DataFrame([compared("A", **paper | {"paper_value": 11.9})]))
    assert shown["paper († recalled)"].tolist() == ["11.90 † ↓"], (
        "below the flat image of the paper's data, not of ours"
    )


def test_only_finite_values_are_averaged_and_the_others_told() -> None:
    assert finite(ROWS)["psnr"].max() == 24
    assert len(finite(ROWS)) == 7
    assert count_excluded(ROWS) == "1 failed, 1 exact"
    assert count_excluded(finite(ROWS)) == ""
    assert mean_psnr(ROWS) == "21.00 dB, 1 failed, 1 exact"
    assert mean_psnr(ROWS[ROWS["psnr"] == math.inf]) == "1 exact"
    assert mean_psnr(ROWS[:0]) == "–"
    assert mean_psnr(ROWS[ROWS["cell"] == "b"]) == "15.00 dB ↓, 1 failed, 1 exact"


def test_only_what_is_below_the_flat_image_is_marked() -> None:
    assert marked("x", 12.3, 12.4) == "x ↓"
    assert [marked("x", *each) for each in ((12.4, 12.4), (math.inf, 12), (math.nan, 12), (9, math.nan))] == ["x"] * 4


def test_n_counts_images_and_seeds_and_has_a_range_where_cells_differ() -> None:
    a, b = (ROWS[ROWS["cell"] == cell] for cell in "ab")
    assert sample_size(a) == "n = 3 images × 2 network seeds"
    assert sample_size(a, b[:1]) == "n = 1–3 images × 1–2 network seeds per cell"
    assert sample_size(b[:1]) == "n = 1 image × 1 network seed"


def test_the_flat_image_is_named_for_every_data_set_with_each_image_counted_once() -> None:
    more = ROWS.assign(dataset="photos10", flat_psnr=ROWS["image"] + 10.0)
    assert flat_image(pd.concat([ROWS, more])) == (
        "A flat image of the mean colour has 15.5 dB on these images of CIFAR-10 and 11.0 dB on these images of "
        "ten photographs; where a result is below it (↓), the PSNR sees nothing of the image."
    )
    assert flat_image(ROWS.assign(flat_psnr=math.nan)) == ""


@pytest.mark.parametrize(("value", "text"), [(1e-6, "1e-6"), (2.5e-3, "2.5e-3"), (0.1, "1e-1"), (30, "3e+1")])
def test_powers_of_ten_are_short(value: float, text: str) -> None:
    assert power(value) == text


def test_what_is_unlike_the_paper_is_said_once() -> None:
    cells = {
        "a": {"label": "A", "deviations": ["width 8 instead of 64"]},
        "b": {"label": "B", "deviations": ["width 8 instead of 64", "restarts 1 instead of 8"]},
        "c": {"label": "C", "deviations": ["width 8 instead of 64", "restarts 1 instead of 8"]},
    }
    assert unlike_paper(cells) == "Unlike the paper: width 8 instead of 64; B / C (restarts 1 instead of 8)."
    assert unlike_paper({"a": {"label": "A", "deviations": []}}) == ""
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
    save_table(table, pd.DataFrame({"n": range(length)}), tmp_path / "some", "50 % of α_1 ↓", STAMP)
    read = pd.read_csv(tmp_path / "some.csv")
    assert read.to_dict("list") == {"n": list(range(length))}, "numbers alone"
    markdown = (tmp_path / "some.md").read_text()
    assert markdown.startswith("50 % of α_1 ↓\n\n|")
    assert "± 3 \\|x\\|" in markdown
    latex = (tmp_path / "some.tex").read_text()
    assert r"a\_b \& \{c\} \textbackslash{} d" in latex
    assert r"100 \% | $\alpha$" in latex
    assert r"p{0.60\linewidth}l" in latex
    assert r"\caption{50 \% of $\alpha$\_1 $\downarrow$}" in latex
    assert (r"\begin{longtable}" in latex) == (length > 30)


def test_files_that_can_hold_a_comment_say_in_one_how_they_were_made(tmp_path: Path) -> None:
    save_table(pd.DataFrame({"a": ["x"]}), pd.DataFrame({"n": [1]}), tmp_path / "some", "Caption", STAMP)
    lines = (tmp_path / "some.md").read_text().splitlines()
    assert lines[-3:] == ["| x   |", "", f"<!-- {STAMP} -->"], "apart from the table, which a blank line ends"
    lines = (tmp_path / "some.tex").read_text().splitlines()
    assert lines[0] == f"% {STAMP}"
    assert str(STAMP) not in "".join(lines[1:]) + (tmp_path / "some.csv").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "figures/small").glob("*.csv")), ids=lambda path: path.stem)
def test_committed_tables_have_numbers_in_tidy_columns(path: Path) -> None:
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    assert [name for name in table if not re.fullmatch("[a-z][a-z0-9_]*", name)] == []
    texts = {"label", "network", "attack", "variant", "strength", "source", "value", "paper", "reason", "deviations"}
    shown = re.compile("[±†×–%]| dB|[0-9] ?[(/]")
    values = {value for name in {*table} - texts for value in table[name]}
    assert {value for value in values if shown.search(value)} == set()
