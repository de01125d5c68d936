"""A compiled kernel is used only if it was made from the source at hand."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from invgrad.runtime.environment import environment
from invgrad.tangent.kernels import builds, library
from invgrad.tangent.kernels.builds import KINDS, on_stale_builds, source_checksum
from invgrad.tangent.kernels.library import loaded_checksums

pytestmark = pytest.mark.skipif(library.library("program") is None, reason="installed without a C++ compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the kernels' sources, which counts as those at hand, in a process that has loaded no kernel."""
    for kind in KINDS:
        shutil.copy(builds.HERE / f"_{kind}.cpp", tmp_path)
    monkeypatch.setattr(builds, "HERE", tmp_path)
    caches = library.library, library._say_once
    for each in caches:
        each.cache_clear()
    yield tmp_path / "_program.cpp"
    for each in caches:
        each.cache_clear()


def edit(source: Path, old: str, new: str) -> None:
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))


def test_a_build_of_another_source_is_not_used_and_one_line_says_so(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(source, "#define VECTOR_BYTES 64", "#define VECTOR_BYTES 32")
    for _ in range(2):
        assert library.library("program") is None
        assert library.library("winograd") is not None
    (line,) = capsys.readouterr().err.splitlines()
    assert "(_program.cpp)" in line
    assert "setup.py build_ext --inplace" in line
    assert set(loaded_checksums()) == {*KINDS} - {"program"}
    assert "not of the source at hand" in environment()["kernel program"]


def test_a_comment_makes_no_build_stale(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(source, "#include <cstdint>", "// Integers.\n\n#include  <cstdint>  // of 64 bits")
    assert library.library("program") is not None
    assert loaded_checksums() == {kind: source_checksum(kind) for kind in KINDS}
    assert on_stale_builds() is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flags", [{"FLAGS": ["-O2"]}, {"GENERATIONS": {"default": ["-ffast-math"]}}])
def test_other_flags_of_the_compiler_make_a_build_stale(
    source: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, object]
) -> None:
    for name, value in flags.items():
        monkeypatch.setattr(builds, name, value)
    assert loaded_checksums() == {}


def test_a_build_without_a_checksum_is_not_used(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = source.with_name("old.so")
    old.write_bytes(b"made from nothing that it would tell")
    monkeypatch.setattr(library, "find_build", lambda kind, generation: old)
    assert loaded_checksums() == {}


def test_where_there_is_no_source_the_build_counts(source: Path) -> None:
    for kind in KINDS:
        source.with_name(f"_{kind}.cpp").unlink()
    assert set(loaded_checksums()) == set(KINDS)
    assert on_stale_builds() is None
