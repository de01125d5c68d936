"""Resolved configuration: the paper's experiments with the changes of a scale and of the user.

`config/experiments` holds the paper's settings, each with its source. A scale is a patch over them that may change
counts and the source of the data, nothing else; a user's `override` may change everything. A cell that either of them
changed deviates from the paper (see `invgrad.experiments.deviations`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from invgrad.experiments.feasibility import (
    refuse_absent_gpu,
    refuse_impossible_networks,
    refuse_missing_checkpoints,
    refuse_missing_pictures,
    refuse_unversioned,
    sources_of,
)
from invgrad.experiments.left_out import LeftOut
from invgrad.experiments.reading import Written, as_written, read_experiments
from invgrad.experiments.scales import (
    MAY_SCALE,
    Override,
    Scale,
    cells_named,
    patched,
    refuse_physics,
    refuse_unused,
)
from invgrad.experiments.schema import Artefact, Experiments, Reasons, must_exist
from invgrad.paper import open_details
from invgrad.paper import values as paper_values
from invgrad.runtime.settings import CheckpointInterval
from invgrad.settings import CommandFile, Distinct, File, Settings, SettingsError, parse, parse_yaml, read_yaml, unknown

CONFIG = Path("params.yaml")


class Config(Settings):
    """Content of `params.yaml`, as changed by `snakemake --config`; paths are relative to the clone."""

    scale: Annotated[str, Field(pattern=r"^[\w.-]*$")] = "demo"
    artefacts: Annotated[Distinct[str], Field(min_length=1)] | None = None
    """Names of the artefacts that are made; None: all."""
    left_out: Reasons = Field(default_factory=dict)
    """Cells that are not run although an artefact shows them: a name or pattern, and the reason for readers."""
    whole: bool = False
    """Run also the cells that the scale leaves out."""
    experiments: CommandFile = Path("config/experiments")
    """A folder of files, or a single file."""
    scales: CommandFile = Path("config/scales")
    paper_values: CommandFile = Path("data/paper_values.csv")
    open_details: CommandFile = Path("data/open_details.yaml")
    data_root: File = Path("data")
    """The folder of the user's data sets; downloads go there too."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Sources of data sets, by data set, instead of those of the scale."""
    results: CommandFile = Path("results")
    figures: CommandFile = Path("figures")
    notebooks: CommandFile = Path("notebooks")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")
    memory: float | None = Field(default=None, gt=0, le=1e6)
    """GiB that the trials of an attack may take at once; by default 2 on a CPU, most of what is free on a GPU. A wide
    network on a CPU takes one trial at a time in any case.
    """
    checkpoint: CheckpointInterval = CheckpointInterval()
    """Interval at which the state of an unfinished training or attack is written."""
    override: Override = Field(default_factory=dict)

    @field_validator("override", mode="before")
    @classmethod
    def _typed(cls, override: Any) -> Any:
        """Convert values that Snakemake's `--config` passed as text; it does so with nested ones."""
        return _typed(override)


@dataclass(frozen=True, kw_only=True)
class Project:
    """Resolved configuration: the experiments of the paper, and those that are run here."""

    config: Config
    scale: Scale
    written: Written
    """The paper's experiments with the source of every setting."""
    paper: Experiments
    scaled: Experiments
    """The experiments at this scale, without the user's override."""
    experiments: Experiments
    sources: Mapping[str, str]
    """The source of every data set that is at hand."""
    missing: Mapping[str, str]
    """A sentence for every other data set: which files to put where."""

    @property
    def scale_file(self) -> Path:
        """The file of the scale."""
        return _scale_file(self.config)

    @property
    def artefacts(self) -> dict[str, Artefact]:
        """Artefacts that are to be made, in the order of the configuration."""
        chosen = self.config.artefacts
        return {name: artefact for name, artefact in self.possible.items() if chosen is None or name in chosen}

    @cached_property
    def possible(self) -> dict[str, Artefact]:
        """Every artefact of which some cell is not left out, with only these cells."""
        found = {}
        for name, artefact in self.experiments.artefacts.items():
            cells = tuple(cell for cell in artefact.cells if self.left_out(cell) is None)
            if cells or not artefact.cells:
                found[name] = artefact.model_copy(update={"cells": cells})
        return found

    def left_out(self, cell: str) -> str | None:
        """The reason why this cell is left out, the user's before the scale's; None if it is run."""
        return self._left_out_by_user.reason(cell) or self.left_out_by_scale(cell)

    def left_out_by_scale(self, cell: str) -> str | None:
        """The scale's reason why this cell is left out; None if there is none, or all cells are to be run."""
        return None if self.config.whole else self._left_out_by_scale.reason(cell)

    def shown_at(self, artefact: str) -> str | None:
        """The scale whose picture is shown in place of an artefact that is not made; None if there is none."""
        return None if artefact in self.possible else self.scale.shown_at.get(artefact)

    @cached_property
    def _left_out_by_user(self) -> LeftOut:
        return LeftOut(self.config.left_out, self.experiments.cells, "config")

    @cached_property
    def _left_out_by_scale(self) -> LeftOut:
        return LeftOut(self.scale.left_out, self.experiments.cells, f"scale {self.config.scale}")

    def parts(self, cell: str) -> dict[str, str]:
        """The names of the parts of a cell, by kind: itself, its clients, their victim."""
        clients = self.experiments.cells[cell].clients
        return {"cells": cell, "clients": clients, "victims": self.experiments.clients[clients].victim}


