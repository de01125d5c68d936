"""Plan of the jobs that follow from a configuration: their files, and the settings of their steps.

The workflow's rules are thin: they ask the plan for everything that depends on an experiment.
"""

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from invgrad.attack.settings import Attack, AttackStep
from invgrad.clients.settings import ShareStep
from invgrad.data.availability import available
from invgrad.data.registry import describe
from invgrad.experiments.config import Project
from invgrad.experiments.layout import Layout, checkpoint_name
from invgrad.experiments.schema import Artefact, Cell, Clients, Victim
from invgrad.networks.settings import Custom, TrainStep
from invgrad.results.provenance import record_path
from invgrad.settings import SettingsError

LARGEST_SPLIT = 2**30
"""Bytes of images up to which a split is prepared as one file; a larger one is prepared per group of clients."""


@dataclass(frozen=True)
class Shard:
    """A part of a cell's clients for one network seed, attacked by one job."""

    seed: int
    number: int


class Plan:
    """The jobs of a project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.files = Layout(project.config.results / project.config.scale)
        self.figures = project.config.figures / project.config.scale

    # What there is

    @property
    def artefacts(self) -> dict[str, Artefact]:
        """Every artefact that can be made, chosen for this run or not, without the cells that are left out."""
        return self.project.possible

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """Every cell that an artefact shows, left out or not, in the order of the configuration."""
        return self.project.experiments.shown

    def cells_of(self, artefacts: dict[str, Artefact]) -> list[str]:
        """The cells that these artefacts show, each once."""
        shown = {cell for artefact in artefacts.values() for cell in artefact.cells}
        return [cell for cell in self.cells if cell in shown]

    @property
    def clients(self) -> dict[str, Clients]:
        """Every group of clients."""
        return self.project.experiments.clients

    @property
    def victims(self) -> list[str]:
        """Every victim that a cell needs."""
        return list(dict.fromkeys(self.clients[cell.clients].victim for cell in self.cells.values()))

    def victim(self, name: str) -> Victim:
        """A victim by name."""
        return self.project.experiments.victims[name]

    def victim_of(self, clients: str) -> Victim:
        """The victim that a group of clients trains."""
        return self.victim(self.clients[clients].victim)

    def shards(self, cell: str) -> list[Shard]:
        """The jobs of a cell: every network seed, every part of its clients."""
        clients = self.clients[self.cells[cell].clients]
        return [Shard(seed, part) for seed in clients.seeds for part in range(len(clients.shards()))]

    # Files

    def victim_file(self, clients: str, seed: int | str) -> Path:
        """The checkpoint of the network that the server sends to a group of clients."""
        chosen = self.clients[clients]
        final = chosen.epoch in (None, self.victim(chosen.victim).epochs)
        return self.files.victim(chosen.victim, seed, None if final else chosen.epoch)

    def victim_files(self, cells: list[str]) -> list[Path]:
        """Every checkpoint that these cells need."""
        groups = dict.fromkeys(self.cells[cell].clients for cell in cells)
        files = [self.victim_file(name, seed) for name in groups for seed in self.clients[name].seeds]
        return list(dict.fromkeys(files))

    def snapshots(self, victim: str) -> list[int]:
        """The epochs after which a victim is saved for a group of clients, without the last epoch."""
        used = {self.cells[cell].clients for cell in self.cells}
        epochs = {self.clients[name].epoch for name in used if self.clients[name].victim == victim}
        return sorted(epoch for epoch in epochs if epoch not in (None, self.victim(victim).epochs))

    def validation_split(self, victim: str) -> list[Path]:
        """The split that a victim is tested on, or that gives the statistics of its data set.

        Empty if the victim is not trained here and the statistics are published.
        """
        return [self._split(*each) for each in self._splits_for_training(victim) if each[1] == "validation"]

    def training_split(self, victim: str) -> list[Path]:
        """The split that a victim is trained on; empty if it is not trained here."""
        return [self._split(*each) for each in self._splits_for_training(victim) if each[1] == "train"]

    def given_files(self, victim: str, seed: int | str) -> list[Path]:
        """The checkpoint of an earlier training and its snapshots, each with its record; empty if there is none."""
        folder = self.victim(victim).checkpoints
        names = [checkpoint_name(seed, epoch) for epoch in (None, *self.snapshots(victim))]
        files = [folder / name for name in names] if folder else []
        return [each for path in files for each in (path, path.with_suffix(".json"))]

    def data_for_training(self, victim: str) -> list[Path]:
        """The splits that a victim's step reads."""
        return [*self.validation_split(victim), *self.training_split(victim)]

    def data_for_clients(self, clients: str) -> Path:
        """The file of the images from which a group of clients takes its own."""
        return self._split(*self._split_for_clients(clients))

    def splits(self, cells: list[str]) -> dict[Path, tuple[str, str, str | None]]:
        """Every split that these cells need: data set, split, and the clients whose images alone the file holds."""
        groups = dict.fromkeys(self.cells[cell].clients for cell in cells)
        asked = [
            each
            for name in groups
            for each in (self._split_for_clients(name), *self._splits_for_training(self.clients[name].victim))
        ]
        return {self._split(*each): each for each in asked}

    def seeds(self, victim: str) -> list[int]:
        """Every network seed of a victim that a cell needs."""
        groups = dict.fromkeys(cell.clients for cell in self.cells.values())
        chosen = (self.clients[name] for name in groups)
        return sorted({seed for clients in chosen if clients.victim == victim for seed in clients.seeds})

    def attack_files(self, cell: str) -> list[Path]:
        """Files that a cell's attack reads besides what was shared."""
        attack = self.cells[cell].attack
        return [attack.start.path] if isinstance(attack, Attack) and attack.start.kind == "picture" else []

    def reconstructions(self, cell: str, seed: int | None = None) -> list[Path]:
        """The reconstructions of a cell, shard by shard; of one network seed, if it is given."""
        return [self.files.reconstruction(cell, shard.seed, shard.number) for shard in self._shards(cell, seed)]

    def truths(self, cell: str, seed: int | None = None) -> list[Path]:
        """The true images of a cell, shard by shard; of one network seed, if it is given."""
        clients = self.cells[cell].clients
        return [self.files.truth(clients, shard.seed, shard.number) for shard in self._shards(cell, seed)]

    def others(self, cell: str) -> list[Path]:
        """The split among whose images a cell's reconstructions are judged; empty if they are not."""
        chosen = self.cells[cell]
        return [self.data_for_clients(chosen.clients)] if chosen.judged_among else []

    def _images(self, cell: str, seed: int | None = None) -> list[Path]:
        return [*self.reconstructions(cell, seed), *self.truths(cell, seed)]

    def rows(self, cell: str) -> list[Path]:
        """The rows of a cell, seed by seed."""
        return [self.files.rows(cell, seed) for seed in self.clients[self.cells[cell].clients].seeds]

    def shown(self, artefact: str) -> list[Path]:
        """The results that an artefact's notebook reads, each with a record.

        These are rows of every network seed, images of the first, trajectories of every one.
        """
        chosen = self.artefacts[artefact]
        files = [path for cell in chosen.cells for path in self.rows(cell)]
        if "images" in chosen.reads:
            files += [path for cell in chosen.cells for path in self._images(cell, self.shards(cell)[0].seed)]
        if "trajectories" in chosen.reads:
            files += [path for cell in chosen.cells for path in self._images(cell)]
        if "activations" in chosen.reads:
            files += [self.files.activations(cell) for cell in chosen.cells]
        return list(dict.fromkeys(files))

    def described(self, artefact: str) -> list[Path]:
        """List what an artefact's notebook reads besides results: trainings' records, description, printed values."""
        chosen = self.artefacts[artefact]
        files = [record_path(path) for path in self._trained(chosen)] if "curves" in chosen.reads else []
        files += [self.files.description()] if "description" in chosen.reads else []
        return [*dict.fromkeys(files), self.project.config.paper_values]

    def outputs(self, artefact: str) -> list[Path]:
        """The tables and figures that an artefact's notebook writes."""
        return [self.figures / f"{artefact}.{kind}" for kind in self.artefacts[artefact].writes]

    def notebook(self, artefact: str) -> Path:
        """The script that draws an artefact."""
        return self.project.config.notebooks / f"{artefact}.py"

    # Settings of steps

    def data_options(self, dataset: str, split: str, clients: str | None) -> str:
        """Options of `invgrad data` for a split, ready for the shell."""
        if dataset in self.project.missing:
            others = [name for name, artefact in self.artefacts.items() if dataset not in self.datasets(artefact)]
            raise SettingsError(
                f"{dataset} is missing: {self.project.missing[dataset]}; "
                f"without it there are: --config 'artefacts=[{', '.join(others)}]'"
            )
        source = self.project.sources[dataset]
        options = ["--dataset", dataset, "--split", split, "--source", source]
        if source != "packaged":
            options += ["--root", str(self.project.config.data_root.expanduser())]
        if clients:
            for position in self.clients[clients].targets.positions() or ():
                options += ["--index", str(position)]
        return shlex.join(options)

    def describe_json(self) -> str:
        """The configuration for `invgrad describe`, without what decides how something is computed, not what."""
        how = {"device", "memory", "checkpoint"}
        return self.project.config.model_dump_json(exclude=how)

    def train_json(self, victim: str, seed: int) -> str:
        """Settings of `invgrad train`, as JSON."""
        chosen = self.victim(victim)
        step = TrainStep(
            network=chosen.network,
            dataset=chosen.dataset,
            training=chosen.training,
            snapshots=tuple(self.snapshots(victim)),
            seed=seed,
        )
        return _json(step)

    def share_json(self, name: str, shard: int) -> str:
        """Settings of `invgrad share`, as JSON."""
        clients = self.clients[name]
        first, last = clients.shards()[shard]
        targets = clients.targets.model_dump(exclude={"split", "count"})
        return _json(
            ShareStep(
                shares=clients.shares,
                labels_known=clients.labels_known,
                swapped_rows=clients.swapped_rows,
                custom=self.custom(name),
                first=first,
                last=last,
                **targets,
            )
        )

    def attack_json(self, cell: str, seed: int) -> str:
        """Settings of `invgrad attack`, as JSON.

        The noise depends on the victim, the network seed, the image and the restart, so that attacks on one victim are
        compared from the same starts.
        """
        chosen = self.cells[cell]
        key = f"{self.clients[chosen.clients].victim}/{seed}"
        return _json(AttackStep(attack=chosen.attack, seed_key=key, custom=self.custom(chosen.clients)))

    def judging(self, cell: str) -> dict[str, int]:
        """Settings of `invgrad measure` that say among how many images it judges; none if it does not."""
        return self.cells[cell].model_dump(include={"judged_among"})

    def activation_options(self, cell: str) -> str:
        """Options of `invgrad activations` for the shards of a cell, ready for the shell."""
        clients = self.cells[cell].clients
        options = []
        for shard, reconstruction, truth in zip(
            self.shards(cell), self.reconstructions(cell), self.truths(cell), strict=True
        ):
            victim = self.victim_file(clients, shard.seed)
            options += ["--seed", str(shard.seed), "--victim", str(victim)]
            options += ["--reconstruction", str(reconstruction), "--truth", str(truth)]
        if custom := self.custom(clients):
            options += ["--custom", _json(custom)]
        return shlex.join(options)

    # Details

    def _shards(self, cell: str, seed: int | None) -> list[Shard]:
        return [shard for shard in self.shards(cell) if seed in (None, shard.seed)]

    def _split_for_clients(self, clients: str) -> tuple[str, str, str | None]:
        dataset, split = self.victim_of(clients).dataset, self.clients[clients].targets.split
        return dataset, split, clients if self._too_large(dataset, split) else None

    def _splits_for_training(self, victim: str) -> list[tuple[str, str, None]]:
        chosen = self.victim(victim)
        shown = chosen.is_trained_here or describe(chosen.dataset).statistics is None
        splits = ["validation"] * shown + ["train"] * chosen.is_trained_here
        return [(chosen.dataset, split, None) for split in splits]

    def _split(self, dataset: str, split: str, clients: str | None = None) -> Path:
        return self.files.split(dataset, split, clients)

    def _too_large(self, dataset: str, split: str) -> bool:
        images = available(dataset, split, self.project.sources.get(dataset, "torchvision"))
        return images * 3 * describe(dataset).size ** 2 > LARGEST_SPLIT

    def custom(self, clients: str) -> Custom | None:
        """The network of the user's own that the clients train, if it is one."""
        network = self.victim_of(clients).network
        return network if isinstance(network, Custom) else None

    def datasets(self, artefact: Artefact) -> set[str]:
        """The data sets of an artefact's cells."""
        return {self.victim_of(self.cells[cell].clients).dataset for cell in artefact.cells}

    def _trained(self, artefact: Artefact) -> list[Path]:
        """The final checkpoints of the trained victims that an artefact's cells attack."""
        groups = [self.clients[self.cells[cell].clients] for cell in artefact.cells]
        return [
            self.files.victim(clients.victim, seed)
            for clients in groups
            for seed in clients.seeds
            if self.victim(clients.victim).epochs
        ]


def _json(settings: Any) -> str:
    return json.dumps(settings.model_dump(mode="json"), separators=(",", ":"))
