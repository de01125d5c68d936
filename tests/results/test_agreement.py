"""Results are compared with what a plan expects by their records alone."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from invgrad.results import agreement
from invgrad.results.agreement import Agreement, Expected, summary
from invgrad.results.files import sha256, write_tensors
from invgrad.results.origin import Origin, numbered, refuse_another_victim, refuse_other_clients
from invgrad.results.provenance import Record, read_record, record_path
from invgrad.settings import SettingsError


class Chain:
    """A victim, what is shared with it, what is found in that, and rows on it; each file as small as can be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, dict[str, Any]] = {"train": {"seed": 0}, "share": {"first": 0}, "attack": {"tv": 0.01}}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.{'csv' if name == 'rows' else 'safetensors'}"

    def parts(self) -> list[tuple[str, str, dict[str, Path]]]:
        """Name, step and inputs of each."""
        shared = {"victim": self.path("victim")}
        return [
            ("victim", "train", {}),
            ("shared", "share", shared),
            ("truth", "share", shared),
            ("found", "attack", shared | {"shared": self.path("shared")}),
            ("rows", "measure", numbered("reconstruction", [self.path("found")]) | {"truth": self.path("truth")}),
        ]

    def make(self, value: float = 1) -> None:
        """Make all of it; what is computed depends on the value."""
        for name, step, inputs in self.parts():
            origin = Origin.of(step, self.settings.get(step, {}), inputs)
            write_file(self.path(name), value)
            Record(origin).write(self.path(name))

    def expected(self) -> list[Expected]:
        """What a plan of these settings expects."""
        settings = {step: json.dumps(content) for step, content in self.settings.items()}
        return [
            Expected(self.path(name), step, lambda step=step: settings.get(step, "{}"), inputs)
            for name, step, inputs in self.parts()
        ]

    def disagreements(self) -> dict[str, str]:
        """The results that are not as expected, by their names."""
        found = Agreement(self.folder, self.expected()).disagreements()
        return {path.stem: reason for path, reason in found.items()}


def write_file(path: Path, value: float) -> None:
    if path.suffix == ".csv":
        path.write_text(f"value\n{value}\n")
    else:
        write_tensors(path, {path.stem: torch.tensor([value])}, {})


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    made = Chain(tmp_path)
    made.make()
    return made


def test_what_was_made_by_the_plan_agrees_with_it(chain: Chain) -> None:
    assert chain.disagreements() == {}


def test_times_of_files_say_nothing(chain: Chain) -> None:
    for number, path in enumerate(sorted(chain.folder.iterdir(), reverse=True)):
        os.utime(path, (10**9 - number, 10**9 - number))
    assert chain.disagreements() == {}


@pytest.mark.parametrize(
    ("step", "change", "first", "words"),
    [
        ("train", {"seed": 1}, "victim", "it was made with other settings: seed 0, not 1"),
        ("attack", {"tv": 0.01, "new": None}, "found", "other settings: new unset, not null"),
        ("share", {"first": 0, "labels": True}, "shared", "other settings: labels unset, not true"),
        ("attack", {"tv": 10}, "found", "it was made with other settings: tv 0.01, not 10"),
    ],
)
def test_results_of_other_settings_and_all_made_from_them_are_named(
    step: str, change: Mapping[str, Any], first: str, words: str, chain: Chain
) -> None:
    """A colleague's, a backup, another scale's, those before a change."""
    chain.settings[step] = dict(change)
    found = chain.disagreements()
    assert words in found[first]
    names = ["victim", "shared", "truth", "found", "rows"]
    assert list(found) == [name for name in names[names.index(first) :] if step != "share" or name != "victim"]
    assert found["rows"].endswith("made anew before it")
    assert len(list(summary({Path(name): reason for name, reason in found.items()}))) == 1


