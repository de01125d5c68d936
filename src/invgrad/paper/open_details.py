"""Reader of the details that the paper leaves open, from `data/open_details.yaml`."""

from pathlib import Path

from pydantic import Field

from invgrad.settings import Settings, parse, read_yaml


class OpenDetail(Settings):
    """A detail that the paper leaves open; `source` is a file of the released code that bears on it."""

    question: str = Field(min_length=1)
    choice: str = Field(min_length=1)
    why: str = Field(min_length=1)
    artefacts: tuple[str, ...] = Field(min_length=1)
    source: str | None


class OpenDetails(Settings):
    """Content of the file; `repository` is the address of the released code."""

    repository: str
    details: tuple[OpenDetail, ...]


def read(path: Path) -> OpenDetails:
    """Read the file; `SettingsError` if it is not valid."""
    return parse(OpenDetails, read_yaml(path), str(path))
