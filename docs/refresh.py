"""Write FINDINGS.md, and what docs and README take from figures/small, the code and the configuration."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import yaml
from findings import counted, latest_verdicts, rendered, worded, wrapped

from invgrad.experiments.config import CONFIG, load
from invgrad.metrics.recovery import RECOVERED, RECOVERIES
from invgrad.report.tables import fixed
from invgrad.settings import read_yaml

ROOT = Path(__file__).parents[1]
RATIOS = {
    "AVX-512, one thread": ROOT / "src/invgrad/performance/bench.json",
    "AVX-512, two threads": ROOT / "docs/bench-two-threads.json",
    "AVX2, one thread": ROOT / "docs/bench-avx2.json",
}
"""Files of `invgrad bench`, of one machine."""
BREACHING = {
    "one thread": ROOT / "docs/bench-breaching.json",
    "two threads": ROOT / "docs/bench-breaching-two-threads.json",
}
"""Files of `invgrad bench --other docs/breaching.py`, of the same machine."""
COLUMNS = {
    "network": "network",
    "trials": "trials at once",
    "images": "images each",
    "ms_per_trial_iteration": "ms per trial-iteration",
    "released_ms": "released algorithm, ms",
    "ratio": "ratio",
    "share_of_matrix_rate": "share of the matrix-product rate",
    "share_of_bandwidth": "share of the memory bandwidth",
    "bound_by": "bound by",
}


def with_table(page: str, name: str, table: str) -> str:
    """The page with the table between the markers of this name, which it has once."""
    pattern = rf"(<!-- {name}:.*?-->\n).*?(<!-- /{name} -->)"
    page, found = re.subn(pattern, lambda match: f"{match[1]}{table}{match[2]}", page, flags=re.DOTALL)
    assert found == 1, f"{name}: {found} places"
    return page


def results_table(verdicts: pd.DataFrame) -> str:
    """Table 1 in short, as Markdown: the paper's values, ours and the verdicts."""
    lines = ["| cell | paper, dB | ours, dB (images × seeds) | ± seeds | verdict |", "|---|---|---|---|---|"]
    for row in verdicts[verdicts["id"] == "table1"].itertuples():
        paper = f"{row.paper_value:.2f} ± {row.paper_std:.2f}{'' if row.paper_checked else ' †'}"
        lines.append(f"| `{row.judged}` | {paper} | {counted(row)} | {fixed(row.std_seeds)} | {worded(row)} |")
    return "\n".join(lines) + "\n"


def bench_table(path: Path) -> str:
    """The table of a file that `invgrad bench --out` wrote, as Markdown."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = pd.DataFrame(content["rows"]).filter(COLUMNS).rename(columns=COLUMNS)
    where = "{device}, {threads} threads, torch {torch}, medians of {rounds} rounds".format(**content)
    if "bandwidth" in content:  # older files have no limits
        where += "; {matrix_rate} GFLOP/s in matrix products, {bandwidth} GB/s from memory".format(**content)
    return f"{where}:\n\n{rows.to_markdown(index=False)}\n"


def ratios_table(paths: dict[str, Path], ratio: str = "ratio") -> str:
    """The ratios to the released algorithm, or to another, of several files of `invgrad bench`, as Markdown."""
    key = ["network", "trials", "images"]
    ratios = {
        name: pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["rows"]).set_index(key)[ratio].dropna()
        for name, path in paths.items()
    }
    table = pd.DataFrame(ratios).rename_axis([COLUMNS[name] for name in key]).reset_index()
    return table.to_markdown(index=False) + "\n"


def claims_table() -> str:
    """Every artefact of the experiments, and what rebuilds it into which files, as Markdown."""
    lines = ["| the paper's | is rebuilt by | into `figures/<scale>/` |", "|---|---|---|"]
    for name, artefact in load(read_yaml(CONFIG)).experiments.artefacts.items():
        title = artefact.title if artefact.where in artefact.title else f"{artefact.title} ({artefact.where})"
        files = f"`{name}.{{{','.join(artefact.writes)}}}`"
        lines.append(f"| {title} | rule `{name}`, [notebooks/{name}.py](../notebooks/{name}.py) | {files} |")
    lines.append(
        "| every number that it reports, beside ours | rule `verdict`, "
        "[data/paper_values.csv](../data/paper_values.csv) | `verdicts.csv` |"
    )
    return "\n".join(lines) + "\n"


def open_details(path: Path) -> str:
    """The details that the paper leaves open, as Markdown."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    source = f"Written by docs/refresh.py from [{path.name}](../data/{path.name})."
    lines = ["# Details that the paper leaves open", "", source]
    for number, detail in enumerate(content["details"], start=1):
        source = detail["source"]
        link = f" Released code: [{source}]({content['repository']}/{quote(source)})." if source else ""
        where = ", ".join(detail["artefacts"])
        lines += ["", f"{number}. **{detail['question']}** {detail['choice']} {detail['why']}{link} ({where})"]
    return wrapped("\n".join(lines) + "\n")


