"""The configuration: every experiment as the paper ran it, and what a scale changes about it.

`config/experiments` holds the paper's settings, each with its provenance. A scale is a patch over it that may
change counts and where the data comes from, nothing else; a user's `override` may change everything. What both changed
is the reason why a cell is not comparable with the paper.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import filter as filter_names
from fnmatch import fnmatch
from functools import cached_property, reduce
from itertools import combinations, product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, StringConstraints, field_validator, model_validator

from invgrad import paper_values
from invgrad.attacks import AnyAttack
from invgrad.clients.settings import Client, GradientClient
from invgrad.data import available, describe, find_source, what_to_put_where
from invgrad.experiments_yaml import Written, as_written, read_experiments
from invgrad.networks.facts import size_of
from invgrad.networks.settings import Network, Training
from invgrad.settings import Settings, SettingsError, merged, parse, read_yaml, unknown
from invgrad.unfinished import Keeping

CONFIG = Path("params.yaml")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""Of a victim, a group of clients, a cell or an artefact; it becomes part of file names."""

SCALABLE = {
    "victims": frozenset({"dataset", "training.epochs", "network.width", "network.weights"}),
    "clients": frozenset(
        {"seeds", "clients_per_shard"}
        | {f"targets.{key}" for key in ("split", "start", "every", "indices", "count", "images_per_client")}
    ),
    "cells": frozenset({"attack.iterations", "attack.restarts", "attack.snapshots"}),
    "artefacts": frozenset({"cells"}),
}
"""What a scale may change of each part: counts, which images, and where the data comes from."""

HARMLESS: Mapping[str, frozenset[str]] = {
    "victims": frozenset(),
    "clients": frozenset({"seeds", "targets.count", "clients_per_shard"}),
    "cells": frozenset({"label", "variant", "variant_of", "attack.snapshots"}),
}
"""What may change while a cell stays comparable with the paper: how much is run, not what."""


class Victim(Settings):
    """A network and the data it is for; untrained if there is no `training`, or one of no epochs."""

    network: Network
    dataset: str
    training: Training | None = None

    @model_validator(mode="after")
    def _known_dataset(self) -> "Victim":
        describe(self.dataset)
        return self

    @property
    def epochs(self) -> int:
        """How long it is trained."""
        return self.training.epochs if self.training else 0


class Targets(Settings):
    """Which images the clients hold: `count` clients with `images_per_client` images each, taken one after another,
    either every `every`-th from the position `start` of the published split on, or those at the positions `indices`.
    """

    split: Literal["train", "validation"] = "validation"
    start: NonNegativeInt = 0
    every: PositiveInt = 1
    indices: tuple[NonNegativeInt, ...] | None = None
    count: PositiveInt
    images_per_client: PositiveInt = 1
    distinct_labels: bool = True

    def positions(self) -> list[int] | None:
        """All positions that are taken, if they do not depend on the labels; else None."""
        needed = self.count * self.images_per_client
        if self.images_per_client > 1 and self.distinct_labels:
            return None
        if self.indices is not None:
            return list(self.indices[:needed])
        return [self.start + self.every * number for number in range(needed)]


class Clients(Settings):
    """A group of clients: the victim they train, their images, and what they share.

    The server sends them the network as it is after `epoch` epochs of its training (None: at the end). With
    `swapped_rows` it is dishonest: it swaps the rows of classes 2k and 2k+1 in the classification layer, so that every
    image seems to have a wrong label.
    """

    victim: str
    epoch: NonNegativeInt | None = None
    swapped_rows: bool = False
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Of the network's initial parameters; every seed is attacked with the same images."""
    targets: Targets
    shares: Client = GradientClient()
    labels_known: bool = True
    clients_per_shard: PositiveInt = 100

    @model_validator(mode="after")
    def _images_fit(self) -> "Clients":
        self.shares.check(self.targets.images_per_client)
        return self

    def shards(self) -> list[tuple[int, int]]:
        """First and last (exclusive) client of every shard."""
        count, size = self.targets.count, self.clients_per_shard
        return [(first, min(first + size, count)) for first in range(0, count, size)]


class Cell(Settings):
    """One attack on one group of clients: a number in a table, or a row of a figure."""

    label: str
    """For readers; `{network}` and `{training}` in it become what the victim is."""
    variant: str | None = None
    """For readers: the setting in which it differs from cells with the same label; stands behind that."""
    variant_of: Name | None = None
    """The cell that it is compared with image by image, since only its variant's setting is another."""
    clients: str
    attack: AnyAttack


