"""From the configuration to jobs: which there are, and the settings of the step that each runs.

The workflow's rules are thin because everything that they need to know of an experiment is asked here.
"""

import hashlib
import json
import os
import shlex
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from invgrad.attack import Attack
from invgrad.config import Artefact, Cell, Clients, Project, Victim, leaves
from invgrad.data import available, describe
from invgrad.fingerprints import PACKAGE
from invgrad.layout import Layout
from invgrad.networks.facts import size_of
from invgrad.networks.parallelism import NetworkSize
from invgrad.networks.settings import Custom, TrainStep, source_file
from invgrad.settings import SettingsError
from invgrad.steps.attack import AttackStep
from invgrad.steps.share import ShareStep

LARGEST_SPLIT = 2**30
"""Bytes of images up to which a split is prepared as a whole; of a larger one, what each group of clients holds is."""


def run_jobs_with_this_python() -> None:
    """Let jobs run this very package with this Python, also where its environment is not activated."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))


DEVICE_FILES = Path("/dev")


def may_use_gpu(device: str) -> bool:
    """Guess, without torch, whether jobs on this device, as the configuration names it, find a GPU."""
    if device != "auto":
        return device != "cpu"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1")
    return not hidden and not version("torch").endswith("+cpu") and any(DEVICE_FILES.glob("nvidia[0-9]*"))


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
        """Every artefact that can be asked for, also those that are not to be made now, without cells left out."""
        return self.project.possible

    @property
    def cells(self) -> dict[str, Cell]:
        """Every cell that an artefact shows, also those that are left out, in the order of the configuration."""
        shown = {cell for artefact in self.project.experiments.artefacts.values() for cell in artefact.cells}
        return {name: cell for name, cell in self.project.experiments.cells.items() if name in shown}

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
        """The network that the server sends to a group of clients."""
        chosen = self.clients[clients]
        final = chosen.epoch in (None, self.victim(chosen.victim).epochs)
        return self.files.victim(chosen.victim, seed, None if final else chosen.epoch)

    def victim_files(self, cells: list[str]) -> list[Path]:
        """Every checkpoint that these cells need."""
        groups = dict.fromkeys(self.cells[cell].clients for cell in cells)
        files = [self.victim_file(name, seed) for name in groups for seed in self.clients[name].seeds]
        return list(dict.fromkeys(files))

    def snapshots(self, victim: str) -> list[int]:
        """The epochs, but for the last, after which a victim is kept, since a group of clients trains it from there."""
        used = {self.cells[cell].clients for cell in self.cells}
        epochs = {self.clients[name].epoch for name in used if self.clients[name].victim == victim}
        return sorted(epoch for epoch in epochs if epoch not in (None, self.victim(victim).epochs))

    def network_files(self, victim: str) -> list[Path]:
        """Files outside the package that define a victim."""
        file = source_file(self.victim(victim).network)
        return [file] if file else []

    def validation_split(self, victim: str) -> list[Path]:
        """The split that a victim is tested on, or from which the statistics of its data set are taken; none where it
        stays untrained and they are published.
        """
        chosen = self.victim(victim)
        needed = chosen.epochs or describe(chosen.dataset).statistics is None
        return [self._split(chosen.dataset, "validation")] if needed else []

    def training_split(self, victim: str) -> list[Path]:
        """The split that a victim is trained on; none where it stays untrained."""
        chosen = self.victim(victim)
        return [self._split(chosen.dataset, "train")] if chosen.epochs else []

    def data_for_training(self, victim: str) -> list[Path]:
        """The splits that a victim's step reads."""
        return [*self.validation_split(victim), *self.training_split(victim)]

    def data_for_clients(self, clients: str) -> Path:
        """The images that a group of clients takes its own from."""
        targets, dataset = self.clients[clients].targets, self.victim_of(clients).dataset
        return self._split(dataset, targets.split, clients if self._too_large(dataset, targets.split) else None)

    def splits(self, cells: list[str]) -> list[Path]:
        """Every split that these cells need, to train victims on or to give clients images."""
        groups = dict.fromkeys(self.cells[cell].clients for cell in cells)
        files = [
            file
            for name in groups
            for file in (self.data_for_clients(name), *self.data_for_training(self.clients[name].victim))
        ]
        return list(dict.fromkeys(files))

    def attack_files(self, cell: str) -> list[Path]:
        """Files that a cell's attack reads besides what was shared."""
        attack = self.cells[cell].attack
        return [attack.start.path] if isinstance(attack, Attack) and attack.start.kind == "picture" else []

    def reconstructions(self, cell: str) -> list[Path]:
        """What the attack found, shard by shard."""
        return [self.files.reconstruction(cell, shard.seed, shard.number) for shard in self.shards(cell)]

    def truths(self, cell: str) -> list[Path]:
        """The true images of the same shards."""
        return [self.files.truth(self.cells[cell].clients, shard.seed, shard.number) for shard in self.shards(cell)]

    def shown(self, artefact: str) -> list[Path]:
        """The results that an artefact's notebook reads, each with a record."""
        chosen = self.artefacts[artefact]
        files = [self.files.rows(cell) for cell in chosen.cells]
        if "images" in chosen.reads:
            files += [path for cell in chosen.cells for path in (*self.reconstructions(cell), *self.truths(cell))]
        if "activations" in chosen.reads:
            files += [self.files.activations(cell) for cell in chosen.cells]
        return list(dict.fromkeys(files))

    def described(self, artefact: str) -> list[Path]:
        """The JSON files that an artefact's notebook reads: records of trainings, the description of what is run."""
        chosen = self.artefacts[artefact]
        files = [path.with_suffix(".json") for path in self._trained(chosen)] if "curves" in chosen.reads else []
        if "description" in chosen.reads:
            files.append(self.files.description())
        return list(dict.fromkeys(files))

    def outputs(self, artefact: str) -> list[Path]:
        """What an artefact's notebook writes for its readers."""
        return [self.figures / f"{artefact}.{kind}" for kind in self.artefacts[artefact].writes]

    def notebook(self, artefact: str) -> Path:
        """The script that draws an artefact."""
        return self.project.config.notebooks / f"{artefact}.py"

    def report_templates(self) -> list[str]:
        """The package's files that lay out the report."""
        return sorted(map(str, PACKAGE.glob("*.jinja")))

    # Settings of steps

    def data_options(self, dataset: str, split: str, clients: str | None) -> str:
        """Options of `invgrad data` for a split, ready for the shell."""
        if dataset in self.project.missing:
            others = [name for name, artefact in self.artefacts.items() if dataset not in self._datasets(artefact)]
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
                custom=self._custom(name),
                first=first,
                last=last,
                **targets,
            )
        )

    def attack_json(self, cell: str, seed: int) -> str:
        """Settings of `invgrad attack`, as JSON. The noise depends on the cell, the network seed and the image."""
        chosen = self.cells[cell]
        return _json(AttackStep(attack=chosen.attack, seed_key=f"{cell}/{seed}", custom=self._custom(chosen.clients)))

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
        if custom := self._custom(clients):
            options += ["--custom", _json(custom)]
        return shlex.join(options)

    def notebook_json(self, name: str) -> str:
        """Parameters of an artefact's notebook, as JSON."""
        artefact = self.artefacts[name]
        content = {
            "name": name,
            "title": artefact.title,
            "about": self.about + self._changed(name) + self._not_shown(name),
            "scale": self.project.config.scale,
            "settings_hash": self.settings_hash(name),
            "cells": {cell: self._summary(cell) for cell in artefact.cells},
            "results": str(self.files.root),
            "figures": str(self.figures),
            "paper_values": str(self.project.config.paper_values),
        }
        return json.dumps({"artefact": content}, separators=(",", ":"))

    def settings_hash(self, name: str) -> str:
        """The first 16 hexadecimal digits of a sha256 over the settings that decide what an artefact shows: of all its
        cells with their clients and victims, where their data comes from, the scale, and an override that concerns it.
        """
        artefact = self.artefacts[name]
        cells = list(self.cells) if "description" in artefact.reads else artefact.cells
        settings = [
            [self.project.parts(cell), {key: each["value"] for key, each in self._settings(cell).items()}]
            for cell in cells
        ]
        datasets = {self.victim_of(self.cells[cell].clients).dataset for cell in cells}
        content = {
            "scale": self.project.config.scale,
            "cells": settings,
            "sources": {dataset: self.project.sources.get(dataset) for dataset in datasets},
            "override": self.project.config.override if self.project.overridden(name) else {},
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def about(self) -> str:
        """Which scale this is: a sentence for every caption."""
        return f"Scale {self.project.config.scale}: {self.project.scale.about}."

    def _changed(self, name: str) -> str:
        """What the user changed of what an artefact shows: a sentence, if it is anything."""
        changes = self.project.overridden(name)
        return f" Settings changed by the user: {'; '.join(changes)}." if changes else ""

    def description(self) -> dict[str, Any]:
        """What is run, for readers: every artefact, and every cell's settings with where they come from."""
        return {
            "scale": self.project.config.scale,
            "about": self.about,
            "changed": self.project.config.override,
            "artefacts": {name: self._described(name) for name in self.project.experiments.artefacts},
            "cells": {
                name: self._summary(name) | {"left_out": self.project.left_out(name), "settings": self._settings(name)}
                for name in self.cells
            },
        }

    def has_short_jobs(self, cell: str) -> bool:
        """Whether a cell's attack is one in closed form, or its network so small that it takes a minute where others
        take an hour.
        """
        victim = self.clients[self.cells[cell].clients].victim
        return self.cells[cell].attack.kind == "analytic" or victim in self._small_victims

    def threads(self, cell: str, available: int) -> int:
        """CPU threads of an attack.

        Small networks gain more from a second job than from a second thread. On a GPU one attack of a larger network
        takes all cores, so that it is alone on the GPU. On a CPU every such attack first has a core: two threads made a
        step of ResNet-20 (width 64) no faster, of ConvNet 1.5 times and of ResNet-18 at 224×224 1.3 times as fast.
        """
        if self.has_short_jobs(cell):
            return 1
        if may_use_gpu(self.project.config.device):
            return available
        return max(1, available // max(1, self._long_jobs))

    # Details

    @cached_property
    def _long_jobs(self) -> int:
        """The number of attacks that are not short, for the artefacts that are to be made."""
        cells = self.cells_of(self.project.artefacts)
        return sum(len(self.shards(cell)) for cell in cells if not self.has_short_jobs(cell))

    @cached_property
    def _small_victims(self) -> set[str]:
        return {name for name in self.victims if self._size(name).is_small}

    def _size(self, victim: str) -> NetworkSize:
        chosen = self.victim(victim)
        dataset = describe(chosen.dataset)
        return size_of(chosen.network, classes=dataset.classes, size=dataset.size)

    def _split(self, dataset: str, split: str, clients: str | None = None) -> Path:
        return self.files.split(dataset, split, clients)

    def _too_large(self, dataset: str, split: str) -> bool:
        images = available(dataset, split, self.project.sources.get(dataset, "torchvision"))
        return images * 3 * describe(dataset).size ** 2 > LARGEST_SPLIT

    def _custom(self, clients: str) -> Custom | None:
        """The network of the user's own that the clients train, if it is one."""
        network = self.victim_of(clients).network
        return network if isinstance(network, Custom) else None

    def _datasets(self, artefact: Artefact) -> set[str]:
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

    def _not_shown(self, name: str) -> str:
        """How many cells of an artefact are left out: a sentence for its caption, if there are any."""
        every, shown = (len(each[name].cells) for each in (self.project.experiments.artefacts, self.artefacts))
        return f" {every - shown} of {every} cells were not run." if shown < every else ""

    def _described(self, name: str) -> dict[str, Any]:
        artefact = self.project.experiments.artefacts[name]
        lacking = sorted(self._datasets(artefact) & self.project.missing.keys())
        reason = None
        if name not in self.project.artefacts:
            reasons = dict.fromkeys(filter(None, map(self.project.left_out, artefact.cells)))
            if name in self.project.possible:
                reasons = {"not among the artefacts chosen for this run": None}
            missing = [f"{dataset} is missing: {self.project.missing[dataset]}" for dataset in lacking[:1]]
            reason = "; ".join([*reasons, *missing])
        return artefact.model_dump(include={"title", "where", "about", "cells", "writes"}) | {"not_made": reason}

    def _summary(self, cell: str) -> dict[str, Any]:
        """What a notebook needs to know of a cell."""
        chosen = self.cells[cell]
        clients = self.clients[chosen.clients]
        return {
            **self.project.experiments.names(cell),
            "variant_of": chosen.variant_of,
            "clients": chosen.clients,
            "victim": clients.victim,
            "epoch": self.project.experiments.epoch(chosen.clients),
            "swapped_rows": clients.swapped_rows,
            "seeds": clients.seeds,
            "shards": len(clients.shards()),
            "images_per_client": clients.targets.images_per_client,
            "total_variation": getattr(chosen.attack, "total_variation", None),
            "step_decay": getattr(chosen.attack, "step_decay", None),
            "obstacles": self.project.obstacles(cell),
        }

    def _settings(self, cell: str) -> dict[str, Any]:
        """Every setting that a cell's result depends on: its value, its provenance, and the paper's value where a scale
        or an override changed it.
        """
        settings = {}
        for kind, name in self.project.parts(cell).items():
            part = getattr(self.project.experiments, kind)[name]
            ours = dict(leaves(part.model_dump(mode="json", exclude=NO_SETTINGS)))
            printed = getattr(self.project.paper, kind).get(name)
            before = dict(leaves(printed.model_dump(mode="json", exclude=NO_SETTINGS))) if printed else ours
            for key, value in ours.items():
                settings[key if kind == "cells" else f"{kind}.{key}"] = {
                    "value": _text(value),
                    "provenance": self.project.written.source(kind, name, key),
                    "paper": _text(before.get(key)) if before.get(key) != value else None,
                }
        return settings


NO_SETTINGS = {"label", "variant", "variant_of", "clients", "victim", "clients_per_shard"}
"""Fields of a part that no result depends on."""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json(settings: Any) -> str:
    return json.dumps(settings.model_dump(mode="json"), separators=(",", ":"))
