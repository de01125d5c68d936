"""Tables as CSV, Markdown and LaTeX, from one frame."""

import math
from pathlib import Path

import pandas as pd

from invgrad.results import write


def mean_and_spread(mean: float, spread: float) -> str:
    """`18.00 ± 3.33`, or a dash where there is no value."""
    if math.isnan(mean):
        return "–"
    return f"{mean:.2f}" if math.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def save_table(table: pd.DataFrame, stem: Path, caption: str) -> None:
    """Write `<stem>.csv`, `<stem>.md` and `<stem>.tex`; the caption stands above the latter two."""
    write(stem.with_suffix(".csv"), lambda path: table.to_csv(path, index=False))
    markdown = f"{caption}\n\n{table.to_markdown(index=False, disable_numparse=True)}\n"
    write(stem.with_suffix(".md"), lambda path: path.write_text(markdown))
    styled = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    latex = styled.to_latex(hrules=True, caption=_escaped(caption))
    write(stem.with_suffix(".tex"), lambda path: path.write_text(latex))


def _escaped(text: str) -> str:
    for character in "&%$#_":
        text = text.replace(character, "\\" + character)
    return text