class Artefact(Settings):
    """A table or figure: the cells that it shows, in order, what its notebook reads, the kinds of files it writes."""

    title: str
    where: str
    """In the paper, or "beyond the paper"."""
    about: str
    cells: tuple[str, ...] = ()
    reads: tuple[Literal["images", "activations", "curves", "description"], ...] = ()
    """Besides the rows of every cell: its images, its activation errors, its victim's training curve; or the
    description of all that is run.
    """
    writes: tuple[Literal["png", "pdf", "csv", "md", "tex"], ...] = Field(min_length=1)


class Experiments(Settings):
    """Every experiment, each part named once and referred to by name."""

    victims: dict[Name, Victim]
    clients: dict[Name, Clients]
    cells: dict[Name, Cell]
    artefacts: dict[Name, Artefact]

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiments":
        for name, clients in self.clients.items():
            _exists(clients.victim, self.victims, "victim", f"clients.{name}.victim")
        for name, cell in self.cells.items():
            _exists(cell.clients, self.clients, "clients", f"cells.{name}.clients")
            _possible(name, self.clients[cell.clients], cell.attack)
            self._base_exists(name)
        for name, artefact in self.artefacts.items():
            for shown in artefact.cells:
                _exists(shown, self.cells, "cell", f"artefacts.{name}.cells")
                self._epoch_exists(self.cells[shown].clients)
        return self

    def _epoch_exists(self, name: str) -> None:
        clients = self.clients[name]
        epochs = self.victims[clients.victim].epochs
        if clients.epoch is not None and clients.epoch > epochs:
            raise ValueError(f"clients.{name}.epoch: {clients.victim} has no epoch {clients.epoch}; nearest: {epochs}")

    def _base_exists(self, name: str) -> None:
        base = self.cells[name].variant_of
        if base is None:
            return
        _exists(base, self.cells, "cell", f"cells.{name}.variant_of")
        mine, others = self.cells[name].clients, self.cells[base].clients
        if mine != others:
            raise ValueError(f"cells.{name}.variant_of: '{base}' attacks the clients '{others}', not '{mine}'")

    def epoch(self, clients: str) -> int:
        """The epoch of its training after which these clients get their network."""
        chosen = self.clients[clients]
        return self.victims[chosen.victim].epochs if chosen.epoch is None else chosen.epoch

    def names(self, cell: str) -> dict[str, str]:
        """A cell for readers: its `network`, that one's `training`, its `attack`, which is the label but for the
        `variant`, and the whole `label`.
        """
        chosen = self.cells[cell]
        epoch = self.epoch(chosen.clients)
        network = self.victims[self.clients[chosen.clients].victim].network.title
        training = f"{epoch} epoch{'s' * (epoch != 1)}" if epoch else "untrained"
        attack = chosen.label.format(network=network, training=training)
        variant = chosen.variant or ""
        label = f"{attack}, {variant}" if variant else attack
        return {"network": network, "training": training, "attack": attack, "variant": variant, "label": label}


def _possible(cell: str, clients: Clients, attack: AnyAttack) -> None:
    """Raise `ValueError` if the attack needs more than these clients share."""
    if attack.kind == "analytic":
        if clients.shares.kind != "gradient":
            raise ValueError(f"cells.{cell}: an analytic attack needs a gradient, not {clients.shares.kind}")
        return
    labels_hidden = not clients.labels_known and attack.unknown_labels == "inferred"
    one_of_each = clients.targets.images_per_client == 1 or clients.targets.distinct_labels
    if labels_hidden and not (clients.shares.kind == "gradient" and one_of_each):
        raise ValueError(
            f"cells.{cell}: labels can be inferred from a gradient of images with distinct labels only "
            "(nearest: unknown_labels: optimised)"
        )
    if attack.batch_statistics and clients.shares.statistics == "withheld":
        raise ValueError(f"cells.{cell}: batch_statistics: the clients send no batch-norm statistics (nearest: 0)")


Patch = dict[str, dict[str, JsonValue]]
"""Changes by name; a name may be a pattern such as `lenet-*`, which changes what the parts that it fits have."""


Reach = Mapping[str, frozenset[str]]
"""The parts that each of several names, which may be patterns, fits."""


