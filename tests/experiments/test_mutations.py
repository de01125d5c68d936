"""Whatever the configuration says, it is refused in one line or can be planned."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from projects import configuration

from invgrad.experiments.config import load
from invgrad.experiments.jobs import jobs
from invgrad.experiments.plan import Plan
from invgrad.experiments.reading import Tagged, TaggedLoader, experiment_files
from invgrad.experiments.summary import describe, notebook_json
from invgrad.settings import SettingsError, read_yaml

ROOT = Path(__file__).parents[2]
FILES = [path.relative_to(ROOT) for path in experiment_files(ROOT / "config/experiments")]
SCALE = Path("config/scales/demo.yaml")


def nested(depth: int) -> Any:
    """Lists in lists."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


TEXTS = ["", "a", "*", "[", "[!]", "lenet-*", "{network}", "{foo}", "{0}", "{", "a\nb", "\0", "\x1b", "α" * 300]
TEXTS += ["null", "../x", "x" * 300, "2020-02-30", "$(touch x)", "cuda:99", "imagenet", "{network:>30000000000}"]
NUMBERS = [0, -1, 1, 2, 3, 10**9, 10**15, 10**30, 10**5000, 0.0, -0.5, 1e-300, 1e300, float("inf"), float("nan")]
SHAPES = [None, True, False, [], {}, [[]], {"a": {}}, [0, 0], ["a", "a"], {"": 1}, {"name": "mlp"}, {"kind": "x"}]
VALUES = st.sampled_from([*TEXTS, *NUMBERS, *SHAPES, nested(40), nested(3000)]) | st.recursive(
    st.text(max_size=5) | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
"""What no one means, and what someone may."""


def bare(content: Any) -> Any:
    """Content without the sources of its settings."""
    match content:
        case Tagged(value=value):
            return bare(value)
        case dict():
            return {key: bare(value) for key, value in content.items()}
        case list():
            return [bare(value) for value in content]
    return content


CONTENT: dict[str, Any] = {
    "params.yaml": configuration(scale="demo") | {"override": {}},
    str(SCALE): read_yaml(ROOT / SCALE),
    **{str(path): bare(read_yaml(ROOT / path, TaggedLoader)) for path in FILES},
}
"""The files of the configuration."""


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value."""
    pairs = list(content.items()) if isinstance(content, dict) else []
    pairs += list(enumerate(content)) if isinstance(content, list) else []
    return [path, *(place for key, value in pairs for place in places(value, (*path, key)))]


PLACES = {name: places(content) for name, content in CONTENT.items()}
PARTS = [place for name in map(str, FILES) for place in PLACES[name] if place[:1] != ("bases",)]


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """The configuration with one to three changes: a value replaced, removed, moved one deeper or under another key."""
    content = copy.deepcopy(CONTENT)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(["params.yaml", str(SCALE), "override", *map(str, FILES)]))
        if name == "override":
            content["params.yaml"][name] = nest(draw(st.sampled_from(PARTS)), draw(VALUES))
        else:
            mutate(draw, content[name], draw(st.sampled_from(PLACES[name])))
    return content


def nest(place: tuple[Any, ...], value: Any) -> Any:
    """The value at this place of otherwise empty settings."""
    return {place[0]: nest(place[1:], value)} if place else value


def mutate(draw: st.DrawFn, content: Any, place: tuple[Any, ...]) -> None:
    """Change what is at a place, if an earlier change left it there."""
    for key in place:
        there = dict(enumerate(content)) if isinstance(content, list) else content
        if not isinstance(there, dict) or key not in there:
            return
        parent, content = content, there[key]
    if not place:
        return
    match draw(st.sampled_from(["replace", "remove", "deeper", "rename", "twice"])):
        case "replace":
            parent[key] = draw(VALUES)
        case "remove":
            del parent[key]
        case "deeper":
            parent[key] = draw(st.sampled_from([[content], {"name": content}, {str(key): content}]))
        case "rename" if isinstance(parent, dict):
            parent[draw(st.sampled_from([*TEXTS, "5", "true"]))] = parent.pop(key)
        case "twice" if isinstance(parent, list):
            parent.append(content)


def told(content: dict[str, Any], folder: Path) -> str:
    """The one line that refuses a configuration; "" if everything that a run asks of its plan can be had."""
    for name in (SCALE, *FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(as_yaml(content[str(name)]))
    given = content["params.yaml"]
    here = {"experiments": "config/experiments", "scales": "config/scales"}
    given |= {key: str(folder / path) for key, path in here.items() if given.get(key) == path}
    try:
        plan = Plan(load(given))
    except SettingsError as error:
        return str(error)
    for job in jobs(plan):
        assert job.kind
    json.dumps([given, describe(plan), [notebook_json(plan, name) for name in plan.project.artefacts]])
    for cell in plan.cells_of(plan.project.artefacts):
        plan.attack_json(cell, 0)
        for shard, _ in enumerate(plan.clients[plan.cells[cell].clients].shards()):
            plan.share_json(plan.cells[cell].clients, shard)
    return ""


def as_yaml(content: Any) -> str:
    """JSON, which is YAML: PyYAML would not write what is nested too deeply."""
    try:
        return json.dumps(content)
    except (RecursionError, ValueError):
        return "[" * 3000 + "]" * 3000


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder for the changed files; the tests run at the root of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        path = tmp_path_factory.mktemp("changed")
        (path / "config/scales").mkdir(parents=True)
        (path / "config/scales/small.yaml").touch()  # whose pictures the scale shows
        yield path


def test_unchanged_it_is_valid(folder: Path) -> None:
    assert told(copy.deepcopy(CONTENT), folder) == ""


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=changed())
def test_a_change_is_refused_in_one_line_or_can_be_planned(folder: Path, content: dict[str, Any]) -> None:
    line = told(content, folder)
    assert line == "" or line.isprintable()


@pytest.mark.night
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=changed())
def test_many_changes_are_refused_in_one_line_or_can_be_planned(folder: Path, content: dict[str, Any]) -> None:
    line = told(content, folder)
    assert line == "" or line.isprintable()
