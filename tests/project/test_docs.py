"""The documentation shows what was run, links to what is there, and names what exists."""

import json
import math
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from invgrad import __version__
from invgrad.cli.main import app
from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.plan import Plan
from invgrad.performance.cost import BENCH, Speed
from invgrad.performance.estimate import wall_seconds
from invgrad.performance.work import seconds_of_jobs
from invgrad.settings import read_yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("config/*.md")])
README = (ROOT / "README.md").read_text()
ANYWHERE = ["CHANGELOG.md"]
"""Pages that tell what was, not what is."""

sys.path.insert(0, str(ROOT / "docs"))
import refresh  # noqa: E402
from findings import latest_verdicts  # noqa: E402


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page, and those that are written in it."""
    text = page.read_text()
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    own = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
    return own | set(re.findall(r'<a id="([^"]+)">', text))


def commands() -> Iterator[tuple[str, str, list[str]]]:
    """Every `invgrad …` in a code block or between backticks: page, command, options."""
    for page in PAGES:
        for line in re.findall(r"(?:^|`|\| )invgrad ((?:[a-z]|--).*?)(?:`|  +#|$)", page.read_text(), re.MULTILINE):
            command, *words = line.split()
            yield page.name, command, [word.partition("=")[0] for word in words if word.startswith("--")]


def decisions() -> Iterator[tuple[Path, str]]:
    """The file and name of every decision that docs/architecture.md lists."""
    page = (ROOT / "docs/architecture.md").read_text()
    for path, names in re.findall(r"^\|.*\]\(\.\./([^)]+)\) \| (`.+`) \|$", page, re.MULTILINE):
        for name in re.findall(r"`(.+?)`", names):
            yield ROOT / path, name


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", refresh.PAGES)
def test_the_tables_are_those_that_were_rendered(name: str) -> None:
    page = (ROOT / name).read_text()
    assert refresh.PAGES[name](page) == page


def test_the_table_of_a_bench_has_the_limits_if_the_file_has_them(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    about = {"device": "cpu", "threads": 1, "torch": "2", "rounds": 3}
    row = dict.fromkeys(refresh.COLUMNS, 1) | {"bound_by": "memory"}
    path.write_text(json.dumps({**about, "matrix_rate": 9.5, "bandwidth": 7.5, "rows": [row]}))
    first, _, header, _, line = refresh.bench_table(path).splitlines()
    assert "9.5 GFLOP/s in matrix products, 7.5 GB/s" in first
    assert header.count("share of") == 2
    assert line.rstrip(" |").endswith("memory")
    older = {name: row[name] for name in row if name not in ("bound_by", "share_of_bandwidth")}
    path.write_text(json.dumps({**about, "rows": [older]}))
    first, _, header, *_ = refresh.bench_table(path).splitlines()
    assert first == "cpu, 1 threads, torch 2, medians of 3 rounds:"
    assert header.count("share of") == 1


def test_the_readme_says_how_long_the_demo_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one place, and what `invgrad plan` says, within the factor of two that it promises."""
    monkeypatch.chdir(ROOT)
    speed, plan = Speed.read(BENCH), Plan(load(read_yaml(CONFIG) | {"scale": "demo"}))
    minutes = wall_seconds(seconds_of_jobs(plan, speed).values(), speed, 2) / 60
    (said,) = re.findall(r"about (\d+) min on 2 cores", README)
    assert minutes / 2 <= int(said) <= 2 * minutes


def test_the_readme_has_the_verdicts_of_table_1() -> None:
    verdicts = latest_verdicts().set_index("cell")
    cells = [line.split("`")[1] for line in README.splitlines() if re.match(r"\| `.*dB|\| `.*±", line)]
    assert cells == list(verdicts.loc[verdicts["id"] == "table1", "judged"])
    ours = verdicts.loc["lenet-untrained-proposed"]
    n = f"{ours.n_images} × {ours.n_seeds}"
    assert f"| {ours.value:.2f} ± {ours.std_images:.2f} ({n}) | {ours.std_seeds:.2f} | {ours.verdict} |" in README
    assert " (10 × 1) ‡ | – | not comparable |" in README, "of the earlier run"


def test_every_artefact_is_listed() -> None:
    page = (ROOT / "docs/artefacts.md").read_text()
    for notebook in ROOT.glob("notebooks/*.py"):
        assert f"[notebooks/{notebook.name}](../notebooks/{notebook.name})" in page


def test_the_open_details_are_those_of_the_data() -> None:
    assert (ROOT / "docs/open-details.md").read_text() == refresh.open_details(ROOT / "data/open_details.yaml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if not link.startswith(("http:", "https:")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in headings(target), link


def test_the_readme_links_to_every_page() -> None:
    for page in ROOT.glob("docs/*.md"):
        assert f"](docs/{page.name})" in README, page.name


def test_commands_and_their_options_exist() -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = {
        name: {option for parameter in command.params for option in parameter.opts} for name, command in known.items()
    }
    found = [each for each in commands() if each[0] not in ANYWHERE]
    assert {"reconstruct", "plan", "bench"} <= {command for _, command, _ in found}
    for page, command, given in found:
        if not command.startswith("--"):
            assert command in known, f"{page}: invgrad {command}"
            assert set(given) <= options[command], f"{page}: invgrad {command} {given}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        found = re.findall(r"(?:^|`)make (?:[A-Z]+=\S+ )?([a-z-]+)(?:`|  | *#|$)", page.read_text(), re.MULTILINE)
        assert set(found) <= targets, page.name


def test_decisions_stand_where_the_architecture_says() -> None:
    found = list(decisions())
    assert len(found) > 20
    for path, name in found:
        files = path.rglob("*.y*ml") if path.is_dir() else [path]
        assert any(re.search(rf"\b{name}\b", file.read_text()) for file in files), f"{path}: {name}"


def test_every_package_has_its_sentence() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"^\| `([a-z]+)/` \|", page, re.MULTILINE))
    assert named == {path.parent.name for path in ROOT.glob("src/invgrad/*/__init__.py")}


def test_packages_are_listed_in_the_order_that_is_checked() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    listed = re.search(r"^```\n(warm\n.*?)```", page, re.DOTALL | re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert listed
    assert listed[1].splitlines() == [layer.replace(" |", ",") for layer in contracts[0]["layers"]]


def test_the_example_in_the_readme_finds_the_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    exec(example[1], {})
    said = capsys.readouterr().out
    shown = re.search(r"It prints `(.*?)`", README, re.DOTALL)
    assert shown
    label, found, flat = map(float, re.findall(r"[\d.]+", said))
    assert re.sub(r"[\d.]+", "", said.strip()) == re.sub(r"[\d.]+", "", " ".join(shown[1].split()))
    expected = list(map(float, re.findall(r"[\d.]+", shown[1])))
    assert [label, flat] == [expected[0], expected[2]]
    assert math.isclose(found, expected[1], abs_tol=1)
    assert (tmp_path / "found.png").stat().st_size > 1000


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
