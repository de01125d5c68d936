"""Parser of arguments of the command line into plain settings."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invgrad.settings import SettingsError, parse_yaml, read_yaml

FILES = (".json", ".yaml", ".yml")


def json_object(text: str, where: str) -> dict[str, Any]:
    """Parse a JSON object; `SettingsError`, starting with `where`, if it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where}: not valid JSON: {error}") from None
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
    flow = re.sub(r"(^|,)\s*(\w+)=", r"\1 \2: ", pairs)
    return {tag: name, **parse_yaml(f"{{{flow}}}", f"{where}: {text}")}


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
        branch[key] = value
    return tree