def test_an_older_result_that_is_put_back_is_not_built_upon(chain: Chain, tmp_path: Path) -> None:
    backup = [(path, path.read_bytes()) for path in (chain.path("found"), record_path(chain.path("found")))]
    chain.settings["attack"] = {"tv": 10}
    chain.make(value=2)
    assert chain.disagreements() == {}
    for path, content in backup:
        path.write_bytes(content)
    chain.path("rows").unlink()
    assert list(chain.disagreements()) == ["found"]


def test_what_is_missing_is_made_after_what_is_made_anew(chain: Chain) -> None:
    for name in ("found", "rows"):
        chain.path(name).unlink()
    agreement = Agreement(chain.folder, chain.expected())
    assert agreement.missing_after(agreement.disagreements()) == set()
    chain.settings["share"] = {"first": 1}
    agreement = Agreement(chain.folder, chain.expected())
    assert agreement.missing_after(agreement.disagreements()) == {chain.path("found"), chain.path("rows")}


def test_a_part_of_another_run_of_the_same_settings_is_seen(chain: Chain, tmp_path: Path) -> None:
    """As after a partial pull: each record is as it should be, but they do not belong together."""
    other = Chain(tmp_path / "other")
    other.folder.mkdir()
    other.make(value=2)
    for path in (other.path("shared"), record_path(other.path("shared"))):
        path.replace(chain.folder / path.name)
    assert chain.disagreements()["shared"] == "it was made with other victim"
    for path in (other.path("victim"), record_path(other.path("victim"))):
        path.replace(chain.folder / path.name)
    assert list(chain.disagreements()) == ["truth", "found", "rows"]


