"""What code says decides, not how it is written down; and it is read once."""

import os
import time
from pathlib import Path

import pytest

from invgrad.results import remembered
from invgrad.results.fingerprints import fingerprint
from invgrad.results.remembered import Remembered
from invgrad.source_code import checksum, imported_names

CODE = """
def mean(values, *, scale=1):
    return f"{sum(values) * scale:>{len(values)}}" if values else None
"""
SAME_CODE = '''"""Means."""
# By hand.

def mean(
    values,
    *,
    scale=0x1,  # of each
):
    """Compute the mean."""
    "An aside."
    pass
    return (f'{sum(values)*scale:>{len(values)}}'
            if values else None)
'''
OTHER_CODE = [CODE.replace(*change) for change in [("1", "2"), ("1", "True"), ("sum", "max"), (">", "<"), ("*, ", "")]]

CPP = r"""
#define SUM(a, b) ((a) + (b))
#pragma omp simd
int f(int x) { return SUM(x, -1) - -x + 1'000; }  // "
const char* text = "a  // b"; const char letter = '"'; const char* raw = R"(/* c */)";
"""
SAME_CPP = r"""/* A
sum. */
#define SUM(a, b) \
    (          /* of both */       \
        (a)+(b)) // 1
#pragma  omp simd
int f ( int x )
{
    return SUM(x,-1) -
        -x +1'000;
}
const char *text="a  // b";const char letter= '"' ;
const char*raw = R"(/* c */)";"""
OTHER_CPP = [
    CPP.replace(*change)
    for change in [
        ("- -x", "--x"),
        ("a  // b", "a // b"),
        ("/* c */", "/* d */"),
        ("SUM(a", "SUM (a"),
        ("1'000", "1'001"),
        ("simd\n", "simd "),
        ("int x", "intx"),
    ]
]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "same", "others"),
    [("a.py", CODE, SAME_CODE, OTHER_CODE), ("a.cpp", CPP, SAME_CPP, OTHER_CPP)],
    ids=["Python", "C++"],
)
def test_comments_docstrings_and_layout_are_no_code(
    tmp_path: Path, name: str, text: str, same: str, others: list[str]
) -> None:
    file = tmp_path / name
    before = checksum(written(file, text))
    assert checksum(written(file, same)) == before
    assert checksum(written(file, text.replace("\n", "\r\n"))) == before
    assert len({before, *(checksum(written(file, other)) for other in others)}) == 1 + len(others)


def test_code_has_one_checksum_in_every_version_of_python(tmp_path: Path) -> None:
    """As found with 3.10 to 3.13; syntax trees differ between them."""
    assert checksum(written(tmp_path / "a.py", CODE))[:16] == "dcacc6115530a01c"


@pytest.mark.parametrize(
    ("name", "text", "other"),
    [
        ("table.py", "# %% [markdown]\n# # Table 1\n\n# %%\nx = 1\n", "# %% [markdown]\n# # Table 2\n\n# %%\nx = 1\n"),
        ("values.csv", "a,b\n1,2\n", "a,b\n1, 2\n"),
        ("datasets.yaml", "a: 1\n", "a: 1  # one\n"),
        ("broken.py", "def\n", "def  \n"),
        ("zero.py", "\0", "\0 "),
    ],
)
def test_of_other_files_each_byte_counts(tmp_path: Path, name: str, text: str, other: str) -> None:
    before = checksum(written(tmp_path / name, text))
    assert checksum(written(tmp_path / name, other)) != before


def test_a_fingerprint_is_of_code_alone(tmp_path: Path) -> None:
    module, values = written(tmp_path / "a.py", CODE), written(tmp_path / "values.csv", "1")
    before = fingerprint([module, values])
    written(module, SAME_CODE)
    assert fingerprint([values, module]) == before
    written(module, OTHER_CODE[0])
    assert fingerprint([module, values]) != before


def test_imports_are_those_that_statements_name(tmp_path: Path) -> None:
    text = "import a.b as c, d\ndef f():\n    from e.f import g\n    from . import h\n    from ..i import j\n"
    names = [".", "..i", "..i.j", ".h", "a.b", "d", "e.f", "e.f.g"]
    assert imported_names(written(tmp_path / "a.py", text)) == names
    assert imported_names(written(tmp_path / "broken.py", "import\n")) == []


class Reader:
    """Answers with the content of files, and notes which were read."""

    def __init__(self, folder: Path) -> None:
        self.place, self.read = folder / "kept" / "answers", list[str]()

    def of(self, *files: Path, origin: str = "this") -> list[str]:
        """What a new process is answered."""
        answers = Remembered(self.place, origin, self._ask)
        found = [answers.about(file) for file in files]
        answers.keep()
        return found

    def _ask(self, file: Path) -> str:
        self.read.append(file.name)
        return file.read_text()


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two files that nobody changes any more."""
    monkeypatch.setattr(remembered, "SETTLED", 0)
    files = written(tmp_path / "a", "1"), written(tmp_path / "b", "2")
    time.sleep(0.02)
    return files


def test_a_file_is_read_again_only_if_it_may_have_changed(tmp_path: Path, two: tuple[Path, Path]) -> None:
    reader = Reader(tmp_path)
    assert reader.of(*two) == reader.of(*two) == ["1", "2"]
    assert reader.read == ["a", "b"]
    status = two[0].stat()
    written(two[0], "3")
    os.utime(two[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reader.of(*two) == ["3", "2"], "of the same size and time, as rsync and cp -p leave it"
    assert reader.read == ["a", "b", "a"]
    reader.of(*two, origin="other")
    assert reader.read == ["a", "b", "a", "a", "b"]


def test_what_is_kept_may_be_lost(tmp_path: Path, two: tuple[Path, Path]) -> None:
    reader = Reader(tmp_path)
    reader.of(*two)
    reader.place.write_text('{"origin": "this", "answ')
    assert reader.of(*two) == ["1", "2"]
    reader.place.unlink()
    reader.place.mkdir()
    assert reader.of(*two) == ["1", "2"], "nor need it be writable"
    assert reader.read == ["a", "b"] * 3


def test_what_another_process_has_kept_meanwhile_stays(tmp_path: Path, two: tuple[Path, Path]) -> None:
    reader = Reader(tmp_path)
    slow = Remembered(reader.place, "this", reader._ask)
    reader.of(two[0])
    slow.about(two[1])
    slow.keep()
    reader.of(*two)
    assert reader.read == ["a", "b"]


def test_nothing_is_kept_about_files_that_are_gone_or_still_changing(
    tmp_path: Path, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(tmp_path)
    reader.of(*two)
    two[1].unlink()
    new = written(tmp_path / "new", "3")
    monkeypatch.setattr(remembered, "SETTLED", 10**10)
    reader.of(two[0], new)
    assert str(two[1]) not in reader.place.read_text()
    assert str(new) not in reader.place.read_text()
