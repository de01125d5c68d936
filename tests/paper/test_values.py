"""Values that a reader has looked up in the paper."""

from pathlib import Path

import pytest

from invgrad.paper.values import COLUMNS, corrected, read
from invgrad.settings import SettingsError

LINES = [
    "table1,a,psnr_mean,18.00,3.33,100,dB,Table 1,false,recalled; not checked against the PDF",
    "fig6,b,psnr_shown,19.77,,1,dB,Figure,false,recalled; not checked against the PDF",
    "ablation,c,psnr_mean,20.12,3.226,10,dB,Appendix,false,recalled; not checked against the PDF; printed as standard "
    "error 1.02",
]


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "values.csv"
    path.write_text("\n".join([",".join(COLUMNS), *LINES]) + "\n")
    return path


def looked_up(values: Path, *lines: str) -> Path:
    path = values.with_name("looked-up.csv")
    path.write_text("\n".join(["cell,measure,value,std", *lines]) + "\n")
    return path


def test_what_was_looked_up_is_written_and_marked(values: Path) -> None:
    lines = ["a,psnr_mean,18.00,3.33", "", "b,psnr_shown,20.1,", "c,psnr_mean,20.12,3.162"]
    text, said = corrected(values, looked_up(values, *lines))
    values.write_text(text)
    assert said == [
        "a,psnr_mean: confirmed",
        "b,psnr_shown: 19.77 is now 20.1",
        "c,psnr_mean: 20.12 ± 3.226 is now 20.12 ± 3.162",
    ]
    assert [(each.value, each.std, each.checked) for each in read(values)] == [
        (18, 3.33, "true"),
        (20.1, None, "true"),
        (20.12, 3.162, "true"),
    ]
    notes = ["checked against the PDF"] * 2 + ["checked against the PDF; printed as standard error 1.00"]
    assert [each.note for each in read(values)] == notes


def test_other_lines_stay(values: Path) -> None:
    text, _ = corrected(values, looked_up(values, "b,psnr_shown,20.1,"))
    lines = text.splitlines()
    assert [lines[1], lines[3]] == [LINES[0], LINES[2]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "a,psnr_shown,18,",
            "line 3: unknown cell,measure 'a,psnr_shown'; nearest: 'b,psnr_shown'|nearest: 'a,psnr_mean'",
        ),
        ("a,psnr_mean,many,3", "line 3: value: .*number.*'many'"),
        ("b,psnr_shown,20,3", "line 3: std: psnr_mean needs one"),
        ("a,psnr_mean,18", "line 3: 3 cells for 4 columns"),
        ("c,psnr_mean,20.2,3", "line 3: cell, measure: 'c', 'psnr_mean' is already in line 2"),
    ],
)
def test_what_is_not_valid_is_named(values: Path, line: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        corrected(values, looked_up(values, "c,psnr_mean,20.1,3", line))
