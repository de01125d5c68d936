"""Base of all settings classes: frozen, closed, and one clear line when a value is wrong.

The configuration file, the Python interface and the generated schema share these classes, so that they cannot drift
apart. Settings hold values alone; the modules that compute with them choose what to do by their class.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

DEEPEST, MOST_VALUES, LONGEST_TEXT = 50, 1_000_000, 20_000
"""Bounds of what settings may hold: levels of nesting, values in all, characters of one text."""

LONGEST_NAME = 200
"""Characters of a name, which becomes part of file names; what a message shows of a longer value."""

MOST_LISTED = 20
"""Names that a message lists in full; an attack has about as many settings."""

LARGEST = 2**53
"""Largest whole number of any setting: the last up to which every reader of JSON agrees."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that no command line or file takes."""


class SettingsError(ValueError):
    """Error for a setting that cannot be used; one line says where, what is wrong and the nearest valid value."""

    def __init__(self, sentence: object) -> None:
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in one_line(sentence)))


def once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Map each key to its value; `SettingsError` if a key is given twice."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise SettingsError(f"'{_shortened(str(key))}' is given twice")
        content[key] = value
    return content


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader, which takes each key once; the one written in C, if installed, is ten times as fast."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace `<<` by what it stands for; keys beside it take precedence, as PyYAML has it."""
        once((str(key.value), value) for key, value in node.value)
        super().flatten_mapping(node)
        # A mapping that is merged elsewhere before its own turn comes here twice.
        node.value = list({str(key.value): (key, value) for key, value in node.value}.values())


class Settings(BaseModel):
    """Base of all settings: immutable, keyword-only, no unknown keys, no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(unknown("key", key, cls.model_fields))
        return data

    def with_(self, **changes: Any) -> Self:
        """A validated copy with some values changed."""
        return type(self).model_validate({**self.model_dump(), **changes})


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The sentence for a name that is not among `known`: with the nearest one and all that are known, or with three."""
    names = sorted(map(str, known))
    sentence = f"unknown {what} '{_shortened(str(name))}'"
    if len(names) > MOST_LISTED:
        return f"{sentence}{nearest(name, names, 3)} (of {len(names)})"
    return f"{sentence}{nearest(name, names)} (known: {', '.join(names) or 'none'})"


def nearest(name: object, known: Iterable[str], number: int = 1) -> str:
    """The end of a sentence about an unknown name: the nearest of those known, however far."""
    near = difflib.get_close_matches(str(name)[:LONGEST_NAME], list(known), n=number, cutoff=0.0)
    return f"; nearest: {', '.join(repr(each) for each in near)}" if near else ""


Value = TypeVar("Value", bound=Hashable)


def _distinct(values: tuple[Value, ...]) -> tuple[Value, ...]:
    seen: set[Value] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{_shortened(repr(value))} is there twice")
        seen.add(value)
    return values


Distinct = Annotated[
    tuple[Value, ...], AfterValidator(_distinct), Field(max_length=10_000, json_schema_extra={"uniqueItems": True})
]
"""Values none of which is there twice."""


def _nameable(path: Path) -> Path:
    if too_long := next((part for part in path.parts if len(part.encode()) > LONGEST_NAME), None):
        raise ValueError(f"{_shortened(too_long)}: a name of {len(too_long)} characters (nearest: {LONGEST_NAME})")
    return path


def _fit_for_commands(path: Path) -> Path:
    if not FOR_COMMANDS.fullmatch(str(path)):
        raise ValueError(f"'{path}': no spaces and no other than letters, digits and ./_+@%,:=-, as commands name it")
    return path


File = Annotated[Path, AfterValidator(_nameable)]
"""A path that a disk may hold."""

CommandFile = Annotated[File, AfterValidator(_fit_for_commands)]
"""A path that becomes part of commands and of rules, unquoted."""

FOR_COMMANDS = re.compile(r"(?!-)[\w./+@%,:=-]*")

S = TypeVar("S", bound="Settings")


def parse(model: type[S], data: Any, where: str) -> S:
    """Validate `data` as `model`; raise `SettingsError` with one line that starts with `where` if it is not valid."""
    refuse_unplain(data, where)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise SettingsError(f"{where}: {_sentence(dict(problems[0]))}{more}") from None


