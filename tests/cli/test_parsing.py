"""Networks and settings as a user names them on the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from invgrad.cli.main import _project
from invgrad.cli.parsing import json_object, nested, network_form
from invgrad.settings import SettingsError, parse_yaml


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that imports one beside it, in a folder that Python does not know yet."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("nets_of_mine", "width_of_mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "width_of_mine.py").write_text("WIDTH = 3", encoding="utf-8")
    (tmp_path / "nets_of_mine.py").write_text("from width_of_mine import WIDTH", encoding="utf-8")
    return tmp_path / "nets_of_mine.py"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [("", {}), (",width=3", {"width": 3}), (",widths=[1, 2],name=a b", {"widths": [1, 2], "name": "a b"})],
)
def test_a_factory_of_a_file_or_module_and_its_arguments(
    text: str, arguments: dict[str, object], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"name": "custom", "factory": "nets_of_mine:make", "arguments": arguments}
    assert network_form(f"{file}:make{text}", "--network") == wanted
    assert network_form(f"nets_of_mine:make{text}", "--network") == wanted
    monkeypatch.chdir(file.parent)
    assert network_form(f"nets_of_mine.py:make{text}", "--network") == wanted
    import nets_of_mine

    assert nets_of_mine.WIDTH == 3


@pytest.mark.parametrize(
    ("parse", "key"),
    [
        (lambda: nested(["restarts=8", "restarts=9"]), "restarts"),
        (lambda: nested(["optimiser.kind=lbfgs", "optimiser=adam"]), "optimiser"),
        (lambda: nested(["optimiser={kind: adam}", "optimiser.kind=lbfgs"]), "kind"),
        (lambda: network_form("resnet:depth=18,depth=20", "--network"), "depth"),
        (lambda: network_form("resnet:name=mlp", "--network"), "name"),
        (lambda: json_object('{"a": {"b": 1, "b": 2}}', "--settings"), "b"),
        (lambda: parse_yaml("a: {b: 1, b: 2}", "x.yaml"), "b"),
        (lambda: _project(["scale=demo", "scale=small"]), "scale"),
    ],
)
def test_a_setting_that_is_given_twice_is_one_line(parse: Callable[[], object], key: str) -> None:
    with pytest.raises(SettingsError, match=f"'{key}' is given twice$"):
        parse()


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {k: 1, l: 2}\ny: {<<: *x, k: 3}",
        "x: {y: {z: [&a {k: 1}, &b {<<: *a, k: 2}]}}\nu: {<<: *b, k: 3}",  # of b, u is read first
    ],
)
def test_a_setting_may_take_the_place_of_one_that_is_merged(text: str) -> None:
    assert parse_yaml(text, "x.yaml") == yaml.safe_load(text)


def test_settings_of_one_group_may_be_given_one_by_one() -> None:
    assert nested(["a.b=1", "a.c.d=2", "e=3", "a.c.f=4"]) == {"a": {"b": 1, "c": {"d": 2, "f": 4}}, "e": 3}


def test_other_forms_stay_as_they_are() -> None:
    for text in ("mlp", "resnet:depth=18,width=64", '{"name": "mlp", "widths": [5]}'):
        assert network_form(text, "--network")["name"] in ("mlp", "resnet")


def test_a_file_that_python_would_not_take_is_one_line(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no file absent\.py"):
        network_form("absent.py:make", "--network")
    other = file.with_name("types.py")
    other.touch()
    with pytest.raises(SettingsError, match=r"another module 'types' than .*types\.py; rename the file"):
        network_form(f"{other}:make", "--network")


@pytest.mark.parametrize("text", ["nets/mine.py", "nets/mine.py:", "nets/mine.py:3"])
def test_a_file_without_a_function_is_told_what_is_missing(text: str) -> None:
    with pytest.raises(SettingsError, match=r"say which function returns the network: nets/mine\.py:FUNCTION$"):
        network_form(text, "--network")


def test_the_current_folder_is_importable(file: Path) -> None:
    """Also from the script `invgrad`, beside which Python looks by itself, and not for who asks for safe paths.

    A file of the name of one of Python's modules hides it from no command.
    """
    file.with_name("colorsys.py").touch()
    imports = "import nets_of_mine\nfrom colorsys import rgb_to_hsv"
    code = "import sys; sys.argv = ['invgrad', '--version']; sys.path.pop(0)\n{}\n" + imports
    program = "from invgrad.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    command = [sys.executable, "-c", code.format(program)]
    subprocess.run(command, cwd=file.parent, capture_output=True, check=True)
    safe = [sys.executable, "-P", "-c", code.replace("sys.path.pop(0)", "").format(program)]
    assert subprocess.run(safe, cwd=file.parent, capture_output=True, check=False).returncode == 1
