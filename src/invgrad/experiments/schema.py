"""Schema of the experiments: victims, clients, cells and artefacts."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from invgrad.attack.settings import AnyAttack
from invgrad.clients.settings import Client, GradientClient
from invgrad.data.registry import describe
from invgrad.data.settings import JpegQuality
from invgrad.networks.settings import Network, Training
from invgrad.settings import LONGEST_NAME, Distinct, File, Settings, SettingsError, unknown

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=LONGEST_NAME)]
"""Name of a victim, a group of clients, a cell or an artefact; it becomes part of file names."""

TAKEN = frozenset(
    {
        "all",
        "datasets",
        "data",
        "victims",
        "share",
        "attack",
        "attack_short",
        "reconstructions",
        "measure",
        "activations",
    }
    | {"metrics", "describe", "verdict", "figures", "report", "rows", "verdicts", "index"}
)
"""Names that no artefact can have: those of the workflow's other rules, and of the other files beside the figures."""

Reasons = dict[str, Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]]
"""Reasons, for readers, why cells are left out, by a name or pattern of cells."""


class Victim(Settings):
    """A network and the data it is for; untrained if there is no `training`, or one of no epochs.

    With `checkpoints`, a folder of files `seed<N>.safetensors` with their records, it is not trained again: its
    checkpoints, which must be of this training, are taken from there.
    """

    network: Network
    dataset: str
    training: Training | None = None
    checkpoints: File | None = None

    @model_validator(mode="after")
    def _known_dataset(self) -> "Victim":
        describe(self.dataset)
        return self

    @property
    def epochs(self) -> int:
        """Number of epochs of its training; 0 if it stays untrained."""
        return self.training.epochs if self.training else 0

    @property
    def is_trained_here(self) -> bool:
        """True if a run trains it; False if it stays untrained or its checkpoints are given."""
        return self.epochs > 0 and self.checkpoints is None


class TargetImages(Settings):
    """Images of the clients: `count` clients hold `images_per_client` images each.

    They are taken one after another from the published split: every `every`-th image from the position `start` on, or
    those at the positions `indices`. With `jpeg_quality` the clients hold copies of them, compressed by that quality.
    """

    split: Literal["train", "validation"] = "validation"
    start: NonNegativeInt = 0
    every: PositiveInt = 1
    indices: Distinct[NonNegativeInt] | None = None
    count: PositiveInt
    images_per_client: PositiveInt = Field(default=1, le=100_000)
    distinct_labels: bool = True
    jpeg_quality: JpegQuality = None

    def positions(self) -> list[int] | None:
        """All positions in the split that are taken; None if they depend on the labels."""
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
    seeds: Distinct[NonNegativeInt] = Field(default=(0,), min_length=1)
    """Seeds of the network's initial parameters; the same images are attacked with every seed."""
    targets: TargetImages
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
    """One experiment: an attack on one group of clients; a number in a table, or a row of a figure."""

    label: str
    """Name for readers; `{network}` and `{training}` in it are replaced by those of the victim, other braces stay."""
    variant: str | None = None
    """Setting, for readers, in which the cell differs from others with the same label; it follows the label."""
    variant_of: Name | None = None
    """The cell with which it is compared image by image; only the variant's setting differs."""
    clients: str
    attack: AnyAttack
    judged_among: PositiveInt | None = Field(default=None, exclude_if=lambda number: number is None)
    """Number of images of the split, the first ones, among which a reconstruction has to point to its own original to
    count as recovered (`invgrad.metrics.recovery`); None: that is not judged.
    """


class Artefact(Settings):
    """A table or figure: the cells that it shows, in order, what its notebook reads, the kinds of files it writes."""

    title: str
    where: str
    """Place in the paper, or "beyond the paper"."""
    about: str
    cells: Distinct[str] = ()
    reads: Distinct[Literal["images", "trajectories", "activations", "curves", "description"]] = ()
    """Inputs besides the rows of every cell: its images, its activation errors, its victim's training curve, or the
    description of all that is run.
    """
    writes: Distinct[Literal["png", "pdf", "csv", "md", "tex"]] = Field(min_length=1)


class Experiments(Settings):
    """All experiments; each part has a name, by which others refer to it."""

    victims: dict[Name, Victim]
    clients: dict[Name, Clients]
    cells: dict[Name, Cell]
    artefacts: dict[Name, Artefact]

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiments":
        for name, clients in self.clients.items():
            must_exist(clients.victim, self.victims, "victim", f"clients.{name}.victim")
        for name, cell in self.cells.items():
            must_exist(cell.clients, self.clients, "clients", f"cells.{name}.clients")
            _possible(name, self.clients[cell.clients], cell.attack)
            self._base_exists(name)
        for name, artefact in self.artefacts.items():
            if name in TAKEN or name.startswith("victim-"):
                raise ValueError(
                    f"artefacts.{name}: the workflow has a rule or a file of this name (nearest: '{name}-')"
                )
            for shown in artefact.cells:
                must_exist(shown, self.cells, "cell", f"artefacts.{name}.cells")
                self._epoch_exists(self.cells[shown].clients)
        return self

    @property
    def shown(self) -> dict[str, Cell]:
        """Every cell that an artefact shows, in the order of the configuration."""
        shown = {cell for artefact in self.artefacts.values() for cell in artefact.cells}
        return {name: cell for name, cell in self.cells.items() if name in shown}

    def _epoch_exists(self, name: str) -> None:
        clients = self.clients[name]
        epochs = self.victims[clients.victim].epochs
        if clients.epoch is not None and clients.epoch > epochs:
            raise ValueError(f"clients.{name}.epoch: {clients.victim} has no epoch {clients.epoch}; nearest: {epochs}")

    def _base_exists(self, name: str) -> None:
        base = self.cells[name].variant_of
        if base is None:
            return
        must_exist(base, self.cells, "cell", f"cells.{name}.variant_of")
        mine, others = self.cells[name].clients, self.cells[base].clients
        if self.clients[mine].victim != self.clients[others].victim or self.epoch(mine) != self.epoch(others):
            raise ValueError(
                f"cells.{name}.variant_of: '{base}' attacks the clients '{others}', which have another network than "
                f"'{mine}'"
            )

    def epoch(self, clients: str) -> int:
        """The number of epochs of training after which these clients get their network."""
        chosen = self.clients[clients]
        return self.victims[chosen.victim].epochs if chosen.epoch is None else chosen.epoch

    def names(self, cell: str) -> dict[str, str]:
        """Names of a cell for readers: `network`, `training`, `attack`, `variant`, and `label` (attack and variant)."""
        chosen = self.cells[cell]
        epoch = self.epoch(chosen.clients)
        network = self.victims[self.clients[chosen.clients].victim].network.title
        training = f"{epoch} epoch{'s' * (epoch != 1)}" if epoch else "untrained"
        words = {"{network}": network, "{training}": training}
        attack = re.sub("|".join(words), lambda found: words[found[0]], chosen.label)
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
    if labels_hidden and clients.shares.kind != "gradient":
        raise ValueError(
            f"cells.{cell}: labels can be inferred from a gradient only (nearest: unknown_labels: optimised)"
        )
    if attack.batch_statistics and clients.shares.statistics == "withheld":
        raise ValueError(f"cells.{cell}: batch_statistics: the clients send no batch-norm statistics (nearest: 0)")


def must_exist(name: str, known: Mapping[str, Any], what: str, where: str) -> None:
    """Raise `SettingsError`, starting with `where`, if `name` is not among the known names."""
    if name not in known:
        raise SettingsError(f"{where}: {unknown(what, name, known)}")
