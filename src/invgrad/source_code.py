"""Checksums of source code that its comments, docstrings and layout do not change.

Imports nothing but Python's own modules: setup.py needs it before anything is installed.
"""

import ast
import hashlib
import re
from functools import lru_cache
from pathlib import Path

NOTEBOOK = re.compile(rb"^# %%", re.MULTILINE)
"""The first line of a notebook's cell: there comments are text, cells and tags, so a notebook counts as it is."""

CPP = re.compile(
    rb"""(?P<nothing> (?: \s | \\\n | //[^\n]* | /\*.*?\*/ )+ )
    | (?P<directive> \# (?P<head> [ \t]*define[ \t]+\w+\(? )? (?P<rest> (?: \\\n | [^\n] )* ) )
    | R"(?P<end>[^(]*)\(.*?\)(?P=end)" | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    | \d(?:'?[\w.])* | \w+
    | <=> | <<= | >>= | ->\* | \.\.\. | :: | -> | \+\+ | -- | << | >> | && | \|\| | [-+*/%&|^<>=!]=
    | .""",
    re.VERBOSE | re.DOTALL,
)
"""A token of C++, or what separates tokens."""


def checksum(file: Path) -> str:
    """The sha256 of a file, in hexadecimal digits; of Python and C++ without comments, docstrings and layout."""
    source = file.read_bytes()
    meaning = {".py": _python, ".cpp": _cpp}.get(file.suffix, bytes)
    return hashlib.sha256(meaning(source)).hexdigest()


@lru_cache(maxsize=1)
def parsed(source: bytes) -> ast.Module | None:
    """The syntax tree of Python code; None if it has none."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):  # the latter for a zero byte
        return None


def imported_names(file: Path) -> list[str]:
    """The modules that a Python file may import, as its statements name them: `package.module`, `.sibling`."""
    found: set[str] = set()
    for node in ast.walk(parsed(file.read_bytes()) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {
                module,
                *(f"{module}.{alias.name}" if node.module else module + alias.name for alias in node.names),
            }
    return sorted(found)


def _python(source: bytes) -> bytes:
    tree = parsed(source)
    return source if tree is None or NOTEBOOK.search(source) else repr(_plain(tree)).encode()


def _plain(node: object) -> object:
    """The tree without what has no effect, and without what only some versions of Python write into it."""
    if isinstance(node, list):
        return [_plain(each) for each in node if not _does_nothing(each)]
    if isinstance(node, ast.JoinedStr):  # Python 3.12 writes empty strings into some
        return [_plain(each) for each in node.values if getattr(each, "value", None) != ""]
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name != "kind" and value not in (None, [])]
        return type(node).__name__, [(name, _plain(value)) for name, value in fields]
    return node


def _does_nothing(node: object) -> bool:
    """Tell if this is `pass`, a docstring or another lone constant."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _cpp(source: bytes) -> bytes:
    return b"\0".join(_cpp_tokens(source))


def _cpp_tokens(source: bytes) -> list[bytes]:
    tokens: list[bytes] = []
    for match in CPP.finditer(source):
        if match["directive"]:  # the one place where the end of a line counts
            tokens += [b"#", match["head"] or b"", *_cpp_tokens(match["rest"]), b"\n"]
        elif not match["nothing"]:
            tokens.append(match[0])
    return tokens
