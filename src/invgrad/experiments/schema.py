"""Schema of the experiments."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from invgrad.attack.settings import AnyAttack
from invgrad.clients.settings import Client, GradientClient
from invgrad.data.registry import describe
from invgrad.networks.settings import Network, Training
from invgrad.settings import Settings, SettingsError, unknown

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""Of a victim, a group of clients, a cell or an artefact; it becomes part of file names."""


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


class TargetImages(Settings):
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
            must_exist(clients.victim, self.victims, "victim", f"clients.{name}.victim")
        for name, cell in self.cells.items():
            must_exist(cell.clients, self.clients, "clients", f"cells.{name}.clients")
            _possible(name, self.clients[cell.clients], cell.attack)
            self._base_exists(name)
        for name, artefact in self.artefacts.items():
            for shown in artefact.cells:
                must_exist(shown, self.cells, "cell", f"artefacts.{name}.cells")
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
        must_exist(base, self.cells, "cell", f"cells.{name}.variant_of")
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


def must_exist(name: str, known: Mapping[str, Any], what: str, where: str) -> None:
    """Raise an error that starts with `where` if there is nothing of this name."""
    if name not in known:
        raise SettingsError(f"{where}: {unknown(what, name, known)}")
