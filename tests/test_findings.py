"""Every number with decimals in FINDINGS.md is compared with what the comment behind it names.

A comment `<!-- FILE; ROWS; VALUE -->` belongs to the number before it: of the rows of `figures/small/FILE` that the
query ROWS chooses, VALUE is a column, which has one value there, or `column.reducer`, as `psnr.mean`. Of a column of
text its first number counts, or with `column#2` its second. `plan:SCALE` in place of FILE stands for the table of
`invgrad plan --scale SCALE`. `FIELD@CELL` compares the rows with the value that the paper prints for CELL, as a verdict
does, and takes a field of the difference, as `ci_low`.
"""

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from invgrad.config import CONFIG, load
from invgrad.costs import costs
from invgrad.estimate import Speed
from invgrad.paper import compare
from invgrad.plan import Plan
from invgrad.settings import read_yaml

ROOT = Path(__file__).parents[1]
FINDINGS = (ROOT / "FINDINGS.md").read_text()
CHECKED = re.compile(
    r"(?P<number>[-+−]?\d[\d,]*(?:\.\d+)?)(?: dB)?\s*"
    r"<!-- (?P<file>\S+); (?P<rows>.*?); (?P<value>\S+) -->"
)


@cache
def table(file: str) -> pd.DataFrame:
    """What a comment calls FILE."""
    kind, _, scale = file.partition(":")
    if kind == "plan":
        project = load(read_yaml(ROOT / CONFIG) | {"scale": scale})
        return costs(Plan(project), *(Speed.read(ROOT / "docs" / name) for name in ("bench.json", "bench-gpu.json")))
    return pd.read_csv(ROOT / "figures/small" / file)


def measured(file: str, rows: str, value: str) -> float:
    """What a comment names."""
    if "@" in value:
        field, cell = value.split("@")
        printed = table("verdicts.csv").query(f"cell == '{cell}' and measure == 'psnr_mean'").iloc[0]
        ours = compare(table(file).query(rows), printed["paper_value"], printed["paper_std"], printed["paper_n"])
        return float(getattr(ours, field))
    value, _, number = value.partition("#")
    column, _, reducer = value.partition(".")
    chosen = table(file).query(rows)[column.replace("_", " ") if column not in table(file) else column]
    if reducer:
        return float(getattr(chosen, reducer)())
    assert len(chosen) == 1, f"{file}: {len(chosen)} rows are {rows}"
    return float(re.findall(r"[-+]?\d+(?:\.\d+)?(?:e-?\d+)?", str(chosen.iloc[0]))[int(number or 1) - 1])


@pytest.mark.parametrize("match", list(CHECKED.finditer(FINDINGS)), ids=lambda match: match[0][:60])
def test_a_number_is_the_one_that_was_measured(match: re.Match[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    said = match["number"].replace("−", "-").replace(",", "")
    decimals = len(said.partition(".")[2])
    assert f"{measured(match['file'], match['rows'], match['value']):+.{decimals}f}" == f"{float(said):+.{decimals}f}"


def test_every_number_with_decimals_is_checked() -> None:
    """What is measured has decimals; settings stand between backticks."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", CHECKED.sub("", FINDINGS))
    assert re.findall(r"\d+\.\d+", text) == []


def test_every_comment_is_one_that_is_checked() -> None:
    assert FINDINGS.count("<!--") == len(CHECKED.findall(FINDINGS)) > 0
