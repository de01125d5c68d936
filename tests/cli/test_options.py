"""docs/options.md names every setting, and only what there is."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from invgrad.attack.settings import Attack, Optimiser, Start
from invgrad.cli.parsing import nested, network_form
from invgrad.clients.settings import Client
from invgrad.networks.settings import Network
from invgrad.objective.settings import Distance, Layers
from invgrad.settings import merged

TEXT = (Path(__file__).parents[2] / "docs/options.md").read_text()
RELEASED, ONLY_OURS = TEXT.split("## Only ours")
NETWORKS: TypeAdapter[Network] = TypeAdapter(Network)


def second_column(table: str) -> list[str]:
    """Of all tables in the text."""
    return [line.split(" | ")[1] for line in table.splitlines() if line.startswith("|") and " | " in line]


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def members(union: object) -> tuple[type[BaseModel], ...]:
    """The classes of a discriminated union."""
    return get_args(get_args(union)[0])


def tags(key: str, *unions: object) -> set[str]:
    return {member.model_fields[key].default for union in unions for member in members(union)}


def fields(*classes: type[BaseModel]) -> set[str]:
    return {field for each in classes for field in each.model_fields}


def choices(model: type[BaseModel]) -> set[str]:
    """The words that a field may be."""
    values = [value for field in model.model_fields.values() for value in get_args(field.annotation)]
    return {value for value in values if isinstance(value, str)}


@pytest.mark.parametrize(
    "names",
    [
        fields(Attack),
        choices(Attack),
        tags("kind", Distance, Layers, Optimiser, Start, Client),
        tags("name", Network),
        fields(*members(Layers), *members(Optimiser), *members(Start)),
        fields(*members(Client)),
    ],
)
def test_every_setting_is_explained(names: set[str]) -> None:
    ours = " ".join([*second_column(RELEASED), ONLY_OURS])
    explained = {word for part in code(ours) for word in re.split(r"[^\w-]+", part)}
    assert len(names) > 5
    assert names - explained == set()


def test_every_row_of_the_attack_is_a_setting_of_it() -> None:
    table = TEXT.split("## The attack's `config`")[1].split("\n## ")[0]
    rows = [[part for part in code(cell) if "=" in part] for cell in second_column(table)]
    assert sum(map(len, rows)) > 30
    for given in rows:
        Attack.model_validate(merged(Attack().model_dump(), nested(given)))


def test_every_network_is_one() -> None:
    table = TEXT.split("| `--model` | `--network` |")[1].split("\n\n")[0]
    forms = [form for cell in second_column(table) for form in code(cell)]
    assert len(forms) > 15
    for form in forms:
        NETWORKS.validate_python(network_form(form, "--network"))