class Scale(Settings):
    """What one scale changes: a patch over the experiments, and where each data set comes from: the first of the named
    sources that is there.
    """

    about: str
    sources: dict[str, tuple[str, ...]]
    victims: Patch = Field(default_factory=dict)
    clients: Patch = Field(default_factory=dict)
    cells: Patch = Field(default_factory=dict)
    artefacts: Patch = Field(default_factory=dict)


class Config(Settings):
    """`params.yaml`, and what `snakemake --config` changes about it; paths are relative to the clone."""

    scale: str = "demo"
    artefacts: tuple[str, ...] | None = None
    """Those that are made; None: all."""
    left_out: dict[str, Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]] = Field(
        default_factory=dict
    )
    """Cells that are not run although an artefact shows them: a name or pattern, and the reason, for readers."""
    experiments: Path = Path("config/experiments")
    """A folder of files, or a single file."""
    scales: Path = Path("config/scales")
    paper_values: Path = Path("data/paper_values.csv")
    open_details: Path = Path("data/open_details.yaml")
    data_root: Path = Path("data")
    """The folder of the user's data sets; downloads go there too."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Data sets that come from elsewhere than the scale says."""
    results: Path = Path("results")
    figures: Path = Path("figures")
    notebooks: Path = Path("notebooks")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    memory: float | None = Field(default=None, gt=0)
    """GiB that the trials of an attack may take at once; by default 2 on a CPU, most of what is free on a GPU. A wide
    network on a CPU takes one trial at a time in any case.
    """
    checkpoint: Keeping = Keeping()
    """How often the state of an unfinished training or attack is kept."""
    override: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)

    @field_validator("results", "figures")
    @classmethod
    def _no_spaces(cls, path: Path) -> Path:
        if any(character.isspace() for character in str(path)):
            raise ValueError(f"'{path}': no spaces, since it becomes part of commands")
        return path

    @field_validator("override", mode="before")
    @classmethod
    def _typed(cls, override: Any) -> Any:
        """Snakemake hands nested values of `--config` on as text, but for lists and mappings."""
        return _typed(override)


@dataclass(frozen=True, kw_only=True)
class Project:
    """The configuration, resolved: what the paper ran, and what is run here."""

    config: Config
    scale: Scale
    written: Written
    """The paper's experiments with the source of every setting."""
    paper: Experiments
    scaled: Experiments
    """As the scale has them, without the user's override."""
    experiments: Experiments
    sources: Mapping[str, str]
    """Where every data set comes from, as far as there is a place."""
    missing: Mapping[str, str]
    """What to put where, for the other data sets."""

    @property
    def artefacts(self) -> dict[str, Artefact]:
        """Those that are to be made, in the order of the configuration."""
        chosen = self.config.artefacts
        return {name: artefact for name, artefact in self.possible.items() if chosen is None or name in chosen}

    @cached_property
    def possible(self) -> dict[str, Artefact]:
        """Every artefact without the cells that are left out, but for those of which nothing remains."""
        found = {}
        for name, artefact in self.experiments.artefacts.items():
            cells = tuple(cell for cell in artefact.cells if self.left_out(cell) is None)
            if cells or not artefact.cells:
                found[name] = artefact.model_copy(update={"cells": cells})
        return found

    def left_out(self, cell: str) -> str | None:
        """Why this cell is not run, if so; of several names that fit, the narrowest counts."""
        names = widest_first(cell, self._left_out)
        return self.config.left_out[names[-1]] if names else None

    @cached_property
    def _left_out(self) -> Reach:
        return reach(self.config.left_out, self.experiments.cells)

    def obstacles(self, cell: str) -> list[str]:
        """Why this cell is not comparable with the paper: each setting that a scale or an override changed."""
        reasons = []
        for kind, name in self.parts(cell).items():
            if name not in getattr(self.paper, kind):
                return [f"{kind.removesuffix('s')} '{name}' is not the paper's"]
            for key, before, now in self.changes(kind, name):
                if key not in HARMLESS[kind] and key.split(".")[0] not in HARMLESS[kind]:
                    reasons.append(_reason(key, before, now))
        return reasons

    def parts(self, cell: str) -> dict[str, str]:
        """The names of the parts that a cell is made of."""
        clients = self.experiments.cells[cell].clients
        return {"cells": cell, "clients": clients, "victims": self.experiments.clients[clients].victim}

    def overridden(self, artefact: str) -> list[str]:
        """What the user's override changes of what this artefact shows: each setting with its value and, in
        parentheses, the parts that have it.
        """
        found: dict[str, list[str]] = {}
        parts = (part for cell in self.possible[artefact].cells for part in self.parts(cell).items())
        for kind, name in dict.fromkeys(parts):
            for setting in self._overridden(kind, name):
                found.setdefault(setting, []).append(name)
        settings = [f"{setting} ({', '.join(names)})" for setting, names in found.items()]
        return [*self._overridden("artefacts", artefact), *settings]

    def _overridden(self, kind: str, name: str) -> list[str]:
        if name not in getattr(self.scaled, kind):
            return [f"new {kind.removesuffix('s')}"]
        return [f"{_words(key)} {json.dumps(now)}" for key, _, now in self._changes_of(self.scaled, kind, name)]

    def overridden_settings(self, kind: str, name: str) -> set[str]:
        """The paths of a part's settings that differ from those of the scale."""
        if name not in getattr(self.scaled, kind):
            return {path for path, _ in leaves(getattr(self.experiments, kind)[name].model_dump(mode="json"))}
        before, now = (
            dict(leaves(getattr(each, kind)[name].model_dump(mode="json"))) for each in (self.scaled, self.experiments)
        )
        return {path for path, value in now.items() if path not in before or before[path] != value}

    def changes(self, kind: str, name: str) -> list[tuple[str, Any, Any]]:
        """The settings of a part of the paper's that a scale or an override changed: key, the paper's value, ours."""
        return self._changes_of(self.paper, kind, name)

    def _changes_of(self, experiments: Experiments, kind: str, name: str) -> list[tuple[str, Any, Any]]:
        before, now = (getattr(each, kind)[name].model_dump(mode="json") for each in (experiments, self.experiments))
        return list(_differences(before, now))


