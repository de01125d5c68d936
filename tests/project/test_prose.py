"""Docstrings begin with what a thing is or does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path("src")
WORDS = (
    "Also|Are|As|By|Counts|Every time|From|How|If|In|Is|It|Keeps|Of|Runs|Says|See|Shows|So|Tells|Those|To|What|When|"
    "Where|Whether|Which|Who|Why|With|Writes"
)
"""First words of clauses, fragments and third-person sentences, which do not say what a thing is or does."""

MODULES = sorted(SOURCE.rglob("*.py"))


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and text of the docstrings of a module, its classes, functions, attributes and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        yield statement.lineno, text


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_docstrings_begin_with_a_noun_or_an_imperative(module: Path) -> None:
    found = [
        f"{module}:{line}: {text.splitlines()[0]}"
        for line, text in docstrings(ast.parse(module.read_text()))
        if re.match(rf"({WORDS})\b", text)
    ]
    assert not found, "\n".join(found)
