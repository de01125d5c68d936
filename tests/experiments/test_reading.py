"""The experiments' files mean the settings, sources and cells that config/README.md says they do."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from invgrad.experiments.reading import TaggedLoader, Written, experiment_files, read_experiments
from invgrad.settings import SettingsError

CONFIG = Path(__file__).parents[2] / "config"


def read(folder: Path, *files: str) -> Written:
    for number, text in enumerate(files):
        (folder / f"{number}.yaml").write_text(text)
    return read_experiments(folder)


def test_a_tag_says_the_source_of_a_value_a_list_or_all_that_is_in_a_mapping(tmp_path: Path) -> None:
    text = "cells: { a: { n: !code 3, text: !quoted '3', none: !recalled null, far: !code 1.0e-6, list: !code [1, 2],"
    text += " group: !recalled { x: 1, y: !code true, inner: { z: 2 } }, own: 5 } }"
    written = read(tmp_path, text)
    group = {"x": 1, "y": True, "inner": {"z": 2}}
    plain = {"n": 3, "text": "3", "none": None, "far": 1e-6, "list": [1, 2], "group": group, "own": 5}
    assert written.content["cells"]["a"] == plain
    paths = (
        "n",
        "text",
        "none",
        "list",
        "group",
        "group.x",
        "group.y",
        "group.inner.z",
        "group.default",
        "own",
        "not.there",
    )
    sources = {path: written.source("cells", "a", path) for path in paths}
    assert sources == {
        "n": "code",
        "text": "quoted",
        "none": "recalled",
        "list": "code",
        "group": "recalled",
        "group.x": "recalled",
        "group.y": "code",
        "group.inner.z": "recalled",
        "group.default": "recalled",
        "own": "chosen",
        "not.there": "chosen",
    }
    assert written.source("cells", "of the user's own", "n") == "chosen"


def test_what_a_part_says_itself_wins_with_its_own_source(tmp_path: Path) -> None:
    bases = (
        "bases: { one: { a: !code { kind: x, p: 1 }, b: !code 2 }, two: { extends: one, b: !quoted 3 }, c: { c: 4 } }"
    )
    written = read(
        tmp_path, "cells: { z: { extends: [two, c], a: { p: 5 } }, y: { extends: z, a: { kind: w } } }", bases
    )
    assert written.content["cells"]["z"] == {"a": {"kind": "x", "p": 5}, "b": 3, "c": 4}
    assert [written.source("cells", "z", path) for path in ("a.kind", "a.p", "b")] == ["code", "chosen", "quoted"]
    assert written.content["cells"]["y"]["a"] == {"kind": "w"}
    assert written.source("cells", "y", "a.other") == "chosen", "another kind has nothing of the first"


def test_a_sweep_stands_for_every_combination(tmp_path: Path) -> None:
    cell = """
    cells:
      "{net}-{way}-tv{a}":
        sweep: { net: [l, r], way: { plain: {}, odd: { b: !code 1, text: "{net}!" } }, a: [1e-6, 2] }
        label: "{network} {a}"
        a: !recalled "{a}"
        text: "{net}"
    """
    written = read(tmp_path, cell)
    names = [f"{net}-{way}-tv{a}" for net in "lr" for way in ("plain", "odd") for a in ("1e-6", "2")]
    assert list(written.content["cells"]) == names
    assert written.content["cells"]["r-odd-tv2"] == {"label": "{network} 2", "a": 2, "text": "r!", "b": 1}
    assert float(written.content["cells"]["l-plain-tv1e-6"]["a"]) == 1e-6
    assert written.source("cells", "r-odd-tv2", "a") == "recalled"
    assert written.source("cells", "r-odd-tv2", "b") == "code"


def test_a_sweep_of_rows_stands_for_each(tmp_path: Path) -> None:
    written = read(tmp_path, 'victims: { "d{d}-w{w}": { sweep: [{ d: 1, w: 2 }, { d: 3, w: 4 }], depth: "{d}" } }')
    assert written.content["victims"] == {"d1-w2": {"depth": 1}, "d3-w4": {"depth": 3}}


def test_a_cell_may_hold_its_clients_and_they_their_victim(tmp_path: Path) -> None:
    text = "cells: { a: { clients: { seeds: [0], victim: { name: v, dataset: !code d } } }, b: { clients: other } }"
    content = read(tmp_path, text).content
    assert content["cells"] == {"a": {"clients": "a"}, "b": {"clients": "other"}}
    assert content["clients"] == {"a": {"seeds": [0], "victim": "v"}}
    assert content["victims"] == {"v": {"dataset": "d"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cells: { a: { n: !cod 3 } }", "unknown tag '!cod'; nearest: '!code'"),
        ("cell: {}", "unknown key 'cell'; nearest: 'cells'"),
        ("cells: [1]", "cells: must hold keys with values, but holds [1]"),
        ("cells: { a: 1 }", "cells.a: must hold keys with values"),
        (
            "cells: { a: { extends: propsed } }\nbases: { proposed: {} }",
            "extends: unknown base 'propsed'; nearest: 'proposed'",
        ),
        ("cells: { a: { extends: b }, b: { extends: a } }", "a extends b extends a"),
        ("cells: { a: { extends: { b: 1 } } }", "extends: unknown base"),
        ("cells: { a: { sweep: { x: 3 } } }", "cells.a.sweep: must be"),
        ("cells: { a: { sweep: [1] } }", "cells.a.sweep: must be"),
        ("cells: { a: {}, '{x}': { sweep: { x: [a] } } }", "cells.a: there are two of this name"),
        ("cells: { a: { n: [!code 1, 2] } }", "a source stands before a whole list, not in it"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_files_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no"):
        read(tmp_path)


def untagged(read: Any) -> Any:
    """What an editor sees of a file."""
    if hasattr(read, "source"):
        return untagged(read.value)
    if isinstance(read, dict):
        return {key: untagged(value) for key, value in read.items()}
    return read


FILES = [*experiment_files(CONFIG / "experiments"), *(CONFIG / "scales").glob("*.yaml"), CONFIG.parent / "params.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_editors_find_every_file_valid(file: Path) -> None:
    jsonschema.validate(
        untagged(yaml.load(file.read_text(), TaggedLoader)), json.loads((CONFIG / "schema.json").read_text())
    )


def test_editors_find_a_misspelt_setting() -> None:
    wrong = {"cells": {"a": {"attack": {"iteration": 3}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads((CONFIG / "schema.json").read_text()))


def test_experiments_are_read_at_a_glance() -> None:
    lines = [line for file in experiment_files(CONFIG / "experiments") for line in file.read_text().splitlines()]
    assert len(lines) <= 570
    assert max(map(len, lines)) <= 120
