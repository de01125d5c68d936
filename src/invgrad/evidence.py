"""What a notebook shows of its artefact's cells: rows, verdicts, images, and where the pictures and tables go."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from invgrad.gallery import Gallery, read_gallery, read_trajectories
from invgrad.layout import Layout
from invgrad.paper import compare, read_values, verdicts
from invgrad.plots import save_figure
from invgrad.results import read_tables
from invgrad.stamp import Stamp, commit
from invgrad.tables import save_table
from invgrad.training import Epoch


class Evidence:
    """The results of the cells of one artefact; `cells` is in the order of the configuration."""

    def __init__(self, artefact: Mapping[str, Any]) -> None:
        """`artefact`: the notebook's parameter, as `Plan.notebook_json` makes it."""
        self.name: str = artefact["name"]
        self.title: str = artefact["title"]
        self.about: str = artefact["about"]
        self.cells: dict[str, Mapping[str, Any]] = artefact["cells"]
        self._files = Layout(Path(artefact["results"]))
        self._stem = Path(artefact["figures"]) / self.name
        self._paper_values = Path(artefact["paper_values"])
        # The commit is asked for here and no parameter: another one is no reason to make the artefact again.
        self._stamp = Stamp(commit(), artefact["scale"], artefact["settings_hash"])

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per image of every cell, as the metrics step wrote them, with the cell's `label`."""
        rows = read_tables([self._files.rows(cell) for cell in self.cells])
        return rows.assign(label=rows["cell"].map({cell: about["label"] for cell, about in self.cells.items()}))

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per value that the paper reports of these cells, in their order, as `paper.verdicts` gives it."""
        values = read_values(self._paper_values)
        values = values[values["cell"].isin(list(self.cells))]
        obstacles = {cell: about["obstacles"] for cell, about in self.cells.items()}
        order = {cell: number for number, cell in enumerate(self.cells)}
        judged = verdicts(values, self.rows, obstacles)
        return judged.sort_values("cell", key=lambda cells: cells.map(order), kind="stable").reset_index(drop=True)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Our mean PSNR of every cell, whether the paper reports one or not: index cell; columns `label`, those of
        `paper.Difference`, and of the reported mean `paper_value`, `paper_std`, `verdict`, `reason` (NaN, "" if none).
        """
        reported = self.verdicts[self.verdicts["measure"] == "psnr_mean"].set_index("cell")
        table = []
        for cell, about in self.cells.items():
            ours = asdict(compare(self.rows[self.rows["cell"] == cell], float("nan"), float("nan"), 1))
            table.append({"cell": cell, "label": about["label"]} | ours)
        summary = pd.DataFrame(table).set_index("cell")
        paper = reported.reindex(summary.index)
        for column in ("difference", "ci_low", "ci_high", "paper_value", "paper_std"):
            summary[column] = paper[column].astype(float)
        for column in ("verdict", "reason"):
            summary[column] = paper[column].fillna("").astype(str)
        return summary

    def gallery(self, cell: str, *, seed: int | None = None, count: int | None = None) -> Gallery:
        """The first `count` images of a cell (all, if None), with its first network seed unless one is given."""
        return read_gallery(*self._image_files(cell, seed), count=count)

    def trajectories(self, cell: str) -> pd.DataFrame:
        """PSNR and matching cost on the way, as `gallery.read_trajectories`, with a column `seed`."""
        tables = [read_trajectories(*self._image_files(cell, seed)).assign(seed=seed) for seed in self.seeds(cell)]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def activations(self) -> pd.DataFrame:
        """The activation errors of every cell: columns `cell`, `seed`, `image` and those of `ActivationError`."""
        return read_tables([self._files.activations(cell) for cell in self.cells])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The training curve of every trained victim: columns `victim`, `seed` and those of `training.Epoch`."""
        wanted = {(about["victim"], seed) for about in self.cells.values() for seed in about["seeds"]}
        tables = []
        for victim, seed in sorted(wanted):
            record = self._files.victim(victim, seed).with_suffix(".json")
            if record.exists() and (curve := json.loads(record.read_text())["curve"]):
                tables.append(pd.DataFrame(curve).assign(victim=victim, seed=seed))
        columns = [*(field.name for field in fields(Epoch)), "victim", "seed"]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)

    @cached_property
    def description(self) -> Any:
        """What is run, as `Plan.description` says it."""
        return json.loads(self._files.description().read_text())

    def seeds(self, cell: str) -> list[int]:
        """The network seeds of a cell."""
        return list(self.cells[cell]["seeds"])

    @cached_property
    def caption(self) -> str:
        """The title, with the scale and, where there are cells, the sources of their images."""
        sources = "; ".join(self.rows["source"].unique()) if self.cells else ""
        return f"{self.title}. {self.about}" + (f" Images: {sources}." if sources else "")

    def save_figure(self, figure: Figure) -> None:
        """Write the artefact's PNG and PDF."""
        save_figure(figure, self._stem, self.caption, self._stamp)

    def save_table(self, table: pd.DataFrame, *, data: pd.DataFrame | None = None, note: str = "") -> None:
        """Write the artefact's CSV (of `data`, if given), Markdown and LaTeX; the note follows the caption."""
        save_table(table, self._stem, f"{self.caption} {note}".rstrip(), self._stamp, data)

    def _image_files(self, cell: str, seed: int | None) -> tuple[list[str], list[str]]:
        """Reconstructions and truths of one network seed."""
        about = self.cells[cell]
        chosen = about["seeds"][0] if seed is None else seed
        shards = range(about["shards"])
        return (
            [str(self._files.reconstruction(cell, chosen, shard)) for shard in shards],
            [str(self._files.truth(about["clients"], chosen, shard)) for shard in shards],
        )
