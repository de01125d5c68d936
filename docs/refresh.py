"""Write the README's tables, as they are in figures/small and in the configuration, and the open details."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
COLUMNS = {
    "network": "network",
    "trials": "trials at once",
    "images": "images each",
    "ms_per_trial_iteration": "ms per trial-iteration",
    "released_ms": "released algorithm, ms",
    "ratio": "ratio",
    "share_of_matrix_rate": "share of the matrix-product rate",
}


def with_table(readme: str, name: str, table: str) -> str:
    """The README with the table between the markers of this name."""
    pattern = rf"(<!-- {name}:.*?-->\n).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{table}{match[2]}", readme, flags=re.DOTALL)


def shown_table(path: Path) -> str:
    """What an artefact's Markdown file shows: all but the comment at its end."""
    return re.sub(r"\n<!-- .* -->\n\Z", "", path.read_text())


def bench_table(path: Path) -> str:
    """What `invgrad bench --out` wrote, as Markdown."""
    content = json.loads(path.read_text())
    rows = pd.DataFrame(content["rows"])[list(COLUMNS)].rename(columns=COLUMNS)
    where = "{device}, {threads} threads, torch {torch}, medians of {rounds} rounds".format(**content)
    return f"{where}:\n\n{rows.to_markdown(index=False)}\n"


def claims_table(path: Path) -> str:
    """Every artefact of the experiments, and what rebuilds it into which files, as Markdown."""
    lines = ["| the paper's | is rebuilt by | into `figures/<scale>/` |", "|---|---|---|"]
    for name, artefact in yaml.safe_load(path.read_text())["artefacts"].items():
        title = artefact["title"] if artefact["where"] in artefact["title"] else f"{artefact['title']} ({artefact['where']})"
        files = f"`{name}.{{{','.join(artefact['writes'])}}}`"
        lines.append(f"| {title} | rule `{name}`, [notebooks/{name}.py](notebooks/{name}.py) | {files} |")
    lines.append(
        "| every number that it reports, beside ours | rule `verdict`, [data/paper_values.csv](data/paper_values.csv) "
        "| `verdicts.csv` |"
    )
    return "\n".join(lines) + "\n"


def open_details(path: Path) -> str:
    """The details that the paper leaves open, as Markdown."""
    content = yaml.safe_load(path.read_text())
    lines = ["# Details that the paper leaves open", "", f"Written by docs/refresh.py from [{path.name}](../data/{path.name})."]
    for number, detail in enumerate(content["details"], start=1):
        source = detail["source"]
        link = f" Released code: [{source}]({content['repository']}/{quote(source)})." if source else ""
        where = ", ".join(detail["artefacts"])
        lines += ["", f"{number}. **{detail['question']}** {detail['choice']} {detail['why']}{link} ({where})"]
    return "\n".join(lines) + "\n"


def refreshed(readme: str) -> str:
    """The README with its tables as they are in the figures, in docs and in the configuration."""
    readme = with_table(readme, "table1", shown_table(ROOT / "figures/small/table1.md"))
    readme = with_table(readme, "claims", claims_table(ROOT / "config/experiments.yaml"))
    for name in ("bench", "bench-gpu"):
        readme = with_table(readme, name, bench_table(ROOT / f"docs/{name}.json"))
    return readme


if __name__ == "__main__":
    (ROOT / "docs/open-details.md").write_text(open_details(ROOT / "data/open_details.yaml"))
    path = ROOT / "README.md"
    path.write_text(refreshed(path.read_text()))
