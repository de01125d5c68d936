"""Users import short names from `invgrad`; the project itself imports from the modules that define them."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import invgrad

ROOT = Path(__file__).parents[2]
PACKAGE = Path(invgrad.__file__).parent
OUR_OWN = [
    path.relative_to(ROOT)
    for pattern in ("src/invgrad/**/*.py", "notebooks/*.py", "docs/*.py", "Snakefile", "workflow/rules/*.smk")
    for path in sorted(ROOT.glob(pattern))
]
STATEMENT = re.compile(r"^[ \t]*(?:from invgrad import (?:\([^)]*\)|.*)|import invgrad\b.*)$", re.MULTILINE)
"""What imports from the root; rules are not quite Python."""


def names_of(code: str) -> set[str]:
    """The names that these statements import from the root, or by it, of those for users."""
    found = {
        alias.name
        for statement in STATEMENT.findall(code)
        for node in ast.walk(ast.parse(statement.strip()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    return found & {"*", "invgrad", *invgrad.__all__}


@pytest.mark.parametrize("name", invgrad.__all__)
def test_a_name_is_that_of_its_module(name: str) -> None:
    scope: dict[str, object] = {}
    exec(f"from invgrad import {name}", scope)
    found = scope[name]
    module = import_module(f"invgrad.{invgrad._MODULE_OF[name]}")
    assert found is getattr(module, name)
    assert found.__module__ == module.__name__, "not one that the module only imports"


def test_type_checkers_know_the_same_names() -> None:
    nodes = ast.parse((PACKAGE / "__init__.pyi").read_text()).body
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    known = {alias.name: node.module for node in imports for alias in node.names}
    assert known == {name: f"invgrad.{module}" for name, module in invgrad._MODULE_OF.items()}
    assert all(alias.asname == alias.name for node in imports for alias in node.names), "else they are not exported"
    assert set(invgrad.__all__) == set(known)
    assert set(invgrad.__all__) <= set(dir(invgrad))


def test_the_root_alone_imports_next_to_nothing() -> None:
    code = "import invgrad, sys; print(*{'torch', 'pydantic', 'numpy', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_an_unknown_name_is_an_error_of_python() -> None:
    with pytest.raises(AttributeError, match="module 'invgrad' has no attribute 'Atack'"):
        invgrad.Atack  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Atack'"):
        exec("from invgrad import Atack")


@pytest.mark.parametrize("path", OUR_OWN, ids=str)
def test_the_project_imports_from_modules(path: Path) -> None:
    assert names_of((ROOT / path).read_text()) == set()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from invgrad import __version__, seeds", set()),
        ("from invgrad.attack.settings import Attack", set()),
        ("from invgrad import seeds, Attack as A", {"Attack"}),
        ("def f():\n    from invgrad import (\n        Attack,\n        seeds,\n    )\n", {"Attack"}),
        ("import invgrad", {"invgrad"}),
        ("from invgrad import *", {"*"}),
    ],
)
def test_imports_from_the_root_are_found(code: str, names: set[str]) -> None:
    assert names_of(code) == names


def test_the_example_of_the_readme_imports_from_the_root_alone() -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    assert names_of(example[1]) >= {"Attack", "Shared", "reconstruct"}
    assert "invgrad." not in example[1]
