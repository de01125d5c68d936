"""Copy the results that the README shows from figures/demo to docs/demo, and its table into the README."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = ("fig2.png", "table1.csv", "table1.md", "verdicts.csv", "verdicts.json")


def with_table(readme: str, table: str) -> str:
    """The README with the table between its markers."""
    pattern = r"(<!-- table1:.*?-->\n).*?(<!-- /table1 -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{table}{match[2]}", readme, flags=re.DOTALL)


if __name__ == "__main__":
    for name in SHOWN:
        shutil.copy(ROOT / "figures/demo" / name, ROOT / "docs/demo" / name)
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(), (ROOT / "docs/demo/table1.md").read_text()))
