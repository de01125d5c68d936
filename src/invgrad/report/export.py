"""Export of tables and figures to files."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from invgrad.report.image_grid import DPI
from invgrad.results.files import write
from invgrad.results.provenance import SOFTWARE, Stamp


def save_figure(figure: Figure, stem: Path, title: str, stamp: Stamp) -> None:
    """Write `<stem>.png` and `<stem>.pdf`; the metadata carries the title, the version and the stamp."""
    marks = {"Commit": stamp.commit, "Scale": stamp.scale, "Settings": stamp.settings}
    png = {"Title": title, "Software": SOFTWARE, **marks}
    # A PDF has a fixed list of keys. Without its date, the same figure gives the same file.
    keywords = ", ".join(f"{key.lower()}={value}" for key, value in marks.items())
    pdf = {"Title": title, "Creator": SOFTWARE, "Keywords": keywords, "CreationDate": None}
    write(stem.with_suffix(".png"), lambda path: figure.savefig(path, dpi=DPI, metadata=png))
    write(stem.with_suffix(".pdf"), lambda path: figure.savefig(path, metadata=pdf))


LONG = 40
"""Characters of a table's entry above which LaTeX breaks its column into lines."""


PAGE = 30
"""Rows above which a LaTeX table may be broken over several pages."""


def save_table(table: pd.DataFrame, numbers: pd.DataFrame, stem: Path, caption: str, stamp: Stamp) -> None:
    """Write a table for readers to `<stem>.md` and `<stem>.tex`, and its numbers to `<stem>.csv`.

    The caption stands above the table, and the stamp in a comment; a CSV has no comments.
    """
    write(stem.with_suffix(".csv"), lambda path: numbers.to_csv(path, index=False))
    shown = table.map(str).apply(lambda column: column.str.replace("|", r"\|"))
    markdown = f"{caption}\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n\n<!-- {stamp} -->\n"
    write(stem.with_suffix(".md"), lambda path: path.write_text(markdown, encoding="utf-8"))
    write(
        stem.with_suffix(".tex"), lambda path: path.write_text(f"% {stamp}\n{_latex(table, caption)}", encoding="utf-8")
    )


def _latex(table: pd.DataFrame, caption: str) -> str:
    """LaTeX of a table, in which columns with long entries break them into lines and fill the width of the text."""
    is_long = [table[column].map(str).str.len().max() > LONG for column in table]
    share = 0.6 / max(sum(is_long), 1)
    styled = table.style.hide(axis="index").format(_escaped).format_index(_escaped, axis=1)
    return styled.to_latex(
        hrules=True,
        caption=_escaped(caption),
        environment="longtable" if len(table) > PAGE else None,
        column_format="".join(rf"p{{{share:.2f}\linewidth}}" if each else "l" for each in is_long),
    )


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {
        "α": r"$\alpha$",
        "τ": r"$\tau$",
        "∞": r"$\infty$",
        "−": "$-$",
        "≥": r"$\geq$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "↓": r"$\downarrow$",
    }
)
"""Replacements of characters that LaTeX reads as commands, or that its usual fonts lack."""


def _escaped(text: object) -> str:
    return str(text).translate(LATEX)
