"""Where every file below `results/<scale>` lies. Names may hold Snakemake's wildcards in place of values."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The files of one scale; beside each `.safetensors` and `.csv` lies its record, a `.json` of the same stem."""

    root: Path

    def split(self, dataset: str, split: str, clients: str | None = None) -> Path:
        """The images of a split; of a split too large for one file, those that a group of clients holds."""
        part = f"-{clients}" if clients else ""
        return self.root / f"data/{dataset}-{split}{part}.safetensors"

    def victim(self, victim: str, seed: int | str, epoch: int | None = None) -> Path:
        """A victim's checkpoint, at the end of its training or after some epochs of it."""
        after = "" if epoch is None else f"-epoch{epoch}"
        return self.root / f"victims/{victim}/seed{seed}{after}.safetensors"

    def unfinished(self, result: Path) -> Path:
        """Where the state of the job that makes a result is kept until Snakemake has accepted that."""
        return self.states() / result.relative_to(self.root)

    def states(self) -> Path:
        """The folder of all these states."""
        return self.root / "unfinished"

    def shared(self, clients: str, seed: int | str, shard: int | str) -> Path:
        """What the server sees."""
        return self.root / f"shared/{clients}/seed{seed}-shard{shard}.safetensors"

    def truth(self, clients: str, seed: int | str, shard: int | str) -> Path:
        """The clients' images."""
        return self.root / f"truth/{clients}/seed{seed}-shard{shard}.safetensors"

    def reconstruction(self, cell: str, seed: int | str, shard: int | str) -> Path:
        """What the attack found."""
        return self.root / f"reconstructions/{cell}/seed{seed}-shard{shard}.safetensors"

    def rows(self, cell: str) -> Path:
        """A row per image of a cell."""
        return self.root / f"metrics/{cell}.csv"

    def activations(self, cell: str) -> Path:
        """A row per image and layer of a cell."""
        return self.root / f"metrics/activations/{cell}.csv"

    def description(self) -> Path:
        """What is run: every setting, where it comes from, what differs from the paper."""
        return self.root / "description.json"

    def settings(self) -> Path:
        """The folder of what `invgrad show` prints of each cell."""
        return self.root / "settings"

    def notebook(self, artefact: str) -> Path:
        """An artefact's executed notebook."""
        return self.root / f"notebooks/{artefact}.ipynb"

    def log(self, result: Path) -> Path:
        """The log of the job that makes a result."""
        return self.root / "logs" / result.relative_to(self.root).with_suffix(".log")
