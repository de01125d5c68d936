"""Parser of arguments of the command line into plain settings."""

import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from invgrad.settings import SettingsError, once, parse_json, parse_yaml, read_yaml

FILES = (".json", ".yaml", ".yml")


def json_object(text: str, where: str) -> dict[str, Any]:
    """Parse a JSON object; `SettingsError`, starting with `where`, if it is none."""
    content = parse_json(text, where)
    if not isinstance(content, dict):
        raise SettingsError(f"{where}: must be a JSON object, got {text}")
    return content


def settings(text: str, where: str) -> dict[str, Any]:
    """Parse settings: `text` is JSON, or the name of a JSON or YAML file."""
    if text.lstrip().startswith("{"):
        return json_object(text, where)
    content = read_yaml(Path(text))
    if not isinstance(content, dict):
        raise SettingsError(f"{where}: {text} must hold keys with values, but holds {content!r}")
    return content


def short_form(text: str, tag: str, where: str) -> dict[str, Any]:
    """Parse `name` or `name:key=value,key=value`, e.g. `resnet:depth=18,strides=[1,1,2,2]`; other text as `settings`.

    The name becomes the value of `tag`; values are YAML.
    """
    if text.lstrip().startswith("{") or text.endswith(FILES):
        return settings(text, where)
    name, _, pairs = text.partition(":")
    return once([(tag, name), *_pairs(pairs, f"{where}: {text}").items()])


def _pairs(text: str, where: str) -> dict[str, Any]:
    """Parse `key=value,key=value`."""
    flow = re.sub(r"(^|,)\s*(\w+)=", r"\1 \2: ", text)
    content: dict[str, Any] = parse_yaml(f"{{{flow}}}", where)
    return content


def network_form(text: str, where: str) -> dict[str, Any]:
    """Parse a network: a `short_form`, or `package.module:factory` or `folder/file.py:factory` for one of the user's
    own, with its arguments as in `file.py:factory,width=32`.

    The file's folder becomes importable, as it is when Python runs the file. `SettingsError` if there is no such file,
    if no factory is named, or if Python knows another module of its name.
    """
    parts = re.fullmatch(r"([^:{]+):([A-Za-z_]\w*)(?:,(.*=.*))?", text)
    if parts is None and (file := text.partition(":")[0]).endswith(".py"):
        raise SettingsError(f"{where}: {text}: say which function returns the network: {file}:FUNCTION")
    if parts is None:
        return short_form(text, "name", where)
    module, factory, pairs = parts.groups()
    name = _importable(Path(module), where) if module.endswith(".py") else module
    return {
        "name": "custom",
        "factory": f"{name}:{factory}",
        "arguments": _pairs(pairs or "", f"{where}: {text}"),
    }


def _importable(file: Path, where: str) -> str:
    """Make a Python file importable, and return its name there."""
    if not file.is_file():
        raise SettingsError(f"{where}: there is no file {file}")
    sys.path.insert(0, str(file.resolve().parent))
    spec = find_spec(file.stem)
    if spec is None or spec.origin is None or not file.samefile(spec.origin):
        raise SettingsError(f"{where}: Python knows another module '{file.stem}' than {file}; rename the file")
    return file.stem


def numbers(text: str, where: str) -> list[Any]:
    """Parse `1,2.5,3`."""
    content: list[Any] = parse_yaml(f"[{text}]", f"{where}: {text}")
    return content


def share(text: str, where: str) -> float:
    """Parse a share: `5%` or `0.05`."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise SettingsError(f"{where}: {text} is no share; nearest: 5%") from None


def assignment(item: str) -> tuple[str, Any]:
    """Parse `key=value`; the value is YAML."""
    key, equals, value = item.partition("=")
    content = parse_yaml(value, item)
    if not equals:
        raise SettingsError(f"{item}: must be key=value")
    return key, content


def nested(items: Sequence[str]) -> dict[str, Any]:
    """Parse several `key=value` or `group.key=value` into nested settings."""
    tree: dict[str, Any] = {}
    for item in items:
        path, value = assignment(item)
        *groups, key = path.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
            if not isinstance(branch, dict):
                raise SettingsError(f"{item}: '{group}' is {branch!r} already")
        branch |= once([*branch.items(), (key, value)])
    return tree
