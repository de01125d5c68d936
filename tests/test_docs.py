"""What the documentation shows is what was run."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from invgrad.stamp import Stamp
from invgrad.tables import save_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

sys.path.insert(0, str(ROOT / "docs"))
from refresh import open_details, refreshed, shown_table  # noqa: E402


def test_the_tables_in_the_readme_are_those_that_were_rendered() -> None:
    rendered = shown_table(ROOT / "figures/small/table1.md")
    assert rendered in README
    assert refreshed(README) == README
    verdicts = pd.read_csv(ROOT / "figures/small/verdicts.csv").set_index("cell")
    ours = verdicts.loc["lenet-untrained-proposed"]
    assert f"{ours.value:.2f} ± {ours.std_images:.2f}" in rendered
    row = next(line for line in rendered.splitlines() if line.startswith("| LeNet (Zhu), untrained: proposed"))
    assert ours.verdict in row
    assert ours.reason in row


def test_the_readme_does_without_the_comment_of_a_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": ["x <!-- y -->"]})
    save_table(table, tmp_path / "some", "Caption", Stamp("0123abcd", "tiny", "fedcba9876543210"))
    assert shown_table(tmp_path / "some.md") == f"Caption\n\n{table.to_markdown(index=False)}\n"


def test_every_artefact_is_in_the_readme() -> None:
    experiments = yaml.safe_load((ROOT / "config/experiments.yaml").read_text())
    for name in experiments["artefacts"]:
        assert f"[notebooks/{name}.py](notebooks/{name}.py)" in README


def test_the_open_details_are_those_of_the_data() -> None:
    assert (ROOT / "docs/open-details.md").read_text() == open_details(ROOT / "data/open_details.yaml")


def test_everything_that_the_readme_shows_is_there() -> None:
    found = re.findall(r"\]\(([^)]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    links = [link for link in found if not link.startswith("http")]
    assert {"figures/small/fig2.png", "figures/small/index.md", "FINDINGS.md"} <= set(links)
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_example_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    exec(example[1].replace("iterations=500", "iterations=3"), {})
    assert "torch.Size([1, 1, 3, 32, 32])" in capsys.readouterr().out
