"""Fingerprints of the code that a step runs; a step runs again when its code has changed."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DATA = {
    "tangent/kernels/library.py": "*.cpp",
    "data/registry.py": "datasets.yaml",
    "report/page.py": "templates/*.jinja",
}
"""Files beside a module, by its name in the package, that it runs or reads without importing them."""


def fingerprint(files: Iterable[str]) -> str:
    """The first 16 hexadecimal digits of a sha256 over the contents of these files.

    It stands among a job's parameters, so that the job runs again when a file has changed. Times of files would not do:
    a fresh checkout changes all of them.
    """
    return hashlib.sha256(
        b"".join(sorted({_digest(Path(file), Path(file).stat().st_mtime_ns) for file in files}))
    ).hexdigest()[:16]


@cache
def _digest(file: Path, _: int) -> bytes:
    """Digest of a file as it was at this time, cached, since dozens of rules ask for the same files."""
    return hashlib.sha256(file.name.encode() + b"\0" + file.read_bytes()).digest()


def step_code(step: str) -> list[str]:
    """The package's files that a step runs: its module, and every module of the package that this imports in turn."""
    module = PACKAGE / "steps" / f"{step}.py"
    # Every command chooses its device and prepares the process there, though no step imports it.
    return sorted({str(PACKAGE / "runtime/devices.py"), str(module), *imported_code(module)})


def code_of_notebook(source: Path) -> list[str]:
    """The files that a notebook runs: itself, and the package's files that it imports."""
    return [str(source), *imported_code(source)]


@cache
def imported_code(script: Path) -> list[str]:
    """The package's files that a script or module imports, directly or through each other."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        new = _imports(waiting.pop()) - found
        found |= new
        waiting += new
    for module, files in DATA.items():
        if PACKAGE / module in found:
            found |= set((PACKAGE / module).parent.glob(files))
    return sorted(map(str, found))


@cache
def _imports(script: Path) -> frozenset[Path]:
    """The package's files that a script or module imports directly; dozens of steps and notebooks share most."""
    statements = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)]
    return frozenset(
        path
        for node in statements
        if node.module and node.module.split(".")[0] == PACKAGE.name
        for path in map(_source, [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        if path
    )


def _source(module: str) -> Path | None:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)
