"""Base of all settings classes: frozen, closed, and one clear line when a value is wrong.

The configuration file, the Python interface and the generated schema share these classes, so that they cannot drift
apart. Settings hold values alone; the modules that compute with them choose what to do by their class.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""YAML's safe loader; the one written in C, if installed, is ten times as fast."""


class SettingsError(ValueError):
    """Error for a setting that cannot be used; one line says where, what is wrong and the nearest valid value."""


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
    """The sentence for a name that is not among `known`, with the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
    hint = f"; nearest: '{near[0]}'" if near else ""
    return f"unknown {what} '{name}'{hint} (known: {', '.join(names) or 'none'})"


S = TypeVar("S", bound="Settings")


def parse(model: type[S], data: Any, where: str) -> S:
    """Validate `data` as `model`; raise `SettingsError` with one line that starts with `where` if it is not valid."""
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


def one_line(error: BaseException) -> str:
    """Put the error's message on one line."""
    return " ".join(str(error).split())


def another_kind(base: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    """Tell if the patch names another `kind` or `name`, to which the other settings of the base do not belong."""
    return any(key in patch and key in base and patch[key] != base[key] for key in ("kind", "name"))


def read_yaml(path: Path, loader: Any = LOADER) -> Any:
    """The content of a YAML file; `SettingsError` if it is missing or not YAML."""
    try:
        return yaml.load(path.read_text(), Loader=loader)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {one_line(error)}") from None


def _sentence(problem: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    context = problem.get("ctx", {})
    prefix = f"{place}: " if place else ""
    match problem["type"]:
        case "value_error":
            return f"{prefix}{context['error']}"
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            return f"{prefix}{unknown(str(context['discriminator']).strip(chr(39)), context['tag'], tags)}"
        case "greater_than_equal" | "less_than_equal":
            bound = next(context[key] for key in ("ge", "le") if key in context)
            return f"{prefix}{problem['input']!r} is out of range: {_uncapitalised(problem['msg'])} (nearest: {bound})"
        case "greater_than" | "less_than":
            return f"{prefix}{problem['input']!r} is out of range: {_uncapitalised(problem['msg'])}"
        case _:
            return f"{prefix}{_uncapitalised(problem['msg'])}, got {problem['input']!r}"


def _uncapitalised(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


Precision = Literal["float64", "float32", "tf32"]
"""Precision of the arithmetic: float32 is exact single precision; tf32, on a GPU only, rounds factors to 10 bits."""
