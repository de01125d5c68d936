"""FINDINGS.md and docs/verdicts.md are what their templates say of the committed results."""

import csv
import math
import re
from pathlib import Path
from types import SimpleNamespace

import findings
import pandas as pd
import pytest
from findings import (
    FINISHED,
    TABLE1,
    as_far,
    defences,
    hours,
    latest_verdicts,
    layer_errors,
    new,
    new_verdicts,
    ours,
    paired,
    places,
    prices,
    prices_together,
    rendered,
    restarts,
    rows,
    signed,
    table1,
    unknown_images,
    worded,
    wrapped,
)
from refresh import TEMPLATES

from invgrad.paper.verdicts import RULE
from invgrad.results.files import read_tables
from invgrad.settings import read_yaml

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "figures/small"
EVERY_TEMPLATE = sorted((ROOT / "docs").glob("*.jinja"))


@pytest.mark.parametrize(("page", "template"), TEMPLATES.items())
def test_a_page_is_what_its_template_renders(page: str, template: str) -> None:
    assert (ROOT / page).read_text() == rendered(template)


@pytest.mark.parametrize("template", EVERY_TEMPLATE, ids=lambda path: path.name)
def test_no_number_with_decimals_is_typed(template: Path) -> None:
    """Measured and printed numbers have decimals, and are computed; a setting is written like `1e-2`."""
    assert template.name in TEMPLATES.values()
    assert re.findall(r"\d+\.\d+", template.read_text()) == []


def test_the_rule_of_every_verdict_is_shown() -> None:
    report, page = (FIGURES / "index.md").read_text(), (ROOT / "docs/verdicts.md").read_text()
    for verdict, when in RULE.items():
        assert f"| {verdict} | {when} |" in report
        assert f"| `{verdict}` | {when} |" in page


def test_the_answer_comes_first_in_ten_lines() -> None:
    answer = (ROOT / "FINDINGS.md").read_text().partition("[figures/small/index.md]")[0]
    lines = [line for line in answer.splitlines()[1:] if line]
    assert len(lines) <= 10


@pytest.mark.parametrize("page", TEMPLATES)
def test_no_line_but_of_a_table_is_long(page: str) -> None:
    lines = [line for line in (ROOT / page).read_text().splitlines() if not line.startswith("|")]
    assert max(map(len, lines)) <= 120


def test_a_paragraph_is_filled_and_a_table_stays() -> None:
    long, table = "word " * 40, "| a |\n|---|\n| " + "b " * 100 + "|"
    code = "```csv\na,b\nc,d\n```\n"
    text = wrapped(f"# Title\n\none\ntwo\n\n- {long}\n  end\n- next\n{table}\n{code}1. one\n2. two\n")
    first, second = ("word " * 23).strip(), "  " + "word " * 17 + "end"
    assert text == f"# Title\n\none two\n\n- {first}\n{second}\n- next\n{table}\n{code}1. one\n2. two\n"


def test_table_1_has_every_value_of_the_verdicts() -> None:
    judged = latest_verdicts().query("id == 'table1'").set_index("cell")
    assert set(TABLE1) == set(judged.index)
    for cell, line in zip(TABLE1, table1(), strict=True):
        row = judged.loc[cell]
        assert line.verdict.partition(";")[0] == row.verdict
        numbers = [line.paper, line.ours, line.between_networks.replace("–", ""), line.difference]
        decimals = [float(text) for text in re.findall(r"[+-]?\d+\.\d+", " ".join(numbers).replace("−", "-"))]
        spread = ["std_seeds"] if row.n_seeds > 1 else []
        columns = ["paper_value", "paper_std", "value", "std_images", *spread, "difference", "ci_low", "ci_high"]
        assert line.ours.endswith("‡") == (row.run == "earlier")
        assert decimals == [pytest.approx(row[column], abs=0.005001) for column in columns]
        assert (line.why == "") == (line.verdict != "not comparable")
        assert row.reason.startswith(line.why)


def test_a_verdict_is_of_the_new_run_where_that_has_finished_the_cell() -> None:
    key = ["cell", "measure"]
    earlier, latest = pd.read_csv(FIGURES / "verdicts.csv").set_index(key), latest_verdicts().set_index(key)
    assert latest.index.tolist() == earlier.index.tolist()
    assert latest.loc[("lenet-untrained-proposed", "psnr_mean"), ["run", "n_seeds"]].tolist() == ["new", 20]
    new = new_verdicts().set_index("measure", append=True)
    assert set(new.index) == set(latest.index[latest["run"] == "new"])
    for run, those in (("new", new), ("earlier", earlier)):
        of_run = latest[latest["run"] == run]
        assert of_run["verdict"].tolist() == those.loc[of_run.index, "verdict"].tolist()


def test_of_a_difference_a_table_names_the_weight_that_agrees() -> None:
    line = SimpleNamespace(verdict="differs", weights="1e-3, 1e-4 of 6 tried")
    assert worded(line) == "differs; agrees for α = 1e-3, 1e-4"
    for weights in ("none of 6 tried", "", math.nan):
        assert worded(SimpleNamespace(verdict="differs", weights=weights)) == "differs"
    assert worded(SimpleNamespace(verdict="reproduced", weights="1e-3 of 6 tried")) == "reproduced"