def load(raw: Mapping[str, Any]) -> Project:
    """The project of a raw configuration, checked as a whole before anything runs.

    Raises `SettingsError`, one line, for an unknown key, name or scale and for a value out of range.
    """
    config = parse(Config, dict(raw), "config")
    written = read_experiments(config.experiments)
    content = _cells_named(written.content, written.content["cells"])
    paper = parse(Experiments, content, str(config.experiments))
    path = _scale_file(config)
    scale = parse(Scale, read_yaml(path), str(path))
    patch = _cells_named(scale.model_dump(include=set(SCALABLE)), content["cells"])
    _refuse_physics(patch, content, path)
    scaled = patched(content, patch, str(path))
    override = _cells_named(config.override, {**content["cells"], **config.override.get("cells", {})})
    resolved = patched(scaled, override, "override")
    _refuse_unused(override, content, resolved)
    experiments = parse(Experiments, resolved, f"{config.experiments} as changed by {path} and the override")
    for name in config.artefacts or ():
        _exists(name, experiments.artefacts, "artefact", "config: artefacts")
    for name in config.left_out:
        if not any(fnmatch(cell, name) for cell in experiments.cells):
            raise SettingsError(f"config: left_out: {unknown('cell', name, experiments.cells)}")
    _refuse_two_reasons(config.left_out, experiments.cells)
    _refuse_impossible_networks(experiments)
    sources, missing = _sources(config, scale, experiments, path)
    for artefact in experiments.artefacts:
        if not (config.notebooks / f"{artefact}.py").is_file():
            raise SettingsError(f"artefacts.{artefact}: there is no notebook {config.notebooks / f'{artefact}.py'}")
    paper_values.read(config.paper_values)
    project = Project(
        config=config,
        scale=scale,
        written=written,
        paper=paper,
        scaled=parse(Experiments, scaled, f"{config.experiments} as changed by {path}"),
        experiments=experiments,
        sources=sources,
        missing=missing,
    )
    if config.left_out and not any(artefact.cells for artefact in project.artefacts.values()):
        raise SettingsError("config: left_out: nothing is left to run")
    return project


def schema() -> dict[str, Any]:
    """The JSON schema of every file of the configuration, for editors: params.yaml, a scale, or experiments."""
    each = {model.__name__: model.model_json_schema() for model in (Config, Scale, Experiments)}
    each["Experiments"] = as_written(each["Experiments"])
    definitions = {name: part for schema in each.values() for name, part in schema.pop("$defs", {}).items()}
    return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in each], "$defs": definitions | each}


