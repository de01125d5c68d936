"""Description of what is run, as `description.json` holds it for the steps that show it to readers."""

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from invgrad.settings import Settings, unknown


class Setting(Settings):
    """One resolved setting of a cell; `paper` is the paper's value where the scale or an override changed it."""

    value: str
    provenance: str
    paper: str | None = None


class CellDescription(Settings):
    """A cell: its names for readers (`Experiments.names`) and the cell that it is a variant of; its clients, their
    victim after `epoch` epochs of training, the network seeds and the shards of each; and why its numbers are not
    comparable with the paper's (`deviations`); `left_out` says why it is not run, if so.
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
    left_out: str | None = None
    settings: dict[str, Setting]


class ArtefactDescription(Settings):
    """A table or figure; `not_made` says why it is not made, if so."""

    title: str
    where: str
    about: str
    cells: tuple[str, ...]
    writes: tuple[Literal["csv", "md", "tex", "png", "pdf"], ...]
    not_made: str | None = None


class Description(Settings):
    """What is run at one scale: `description.json`. `changed` holds the settings that the user overrode."""

    scale: str
    about: str
    changed: dict[str, JsonValue] = Field(default_factory=dict)
    artefacts: dict[str, ArtefactDescription]
    cells: dict[str, CellDescription]

    @model_validator(mode="after")
    def _cells_are_described(self) -> Self:
        for name, artefact in self.artefacts.items():
            for cell in artefact.cells:
                if cell not in self.cells and artefact.not_made is None:
                    raise ValueError(f"artefacts.{name}.cells: {unknown('cell', cell, self.cells)}")
        return self