def test_a_mean_is_that_of_the_rows() -> None:
    table = pd.read_csv(FIGURES / "rows.csv").set_index("cell")
    for cell in ("lenet-untrained-proposed", "lenet-trained-tv1e-1", "convnet-circular"):
        assert ours(cell).value == pytest.approx(table.loc[[cell], "psnr"].mean())
    first = rows("lenet-untrained-proposed", "image < 20", "seed == 1")
    assert len(first) == 20
    assert ours("lenet-untrained-proposed", "image < 20", "seed == 1").value == pytest.approx(first["psnr"].mean())
    assert ours("lenet-untrained-proposed", "image < 20").difference == pytest.approx(
        rows("lenet-untrained-proposed", "image < 20")["psnr"].mean() - 18.0
    )
    assert math.isnan(ours("lenet-trained-tv1e-1").difference)


def test_of_the_new_run_a_difference_is_that_of_its_verdict_also_with_the_effect_of_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new_verdicts.cache_clear()
    monkeypatch.setattr(findings, "finished", lambda: read_tables(sorted(FINISHED.glob("metrics/rows/lenet-*/*.csv"))))
    judged = new_verdicts().loc["lenet-untrained-proposed"]
    new_verdicts.cache_clear()
    assert "the interval allows for their effect" in judged.reason
    found = new("lenet-untrained-proposed")
    assert (found.ci_low, found.ci_high) == (judged.ci_low, judged.ci_high)
    assert found.n_seeds == 20


def test_print_is_as_far_from_the_mean_as_one_network_more() -> None:
    # Student's t with 3 degrees of freedom is beyond ±3.182446 in 5 % of cases.
    far = SimpleNamespace(difference=-3.182446 * 2 * math.sqrt(1 + 1 / 4), std_seeds=2, n_seeds=4)
    assert as_far(far) == pytest.approx(0.05, abs=1e-6)


def test_a_change_is_that_of_the_means() -> None:
    change = paired("lenet-untrained-unsigned", "lenet-untrained-tv1e-2")
    assert len(change) == 30
    means = [ours(cell).value for cell in ("lenet-untrained-unsigned", "lenet-untrained-tv1e-2")]
    assert change.mean() == pytest.approx(means[0] - means[1])


def test_tables_of_an_artefact_are_read() -> None:
    trained = restarts("lenet-trained-convergence")
    assert [trained.correlation_within, trained.lost, trained.lost_by_chance] == [-0.87, 0.12, 1.26]
    errors = layer_errors("lenet-untrained-proposed")
    assert errors.index.tolist() == list(range(1, 9))
    assert errors[1] > 10 * errors[8]


def test_defences_are_those_of_the_networks_that_were_trained_under_them() -> None:
    found = defences()
    assert {each.name.partition(" ")[0] for each in found} == {"none", "noise", "pruning", "quantisation"}
    assert len(found) == 11
    with (ROOT / "figures/small/defences.csv").open(encoding="utf-8") as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    noise = rows["defences-alike-noise1e-2"]
    mine = next(each for each in found if each.name == "noise of 0.01 clipping norms")
    assert mine.accuracy == pytest.approx(float(noise["validation_accuracy"]))
    assert mine.recovered == pytest.approx(float(noise["recovered"]))
    assert [each.accuracy for each in found] == sorted((each.accuracy for each in found), reverse=True)


def test_hours_of_artefacts_add_up() -> None:
    assert hours("small", "fig5", "fig7") == pytest.approx(hours("small", "fig5") + hours("small", "fig7"))
    assert 0 < hours("paper", "fig5") < hours("paper", "total")


def test_what_is_not_judged_has_a_price() -> None:
    judged = latest_verdicts()["verdict"].isin(["reproduced", "differs"])
    assert len(prices()) + unknown_images() == (~judged).sum()
    by_cell = {price.cell: price for price in prices()}
    trained, untrained = (by_cell[f"resnet20-4-{training}-lbfgs"] for training in ("trained", "untrained"))
    assert trained.core_hours == untrained.core_hours > 10 * trained.gpu_hours
    assert trained.training_core_hours > untrained.training_core_hours == 0
    attacks = sum(price.gpu_hours for price in prices())
    assert attacks < prices_together() < attacks + sum(price.training_gpu_hours for price in prices())


def test_every_measurement_is_used_and_has_its_origin() -> None:
    kept = read_yaml(ROOT / "docs/measurements.yaml")
    templates = "".join(path.read_text() for path in EVERY_TEMPLATE)
    assert set(kept) == set(re.findall(r'measured\("([^"]+)"\)', templates))
    assert all(set(measurement) == {"value", "what", "how"} for measurement in kept.values())


@pytest.mark.parametrize(("number", "shown"), [(-0.924, "−0.92"), (2.574, "2.57")])
def test_numbers_are_shown_with_two_decimals_and_a_minus(number: float, shown: str) -> None:
    assert places(number) == shown
    assert signed(number) == (shown if number < 0 else f"+{shown}")
    assert places(number, 0) == f"{number:.0f}".replace("-", "−")