def refreshed_readme(page: str) -> str:
    """README.md with its table as the verdicts have it."""
    return with_table(page, "results", results_table(latest_verdicts()))


def refreshed_artefacts(page: str) -> str:
    """docs/artefacts.md with its table as the configuration has it."""
    return with_table(page, "claims", claims_table())


def refreshed_performance(page: str) -> str:
    """docs/performance.md with the tables of every bench."""
    for name in ("bench", "bench-gpu"):
        page = with_table(page, name, bench_table(ROOT / f"src/invgrad/performance/{name}.json"))
    page = with_table(page, "small-resnets", bench_table(ROOT / "docs/bench-small-resnets.json"))
    page = with_table(page, "breaching", ratios_table(BREACHING, "ratio_to_other"))
    return with_table(page, "ratios", ratios_table(RATIOS))


def recovery_table(path: Path) -> str:
    """What the rule of an audit said of 100 reconstructions, and how many originals two networks found, as Markdown."""
    table = pd.read_csv(path).assign(neither=lambda rows: ~(rows["imagenet"] | rows["cifar"]))
    lines = [
        "| the rule says | reconstructions | found by EfficientNet-Lite0 | found by ResNet-20 | by neither |",
        "|---|---|---|---|---|",
    ]
    for recovery in RECOVERIES:
        rows = table[table["recovery"] == recovery]
        found = " | ".join(str(rows[name].sum()) for name in ("imagenet", "cifar", "neither"))
        lines.append(f"| {recovery} | {len(rows)} | {found} |")
    recovered = table[table["recovery"] == RECOVERED].groupby("kind", sort=False)["neither"].agg(["sum", "size"])
    kinds = "; ".join(f"{kind}: {row['sum']} of {row['size']}" for kind, row in recovered.iterrows())
    return "\n".join([*lines, "", f"Recovered by the rule and found by neither, by kind: {kinds}."]) + "\n"


def refreshed_audit(page: str) -> str:
    """docs/audit.md with the table of the blind check."""
    return with_table(page, "recovery", recovery_table(ROOT / "docs/recovery.csv"))


PAGES = {
    "README.md": refreshed_readme,
    "docs/artefacts.md": refreshed_artefacts,
    "docs/audit.md": refreshed_audit,
    "docs/performance.md": refreshed_performance,
}
"""The pages with tables, and what writes these."""


TEMPLATES = {
    "FINDINGS.md": "findings.md.jinja",
    "docs/verdicts.md": "verdicts.md.jinja",
    "docs/paper-values.md": "paper-values.md.jinja",
}
"""The pages that are rendered whole, and their templates in this folder."""


if __name__ == "__main__":
    for page, template in TEMPLATES.items():
        (ROOT / page).write_text(rendered(template), encoding="utf-8")
    (ROOT / "docs/open-details.md").write_text(open_details(ROOT / "data/open_details.yaml"), encoding="utf-8")
    for name, refreshed in PAGES.items():
        (ROOT / name).write_text(refreshed((ROOT / name).read_text(encoding="utf-8")), encoding="utf-8")
