"""Schema of `description.json`, from which other steps read what is run; `summary` fills it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from invgrad.settings import Settings, parse, read_json, unknown


class Setting(Settings):
    """One resolved setting of a cell, and its source; `paper` is the paper's value if it was changed, else None."""

    value: str
    provenance: str
    paper: str | None = None


class CellDescription(Settings):
    """One cell, for readers.

    It has its names (`Experiments.names`), the cell that it is a variant of, its clients, their victim after `epoch`
    epochs of training, the network seeds, and the number of shards for each seed. `deviations` lists why its numbers
    are not comparable with the paper's, empty if they are. `left_out` is the reason why it is not run, None if it is.
    `weight_known`, `alike` and `copies_of` are those of `invgrad.paper.cells.CellFacts`.
    """

    label: str
    network: str
    training: str
    attack: str
    variant: str
    variant_of: str | None
    clients: str
    victim: str
    epoch: int
    swapped_rows: bool
    seeds: tuple[int, ...]
    shards: int
    images_per_client: int
    total_variation: float | None
    step_decay: bool | None
    deviations: tuple[str, ...]
    weight_known: bool = True
    alike: str = ""
    copies_of: str | None = None
    left_out: str | None = None
    settings: dict[str, Setting]


class ArtefactDescription(Settings):
    """One table or figure.

    `not_made` is the reason why it is not made, None if it is; `shown_at` then is the scale whose picture in the
    repository shows what it would be, None if there is none.
    """

    title: str
    where: str
    about: str
    cells: tuple[str, ...]
    writes: tuple[Literal["csv", "md", "tex", "png", "pdf"], ...]
    not_made: str | None = None
    shown_at: str | None = None


class Description(Settings):
    """Content of `description.json`: artefacts and cells of one scale; `changed` holds the user's override."""

    scale: str
    about: str
    changed: dict[str, JsonValue] = Field(default_factory=dict)
    artefacts: dict[str, ArtefactDescription]
    cells: dict[str, CellDescription]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read such a file; `SettingsError`, with its name, if it is not valid."""
        return parse(cls, read_json(path), str(path))

    @model_validator(mode="after")
    def _cells_are_described(self) -> Self:
        for name, artefact in self.artefacts.items():
            for cell in artefact.cells:
                if cell not in self.cells and artefact.not_made is None:
                    raise ValueError(f"artefacts.{name}.cells: {unknown('cell', cell, self.cells)}")
        return self