def load(raw: Mapping[str, Any]) -> Project:
    """Resolve a raw configuration and check it as a whole, before anything runs.

    Raises `SettingsError`, one line, for an unknown key, name or scale and for a value out of range.
    """
    config = parse(Config, dict(raw), "config")
    written = read_experiments(config.experiments)
    paper = parse(Experiments, cells_named(written.content, written.content["cells"]), str(config.experiments))
    content = paper.model_dump(mode="json")
    path = _scale_file(config)
    scale = parse(Scale, read_yaml(path), str(path))
    patch = cells_named(scale.model_dump(include=set(MAY_SCALE)), content["cells"])
    refuse_physics(patch, content, path)
    scaled = parse(Experiments, patched(content, patch, str(path)), f"{config.experiments} as changed by {path}")
    override = cells_named(config.override, {**content["cells"], **config.override.get("cells", {})})
    resolved = patched(scaled.model_dump(mode="json"), override, "override")
    refuse_unused(override, content, resolved)
    experiments = parse(Experiments, resolved, f"{config.experiments} as changed by {path} and the override")
    for name in config.artefacts or ():
        must_exist(name, experiments.artefacts, "artefact", "config: artefacts")
    for name, other in scale.shown_at.items():
        must_exist(name, experiments.artefacts, "artefact", f"{path}: shown_at")
        must_exist(other, _scale_files(config), "scale", f"{path}: shown_at.{name}")
    refuse_absent_gpu(config.device)
    refuse_unversioned({"results": config.results, "figures": config.figures}, os.environ)
    refuse_impossible_networks(experiments)
    refuse_missing_checkpoints(experiments)
    refuse_missing_pictures(experiments)
    sources, missing = sources_of(experiments, scale, config.sources, config.data_root, path)
    for artefact in experiments.artefacts:
        if not (config.notebooks / f"{artefact}.py").is_file():
            raise SettingsError(f"artefacts.{artefact}: there is no notebook {config.notebooks / f'{artefact}.py'}")
    paper_values.read(config.paper_values)
    open_details.read(config.open_details)
    project = Project(
        config=config,
        scale=scale,
        written=written,
        paper=paper,
        scaled=scaled,
        experiments=experiments,
        sources=sources,
        missing=missing,
    )
    _refuse_nothing_to_run(project)
    return project


def _refuse_nothing_to_run(project: Project) -> None:
    """Raise `SettingsError` if every cell of the artefacts chosen is left out, or the patterns are not clear."""
    named = project.config.artefacts or project.experiments.artefacts
    cells = [cell for name in named for cell in project.experiments.artefacts[name].cells]
    reasons = {cell: project.left_out(cell) for cell in cells}
    if None in reasons.values() or not cells:
        return
    wholly = replace(project, config=project.config.model_copy(update={"whole": True}))
    hint = " (nearest: whole=true, which runs what the scale leaves out)"
    raise SettingsError(
        f"config: artefacts: nothing is left to run: {'; '.join(dict.fromkeys(map(str, reasons.values())))}"
        + (hint if any(wholly.left_out(cell) is None for cell in cells) else "")
    )


def schema() -> dict[str, Any]:
    """The JSON schema of every file of the configuration, for editors: params.yaml, a scale, or experiments."""
    each = {model.__name__: model.model_json_schema() for model in (Config, Scale, Experiments)}
    each["Experiments"] = as_written(each["Experiments"])
    definitions = {name: part for schema in each.values() for name, part in schema.pop("$defs", {}).items()}
    return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in each], "$defs": definitions | each}


def _scale_files(config: Config) -> dict[str, Path]:
    return {path.stem: path for path in sorted(config.scales.glob("*.yaml"))}


def _scale_file(config: Config) -> Path:
    known = _scale_files(config)
    if config.scale not in known:
        raise SettingsError(f"config: scale: {unknown('scale', config.scale, known)}")
    return known[config.scale]


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return _scalar(value) if isinstance(value, str) else value


def _scalar(text: str) -> Any:
    """Convert text that YAML reads as a number, a truth value or null; return any other text unchanged."""
    try:
        value = parse_yaml(text, "override")
    except SettingsError:
        return text
    return value if isinstance(value, bool | int | float | None) else text