def patched(content: Mapping[str, Any], patch: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The experiments' plain content with what a patch says; of several names that fit a part, the narrower wins.

    A name that is a pattern changes, of the parts that it fits, the settings that they have; another name changes or
    adds one part. Raises `SettingsError` for a pattern that fits no part, and for two of which neither is narrower that
    change the same setting of a part.
    """
    result = dict(content)
    for kind, changes in patch.items():
        parts = dict(result.get(kind, {}))
        fitting = reach(changes, parts)
        for name, found in fitting.items():
            if not found:
                raise SettingsError(f"{where}: {kind}: {unknown('name', name, parts)}")
        for part in sorted(set().union(*fitting.values()), key=[*parts, *changes].index):
            parts[part] = _changed(part, parts.get(part), changes, fitting, f"{where}: {kind}")
        result[kind] = parts
    return result


def reach(names: Iterable[str], known: Iterable[str]) -> Reach:
    """What each name fits: a pattern those of `known` that match it, another name itself."""
    return {name: frozenset(filter_names(known, name) if _is_pattern(name) else [name]) for name in names}


def widest_first(part: str, fitting: Reach) -> list[str]:
    """The names that fit a part, the narrower after the wider; nothing is narrower than the part's own name."""
    return sorted(
        (name for name in fitting if part in fitting[name]), key=lambda name: (name == part, -len(fitting[name]))
    )


def undecided(part: str, fitting: Reach) -> Iterator[tuple[str, str]]:
    """Pairs of names that fit a part, neither of which is narrower than the other."""
    for wider, narrower in combinations(widest_first(part, fitting), 2):
        if narrower != part and not fitting[narrower] < fitting[wider]:
            yield wider, narrower


def _changed(part: str, before: Any, changes: Mapping[str, Any], fitting: Reach, where: str) -> Any:
    """A part with what all names that fit it say."""
    said = {
        name: changes[name] if name == part else _common(before, changes[name]) for name in widest_first(part, fitting)
    }
    for one, other in undecided(part, fitting):
        for setting in sorted(_both_change(said[one], said[other])):
            raise SettingsError(
                f"{where}: '{one}' and '{other}' both change {setting} of {part}, and neither is narrower "
                f"(nearest: change it under '{part}')"
            )
    return reduce(merged, said.values(), before)


def _both_change(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """The settings that two changes touch, or one of which holds what the other touches."""
    pairs = product(*([f"{path}." for path, _ in leaves(change)] for change in (one, other)))
    return {max(pair).rstrip(".") for pair in pairs if max(pair).startswith(min(pair))}


def _refuse_two_reasons(left_out: Mapping[str, str], cells: Iterable[str]) -> None:
    fitting = reach(left_out, cells)
    for cell in cells:
        for one, other in undecided(cell, fitting):
            if left_out[one] != left_out[other]:
                raise SettingsError(
                    f"config: left_out: '{one}' and '{other}' both say why {cell} is left out, and neither is narrower "
                    f"(nearest: say it under '{cell}')"
                )


def _cells_named(content: Mapping[str, Any], cells: Iterable[str]) -> dict[str, Any]:
    """The content of experiments or of a patch, with the names of cells for patterns in the artefacts."""
    artefacts = {name: _with_cells_named(artefact, cells) for name, artefact in content.get("artefacts", {}).items()}
    return {**content, "artefacts": artefacts}


def _with_cells_named(artefact: Any, cells: Iterable[str]) -> Any:
    match artefact:
        case {"cells": [*names]}:
            named = [each for name in names for each in filter_names(cells, str(name)) or [name]]
            return artefact | {"cells": list(dict.fromkeys(named))}
    return artefact


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _common(part: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """What the change says about settings that the part has."""
    common = {}
    for key, value in change.items():
        if isinstance(value, dict):
            if isinstance(part.get(key), dict):
                common[key] = _common(part[key], value)
        elif key in part:
            common[key] = value
    return common


def _refuse_physics(patch: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> None:
    for kind, parts in patch.items():
        for name, change in parts.items():
            if not _is_pattern(name):
                _exists(name, content[kind], kind.removesuffix("s"), f"{path}: {kind}")
            for setting, _ in leaves(change):
                group = setting.rpartition(".")[0]
                absent = group and not _is_pattern(name) and not content[kind][name].get(group)
                if setting not in SCALABLE[kind] or absent:
                    allowed = ", ".join(sorted(SCALABLE[kind]))
                    raise SettingsError(
                        f"{path}: {kind}.{name}.{setting}: a scale may change nothing here but {allowed}"
                    )
            if kind == "artefacts" and not _is_pattern(name):
                for cell in change.get("cells", ()):
                    _exists(cell, content[kind][name]["cells"], "cell", f"{path}: artefacts.{name}.cells")


def _sources(
    config: Config, scale: Scale, experiments: Experiments, path: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Where every data set comes from; of those that are nowhere, what to put where."""
    sources: dict[str, str] = {}
    missing: dict[str, str] = {}
    for dataset, splits in _needed(experiments).items():
        _exists(dataset, scale.sources, "data set", f"{path}: sources")
        wanted = (config.sources[dataset],) if dataset in config.sources else scale.sources[dataset]
        try:
            found = find_source(dataset, splits, wanted, config.data_root)
        except SettingsError as error:
            raise SettingsError(f"sources.{dataset}: {error}") from None
        if found:
            sources[dataset] = found
        else:
            missing[dataset] = what_to_put_where(dataset, splits, wanted, config.data_root)
    for dataset in config.sources:
        _exists(dataset, scale.sources, "data set", "config: sources")
    _refuse_too_few_images(experiments, sources)
    return sources, missing


def _needed(experiments: Experiments) -> dict[str, set[str]]:
    """The splits of every data set that is used."""
    needed: dict[str, set[str]] = {}
    for clients in experiments.clients.values():
        victim = experiments.victims[clients.victim]
        training = {"train", "validation"} if victim.epochs else set()
        needed.setdefault(victim.dataset, set()).update({clients.targets.split}, training)
    return needed


def _refuse_too_few_images(experiments: Experiments, sources: Mapping[str, str]) -> None:
    for name, clients in experiments.clients.items():
        targets, dataset = clients.targets, experiments.victims[clients.victim].dataset
        if dataset not in sources:
            continue
        there = available(dataset, targets.split, sources[dataset])
        needed = targets.count * targets.images_per_client
        if targets.indices is not None and needed > len(targets.indices):
            raise SettingsError(
                f"clients.{name}.targets: {needed} images are needed, but indices has {len(targets.indices)}"
            )
        last = max(targets.indices) if targets.indices else targets.start + targets.every * (needed - 1)
        if last >= there:
            raise SettingsError(
                f"clients.{name}.targets: image {last + 1} of {dataset} is needed, but {sources[dataset]} has {there}"
            )


def _refuse_impossible_networks(experiments: Experiments) -> None:
    """Raise an error for a network that cannot be built for its data."""
    for name, victim in experiments.victims.items():
        dataset = describe(victim.dataset)
        try:
            size_of(victim.network, classes=dataset.classes, size=dataset.size)
        except SettingsError as error:
            raise SettingsError(f"victims.{name}.network: {error}") from None


def _refuse_unused(override: Mapping[str, Any], content: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """A new name in an override that nothing refers to is a slip of the pen, not an experiment."""
    referring = {"victims": ("clients", "victim"), "clients": ("cells", "clients"), "cells": ("artefacts", "cells")}
    for kind, (others, key) in referring.items():
        used = [part.get(key) for part in resolved[others].values() if isinstance(part, dict)]
        names = {name for each in used for name in (each if isinstance(each, list) else [each])}
        for name in override.get(kind, {}):
            if not _is_pattern(name) and name not in content[kind] and name not in names:
                raise SettingsError(f"override: {kind}: {unknown('name', name, content[kind])}")


def _scale_file(config: Config) -> Path:
    known = {path.stem: path for path in sorted(config.scales.glob("*.yaml"))}
    if config.scale not in known:
        raise SettingsError(f"config: scale: {unknown('scale', config.scale, known)}")
    return known[config.scale]


def _exists(name: str, known: Mapping[str, Any], what: str, where: str) -> None:
    if name not in known:
        raise SettingsError(f"{where}: {unknown(what, name, known)}")


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return _scalar(value) if isinstance(value, str) else value


def _scalar(text: str) -> Any:
    """A number, truth value or nothing that YAML writes like this; any other text stays what it is."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, (dict, list)) else value


def leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every value that is not a group itself."""
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for part in before | now:
            yield from _differences(before.get(part), now.get(part), f"{key}.{part}".lstrip("."))
    elif before != now:
        yield key, before, now


def _words(key: str) -> str:
    return key.split(".")[-1].replace("_", " ")


def _reason(key: str, before: Any, now: Any) -> str:
    setting = _words(key)
    if setting == "dataset":
        return f"other data: {now} instead of {before}"
    return f"{setting} {json.dumps(now)} instead of {json.dumps(before)}"
