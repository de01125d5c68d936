"""Fingerprints of the code that a step runs; a step runs again when its code has changed."""

import hashlib
import sysconfig
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from invgrad import source_code
from invgrad.results.remembered import Remembered
from invgrad.source_code import checksum, imported_names

PACKAGE = Path(__file__).parents[1]
DATA = {
    "tangent/kernels/library.py": "*.cpp",
    "data/registry.py": "datasets.yaml",
    "report/page.py": "templates/*.jinja",
}
"""Files beside a module, by its name in the package, that it runs or reads without importing them."""


def fingerprint(files: Iterable[Path | str]) -> str:
    """The first 16 hexadecimal digits of a sha256 over the names of these files and what they say.

    Comments, docstrings and layout of code do not count (`invgrad.source_code`); of other files each byte does. It
    stands in the record of a result, which is made anew when a file has changed.
    """
    digests = sorted({f"{path.name} {_said(path)}" for path in map(Path, files)})
    _known().keep()
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _said(file: Path) -> str:
    """Checksum of a file; of one of the package, the first that was asked for: this process runs no later code."""
    return _said_at_first(file) if file.is_relative_to(PACKAGE) else _known().about(file)[0]


@cache
def _said_at_first(file: Path) -> str:
    return _known().about(file)[0]


@cache
def _known() -> Remembered[tuple[str, list[str]]]:
    """Checksums and imports of code, kept beside the compiled modules: dozens of rules ask for the same files."""
    decides = Path(__file__).read_bytes() + Path(source_code.__file__).read_bytes()
    place = Path(cache_from_source(__file__)).with_suffix(".kept")
    return Remembered(place, hashlib.sha256(decides).hexdigest(), _read)


def _read(file: Path) -> tuple[str, list[str]]:
    """The checksum of a file, and the names that it imports if it is a Python file."""
    return checksum(file), imported_names(file) if file.suffix == ".py" else []


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


def _imports(script: Path) -> set[Path]:
    """The package's files that a script or module imports directly."""
    return {path for name in _known().about(script)[1] if (path := _source(name))}


@cache
def _source(module: str) -> Path | None:
    """The package's file of this module; None if it has none."""
    top, *rest = module.split(".")
    if top != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*rest)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def own_code(module: str) -> list[Path]:
    """The user's own files that run when this module is imported: its packages, and all that these import in turn.

    They are found as Python would find them, without being run; installed packages and this one are not among them.
    """
    found: set[Path] = set()
    waiting = _own_files(module)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            for name in _known().about(file)[1]:
                waiting += _own_files(name, file)
    return sorted(found)


def _own_files(name: str, importer: Path | None = None) -> list[Path]:
    """The user's files of the packages and the module that a name, as `importer` says it, leads to."""
    relative = name.lstrip(".")
    level = len(name) - len(relative)
    folders = [str(importer.parents[level - 1])] if importer and level else None
    files = []
    for part in filter(None, relative.split(".")):
        spec = _spec(part, folders)
        if spec and spec.has_location and spec.origin and _is_own(Path(spec.origin)):
            files.append(Path(spec.origin))
        folders = list(spec.submodule_search_locations or ()) if spec else []
    return files


def _spec(name: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    with suppress(ValueError):  # of a module that was not imported, such as __main__
        return find_spec(name) if folders is None else PathFinder.find_spec(name, folders)
    return None


def _is_own(file: Path) -> bool:
    python = Path(sysconfig.get_path("stdlib"))
    return not ({"site-packages", "dist-packages"} & set(file.parts) or {python, PACKAGE} & set(file.parents))
