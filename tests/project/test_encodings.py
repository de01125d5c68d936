"""Text files are UTF-8, whatever the locale: every call says so that opens one, or reads the text of a program."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [path for folder in ("src", "docs", "envs", "notebooks") for path in sorted((ROOT / folder).rglob("*.py"))]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]
BINARY = re.compile("[rwax+]*b[rwax+]*")


def unspecified(tree: ast.AST) -> Iterator[int]:
    """Lines of the calls that leave the encoding to the locale."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or "encoding" in (given := {each.arg for each in node.keywords}):
            continue
        match node.func:
            case ast.Attribute(attr="read_text" | "write_text"):
                yield node.lineno
            case ast.Attribute(attr="run" | "Popen" | "check_output") if "text" in given:
                yield node.lineno
            case ast.Attribute(value=ast.Name("Image" | "ArtefactResults" | "cls"), attr="open"):
                pass
            case ast.Name("open") | ast.Attribute(attr="open" | "fdopen"):
                modes = [each.value for each in node.args if isinstance(each, ast.Constant)]
                if not any(BINARY.fullmatch(str(mode)) for mode in modes):
                    yield node.lineno


def test_every_text_file_is_opened_as_utf_8() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in MODULES
        for line in unspecified(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found
    rules = "".join(path.read_text(encoding="utf-8") for path in RULES)
    assert not re.search(r"_text\((?!.*encoding=)|\bopen\(", rules)


@pytest.mark.parametrize(
    "call",
    ["p.read_text()", "p.write_text(x)", "open(p)", "p.open('w')", "os.fdopen(1, 'w')", "subprocess.run(c, text=True)"],
)
def test_a_call_that_leaves_it_to_the_locale_is_found(call: str) -> None:
    assert list(unspecified(ast.parse(call))) == [1]
    assert not list(unspecified(ast.parse(call.removesuffix(")") + ("," * ("()" not in call)) + "encoding='utf-8')")))
    assert not list(unspecified(ast.parse("open(p, 'rb'), p.open('rb+')")))


@pytest.fixture
def latin_1(tmp_path: Path) -> dict[str, str]:
    """The environment of a site whose locale is not UTF-8."""
    locale = "de_DE.ISO-8859-1"
    command = ["localedef", "-c", "-f", "ISO-8859-1", "-i", "de_DE", str(tmp_path / locale)]
    try:
        subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    return {"LC_ALL": locale, "LOCPATH": str(tmp_path)}


@pytest.mark.parametrize("command", ["check", "train --help"])
def test_a_command_works_in_any_locale(command: str, latin_1: dict[str, str]) -> None:
    """What the terminal cannot show becomes a question mark: no text of ours ends a command."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHONUTF8"))}
    program = [sys.executable, "-m", "invgrad", *command.split()]
    run = subprocess.run(program, cwd=ROOT, capture_output=True, check=False, env=variables | latin_1)
    assert run.returncode == 0, run.stderr
    assert {"check": b"configuration is valid", "train --help": b"cuda:1, ?"}[command] in run.stdout