def test_other_code_is_seen(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    code = agreement.code_of
    monkeypatch.setattr(agreement, "code_of", lambda step, *more: "x" if step == "measure" else code(step, *more))
    (reason,) = chain.disagreements().values()
    assert reason.startswith("the code has changed since commit ")


def test_rows_tell_what_they_were_made_from_where_that_is_gone(chain: Chain) -> None:
    for name in ("victim", "shared", "truth", "found"):
        chain.path(name).unlink()
        record_path(chain.path(name)).unlink()
    assert chain.disagreements() == {}
    chain.settings["train"] = {"seed": 1}
    assert chain.disagreements() == {
        "rows": "of its reconstruction: of its victim: it was made with other settings: seed 0, not 1"
    }


@pytest.mark.parametrize("kind", ["other settings", "another victim"])
def test_rows_agree_with_what_is_still_there(kind: str, chain: Chain) -> None:
    """Though all between the victim and them is gone."""
    for name in ("shared", "truth", "found"):
        chain.path(name).unlink()
    assert chain.disagreements() == {}
    if kind == "other settings":
        chain.settings["train"] = {"seed": 1}
        assert chain.disagreements()["rows"] == "of its reconstruction: victim made anew before it"
    else:
        write_file(chain.path("victim"), 2)
        Record(Origin.of("train", {"seed": 0}, {})).write(chain.path("victim"))
        assert chain.disagreements() == {"rows": "of its reconstruction: it was made with other victim"}


@pytest.mark.parametrize("name", ["victim", "found", "rows"])
@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_damaged_file_is_moved_aside(name: str, keeps_time: bool, chain: Chain) -> None:
    """Tensors whose time stays the same are found where they are read; a table is compared at every start."""
    path = chain.path(name)
    assert Agreement(chain.folder, chain.expected()).damaged() == {}
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    if keeps_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    compared = Agreement(chain.folder, chain.expected())
    ((damaged, problem),) = compared.damaged().items()
    assert (damaged, problem.startswith("its sha256 is")) == (path, True)
    assert path.exists()
    assert compared.set_aside(path).read_bytes() == content
    assert not path.exists()
    assert len(list((chain.folder / "damaged").iterdir())) == 1


def test_what_was_compared_once_is_not_read_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in chain.folder.iterdir():
        os.utime(path, (10**9, 10**9))
    monkeypatch.setattr("invgrad.results.remembered.SETTLED", -(10**10))
    assert Agreement(chain.folder, chain.expected()).damaged() == {}
    reads: list[Path] = []
    monkeypatch.setattr(agreement, "sha256", lambda path: reads.append(path) or sha256(path))
    assert Agreement(chain.folder, chain.expected()).damaged() == {}
    assert reads == [chain.path("rows")]


@pytest.mark.parametrize("text", ["5", "[]", "{}", '{"file": "rows.csv"}', "not JSON"])
def test_a_result_without_a_whole_record_is_made_anew(text: str, chain: Chain) -> None:
    record_path(chain.path("rows")).write_text(text)
    assert Agreement(chain.folder, chain.expected()).damaged() == {}
    assert chain.disagreements() == {"rows": "it has no record of this version"}


@pytest.mark.parametrize("changes", [{"accepted": None}, {"lineage": {"a": 5}}, {"lineage": {"a": {}}}])
def test_a_record_of_another_shape_within_is_not_whole(changes: Mapping[str, Any], chain: Chain) -> None:
    path = record_path(chain.path("rows"))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert chain.disagreements() == {"rows": "it has no record of this version"}


def test_a_file_beside_the_result_belongs_to_its_record(tmp_path: Path) -> None:
    table, picture = tmp_path / "table.csv", tmp_path / "picture.png"
    for path in (table, picture):
        path.write_text("1\n")
    Record(Origin.of("measure", {}, {})).write(table, also=[picture])
    expected = [Expected(table, "measure", lambda: "{}", {}, also=(picture,))]
    assert Agreement(tmp_path, expected).damaged() == {}
    picture.write_text("2\n")
    compared = Agreement(tmp_path, expected)
    assert list(compared.damaged()) == [picture]
    compared.set_aside(picture)
    assert Agreement(tmp_path, expected).disagreements() == {table: "it lacks a file of the same job"}


def test_what_does_not_belong_together_is_refused(chain: Chain, tmp_path: Path) -> None:
    other = Chain(tmp_path / "other")
    other.folder.mkdir()
    other.settings["share"] = {"first": 7}
    other.settings["train"] = {"seed": 1}
    other.make(value=2)
    refuse_other_clients(chain.path("found"), chain.path("truth"))
    with pytest.raises(SettingsError, match="other clients than were attacked"):
        refuse_other_clients(chain.path("found"), other.path("truth"))
    origin = Origin.of("attack", {}, {"victim": chain.path("victim")})
    refuse_another_victim(chain.path("shared"), origin)
    with pytest.raises(SettingsError, match="was made with another victim"):
        refuse_another_victim(other.path("shared"), origin)
    write_file(chain.path("victim"), 3)
    with pytest.raises(SettingsError, match="is not the file that its record is about"):
        Origin.of("attack", {}, {"victim": chain.path("victim")})


def test_a_thousand_results_are_compared_within_two_seconds(chain: Chain, tmp_path: Path) -> None:
    """Of CPU, since other tests run beside this one; their records are as long as those of an attack."""
    record = read_record(chain.path("found"))
    many = []
    for number in range(1000):
        path = tmp_path / f"many/seed{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chain.path("found").read_bytes())
        padded = record | {"file": path.name, "versions": {str(each): "1.2.3" for each in range(100)}}
        record_path(path).write_text(json.dumps(padded))
        inputs = {"victim": chain.path("victim"), "shared": chain.path("shared")}
        many.append(Expected(path, "attack", lambda: '{"tv": 0.01}', inputs))
    began = time.process_time()
    compared = Agreement(tmp_path, [*chain.expected(), *many])
    assert compared.damaged() == {}
    assert compared.disagreements() == {}
    assert time.process_time() - began < 2


def reasons(paths: Iterable[str], reason: str) -> dict[Path, str]:
    return {Path(path): reason for path in paths}


def test_what_is_made_anew_is_told_in_a_line_for_each_reason() -> None:
    found = (
        reasons("ab", "the code has changed") | reasons("cde", f"victim {agreement.FOLLOWS}") | reasons("f", "other")
    )
    assert list(summary(found)) == [
        "a and 1 more: the code has changed; made anew if needed",
        "f: other; made anew if needed",
    ]