def merged(base: Any, patch: Any) -> Any:
    """Merge `patch` over `base`; both are plain settings, nested dictionaries of values."""
    if not (isinstance(base, dict) and isinstance(patch, dict)) or another_kind(base, patch):
        return patch
    return base | {key: merged(base.get(key), value) for key, value in patch.items()}


def refuse_unplain(content: Any, where: str, bare: Callable[[Any], Any] = lambda value: value) -> None:
    """Raise `SettingsError` if content of a file or a command line is not what settings can hold.

    That is what JSON can hold, within bounds: no date, no list that holds itself, no infinite number. `bare` takes off
    what a reader puts around values.
    """
    waiting = [(content, where, 0)]
    seen = 0
    while waiting:
        value, place, depth = waiting.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST_VALUES:
            raise SettingsError(f"{where}: holds more than {DEEPEST} levels or {MOST_VALUES:,} values")
        match bare(value):
            case dict() as named:
                waiting += [(each, f"{place}: {_scalar(key, place)}", depth + 1) for key, each in named.items()]
            case list() | tuple() as listed:
                waiting += [(each, place, depth + 1) for each in listed]
            case scalar:
                _scalar(scalar, place)


def _scalar(value: Any, place: str) -> Any:
    """The value; `SettingsError` if it is not one that settings can hold."""
    match value:
        case str() if len(value) > LONGEST_TEXT:
            raise SettingsError(f"{place}: a text of {len(value):,} characters (nearest: {LONGEST_TEXT:,})")
        case str() if CONTROL.search(value):
            raise SettingsError(f"{place}: {_shortened(value)}: holds a control character")
        case int() if abs(value) > LARGEST:
            raise SettingsError(f"{place}: a number out of range (nearest: {LARGEST if value > 0 else -LARGEST})")
        case float() if not math.isfinite(value):
            raise SettingsError(f"{place}: {value} is not a finite number")
        case None | str() | int() | float() | Path() | Settings():
            return value
    raise SettingsError(f"{place}: must be text, a number, true, false or null, but is a {type(value).__name__}")


def one_line(message: object) -> str:
    """Put a message, such as that of an error, on one line."""
    return " ".join(str(message).split())


def another_kind(base: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Tell if the patch names another `kind` or `name`, to which the other settings of the base do not belong."""
    return any(key in patch and key in base and patch[key] != base[key] for key in ("kind", "name"))


def read_yaml(path: Path, loader: Any = Loader) -> Any:
    """The content of a YAML file; `SettingsError` if it is missing or not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    return parse_yaml(text, str(path), loader)


def parse_yaml(text: str, where: str, loader: Any = Loader) -> Any:
    """The content of YAML; `SettingsError` that starts with `where` if it is none."""
    try:
        return yaml.load(text, Loader=loader)
    except Exception as error:  # of a date that does not exist, or too deep a nesting, PyYAML passes on any error
        raise SettingsError(f"{where}: not valid YAML: {error}") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; `SettingsError` if it is missing or not JSON."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:
    """The content of JSON; `SettingsError` that starts with `where` if it is none."""
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where}: not valid JSON: {error}") from None


def _sentence(problem: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    context = problem.get("ctx", {})
    prefix = f"{place}: " if place else ""
    value = _shortened(repr(problem["input"]))
    match problem["type"]:
        case "value_error":
            return f"{prefix}{context['error']}"
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            return f"{prefix}{unknown(str(context['discriminator']).strip(chr(39)), context['tag'], tags)}"
        case "greater_than_equal" | "less_than_equal":
            bound = next(context[key] for key in ("ge", "le") if key in context)
            return f"{prefix}{value} is out of range: {_uncapitalised(problem['msg'])} (nearest: {bound})"
        case "greater_than" | "less_than":
            return f"{prefix}{value} is out of range: {_uncapitalised(problem['msg'])}"
        case _:
            return f"{prefix}{_uncapitalised(problem['msg'])}, got {value}"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def _uncapitalised(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


Precision = Literal["float64", "float32", "tf32"]
"""Precision of the arithmetic: float32 is exact single precision; tf32, on a GPU only, rounds factors to 10 bits."""
