"""Builds of the compiled kernels: how they are made, and whether they are of the source at hand.

Imports no torch: setup.py imports it before anything is installed.
"""

import hashlib
import platform
import re
from importlib.util import find_spec
from pathlib import Path

from invgrad.source_code import checksum

HERE = Path(__file__).parent
KINDS = ("lbfgs", "program", "winograd")
FLAGS = ["-O3", "-std=c++17", "-fopenmp", "-Wno-psabi"]
GENERATIONS = {"avx512": ["-march=x86-64-v4"], "avx2": ["-march=x86-64-v3"], "default": []}
"""The compiler's flags for each generation of x86 processors; other processors have the default alone."""


def generations() -> list[str]:
    """The generations that builds are made for on this machine."""
    return list(GENERATIONS) if platform.machine() == "x86_64" else ["default"]


def source_checksum(kind: str) -> str | None:
    """The checksum of what builds of this kind are made from; None where the source is not, as in a wheel."""
    source = HERE / f"_{kind}.cpp"
    if not source.is_file():
        return None
    return hashlib.sha256(f"{checksum(source)} {FLAGS} {GENERATIONS}".encode()).hexdigest()


def carried_checksum(build: Path) -> str | None:
    """The checksum of what a build was made from, which each carries; None if it has none."""
    found = re.search(rb"made from ([0-9a-f]{64})\0", build.read_bytes())
    return found[1].decode() if found else None


def find_build(kind: str, generation: str) -> Path | None:
    """Find the build of a kernel for a generation of processors, of whichever source."""
    spec = find_spec(f"invgrad.tangent.kernels._{kind}_{generation}")
    return Path(spec.origin) if spec and spec.origin else None


def is_stale(kind: str, build: Path) -> bool:
    """Tell if a build was made from another source than the one at hand; where there is none, its own counts."""
    expected = source_checksum(kind)
    return expected is not None and carried_checksum(build) != expected


def on_stale_builds() -> str | None:
    """A sentence on the builds that are not used, with the command that makes them again; None if there are none."""
    found = [(kind, find_build(kind, generation)) for kind in KINDS for generation in GENERATIONS]
    stale = dict.fromkeys(f"_{kind}.cpp" for kind, build in found if build and is_stale(kind, build))
    if not stale:
        return None
    return (
        f"compiled kernels are not of the source at hand ({', '.join(stale)}) and not used, so small networks are "
        f"slower; to rebuild: cd {HERE.parents[3]} && python setup.py build_ext --inplace"
    )
