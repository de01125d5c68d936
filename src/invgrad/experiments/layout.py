"""Paths of all files below `results/<scale>`; names may hold Snakemake's wildcards in place of values."""

from dataclasses import dataclass
from pathlib import Path


def checkpoint_name(seed: int | str, epoch: int | None = None) -> str:
    """The name of the file of a victim's checkpoint after `epoch` epochs of training; None: at its end."""
    after = "" if epoch is None else f"-epoch{epoch}"
    return f"seed{seed}{after}.safetensors"


@dataclass(frozen=True)
class Layout:
    """Paths of one scale's files; beside each `.safetensors` and `.csv` lies its record, a `.json` of the same stem."""

    root: Path

    def split(self, dataset: str, split: str, clients: str | None = None) -> Path:
        """The images of a split; if it is too large for one file, those of one group of clients."""
        part = f"-{clients}" if clients else ""
        return self.root / f"data/{dataset}-{split}{part}.safetensors"

    def victim(self, victim: str, seed: int | str, epoch: int | None = None) -> Path:
        """A victim's checkpoint after `epoch` epochs of training; None: at its end."""
        return self.root / f"victims/{victim}" / checkpoint_name(seed, epoch)

    def unfinished(self, result: Path) -> Path:
        """The state of the unfinished job that makes a result, kept until Snakemake has accepted the result."""
        return self.states() / result.relative_to(self.root)

    def states(self) -> Path:
        """The folder of the states of all unfinished jobs."""
        return self.root / "unfinished"

    def shared(self, clients: str, seed: int | str, shard: int | str) -> Path:
        """The shared gradients or updates of a shard, which the server sees."""
        return self.root / f"shared/{clients}/seed{seed}-shard{shard}.safetensors"

    def truth(self, clients: str, seed: int | str, shard: int | str) -> Path:
        """The true images and labels of a shard's clients, for the metrics alone."""
        return self.root / f"truth/{clients}/seed{seed}-shard{shard}.safetensors"

    def reconstruction(self, cell: str, seed: int | str, shard: int | str) -> Path:
        """The reconstructions of a shard."""
        return self.root / f"reconstructions/{cell}/seed{seed}-shard{shard}.safetensors"

    def rows(self, cell: str, seed: int | str) -> Path:
        """A row per image of a cell and network seed."""
        return self.root / f"metrics/rows/{cell}/seed{seed}.csv"

    def activations(self, cell: str) -> Path:
        """A row per image and layer of a cell."""
        return self.root / f"metrics/activations/{cell}.csv"

    def description(self) -> Path:
        """The description of all cells: every setting, its source, deviations from the paper."""
        return self.root / "description.json"

    def settings(self) -> Path:
        """The folder with the output of `invgrad show` for each cell."""
        return self.root / "settings"

    def notebook(self, artefact: str) -> Path:
        """An artefact's executed notebook."""
        return self.root / f"notebooks/{artefact}.ipynb"

    def log(self, result: Path) -> Path:
        """The log of the job that makes a result."""
        return self.root / "logs" / result.relative_to(self.root).with_suffix(".log")
