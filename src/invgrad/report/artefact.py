"""Results of one artefact's cells, for its notebook: rows, verdicts, images; and the artefact's files."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import pandas as pd
from matplotlib.figure import Figure

from invgrad.experiments.layout import Layout
from invgrad.metrics.image_pairs import ImagePairs, read_image_pairs, read_trajectories
from invgrad.networks.training import Epoch
from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import compare, of_clients
from invgrad.paper.values import FLAT_PSNR
from invgrad.paper.verdicts import read_values, verdicts
from invgrad.report.export import save_figure, save_table
from invgrad.report.tables import flat_image, sample_size
from invgrad.results.files import read_tables
from invgrad.results.provenance import Stamp, commit
from invgrad.settings import SettingsError

PAPER = (
    *("paper_value", "paper_std", "paper_n", "paper_checked", "difference", "ci_low", "ci_high"),
    *("verdict", "reason"),
)
"""Columns of a verdict that concern the paper's value; empty if the paper reports none."""
NAMES = ("label", "network", "training", "attack", "variant")
"""Names of a cell for readers, as given by `Experiments.names`."""


class ArtefactResults:
    """The results of the cells of one artefact; `cells` is in the order of the configuration."""

    def __init__(self, artefact: Mapping[str, Any]) -> None:
        """`artefact`: the notebook's parameter, as given by `invgrad.experiments.summary.notebook_json`."""
        self.name: str = artefact["name"]
        self.title: str = artefact["title"]
        self.about: str = artefact["about"]
        self.cells: dict[str, Mapping[str, Any]] = artefact["cells"]
        self._files = Layout(Path(artefact["results"]))
        self._stem = Path(artefact["figures"]) / self.name
        self._paper_values = Path(artefact["paper_values"])
        # The commit is asked for here and no parameter: another one is no reason to make the artefact again.
        self._stamp = Stamp(commit(), artefact["scale"], artefact["settings_hash"])

    @classmethod
    def open(cls, artefact: Mapping[str, Any] | str) -> Self:
        """Open the results that the workflow passes, or, by the name of an artefact, those at hand.

        By name, the scale is that of `params.yaml`, or of the environment variable INVGRAD_SCALE. If there are no such
        results, one line says so and the process ends.
        """
        if isinstance(artefact, str):
            # By its name: an import statement would make every notebook depend on the code of the whole package.
            by_hand = import_module("invgrad.report.by_hand")
            try:
                return cls(by_hand.parameters(artefact))
            except SettingsError as error:
                sys.exit(f"error: {error}")
        return cls(artefact)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per image of every cell, from the step `measure`, with the cell's `label`."""
        rows = read_tables([self._files.rows(cell, seed) for cell in self.cells for seed in self.seeds(cell)])
        labels = {cell: about["label"] for cell, about in self.cells.items()}
        # Rows of earlier versions have no PSNR of the flat image.
        return rows.assign(label=rows["cell"].map(labels), flat_psnr=rows.get("flat_psnr", math.nan))

    @cached_property
    def by_cell(self) -> dict[str, pd.DataFrame]:
        """The rows of every cell."""
        return {cell: self.rows[self.rows["cell"] == cell] for cell in self.cells}

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per value that the paper reports of these cells, in their order (see `invgrad.paper.verdicts`)."""
        values = read_values(self._paper_values)
        values = values[values["cell"].isin(list(self.cells))]
        facts = {cell: CellFacts.of(about) for cell, about in self.cells.items()}
        order = {cell: number for number, cell in enumerate(self.cells)}
        judged = verdicts(values, self.rows, facts)
        return judged.sort_values("cell", key=lambda cells: cells.map(order), kind="stable").reset_index(drop=True)

    def comparison(self, measure: str = "psnr_mean") -> pd.DataFrame:
        """Our mean PSNR in dB of every cell, beside the paper's value of this `measure`, if it reports one.

        One row per cell, in their order: `cell`, its `NAMES` and `dataset`, the least and the largest `iterations` and
        `restarts` of an image, the fields of `paper.differences.Difference`, `flat_psnr` (the mean over its images),
        `deviations`, and the verdict's columns `PAPER`. Where the paper reports a mean, clients count in place of
        images, as in its verdict.
        """
        reported = self.verdicts[self.verdicts["measure"] == measure].set_index("cell")[list(PAPER)]
        table = []
        for cell, rows in self.by_cell.items():
            counted = of_clients(rows) if measure == "psnr_mean" and cell in reported.index else rows
            ours = asdict(compare(counted, math.nan, math.nan, 1))
            table.append(
                {"cell": cell}
                | {name: self.cells[cell][name] for name in NAMES}
                | {"dataset": rows["dataset"].iloc[0]}
                | {f"{key}_{end}": rows[key].agg(end) for key in ("iterations", "restarts") for end in ("min", "max")}
                | {key: value for key, value in ours.items() if key not in PAPER}
                | {"flat_psnr": rows["flat_psnr"].mean()}
                | {"deviations": "; ".join(self.cells[cell]["deviations"])}
            )
        return pd.DataFrame(table).join(reported, on="cell")

    def gallery(self, cell: str, *, count: int | None = None) -> ImagePairs:
        """The first `count` images of a cell (all, if None), with its first network seed."""
        return read_image_pairs(*self._image_files(cell, self.seeds(cell)[0]), count=count)

    def trajectories(self, cell: str) -> pd.DataFrame:
        """PSNR and matching loss along the optimisation: the columns of `read_trajectories`, and `seed`."""
        tables = [read_trajectories(*self._image_files(cell, seed)).assign(seed=seed) for seed in self.seeds(cell)]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def activations(self) -> pd.DataFrame:
        """The activation errors of every cell: columns `cell`, `seed`, `image` and those of `ActivationError`."""
        return read_tables([self._files.activations(cell) for cell in self.cells])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The training curve of every trained victim: columns `victim`, `seed` and the fields of `Epoch`."""
        wanted = {(about["victim"], seed) for about in self.cells.values() for seed in about["seeds"]}
        tables = []
        for victim, seed in sorted(wanted):
            record = self._files.victim(victim, seed).with_suffix(".json")
            if record.exists() and (curve := json.loads(record.read_text(encoding="utf-8"))["curve"]):
                tables.append(pd.DataFrame(curve).assign(victim=victim, seed=seed))
        columns = [*(field.name for field in fields(Epoch)), "victim", "seed"]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)

    @cached_property
    def description(self) -> Any:
        """The content of `description.json`."""
        return json.loads(self._files.description().read_text(encoding="utf-8"))

    def seeds(self, cell: str) -> list[int]:
        """The network seeds of a cell."""
        return list(self.cells[cell]["seeds"])

    @cached_property
    def caption(self) -> str:
        """The title and the scale; where there are cells, n, the flat image's PSNR, and the sources of their images."""
        if not self.cells:
            return f"{self.title}. {self.about}"
        n = f"{sample_size(*self.by_cell.values())}."
        sources = f"Images: {'; '.join(self.rows['source'].unique())}."
        return " ".join(
            filter(None, [f"{self.title}.", n, flat_image(self.rows), self._failing(), self.about, sources])
        )

    def _failing(self) -> str:
        """A sentence on the cells whose printed value is below the flat image's PSNR; empty if there are none."""
        failing = self.verdicts.loc[self.verdicts["paper_value"] < FLAT_PSNR, "cell"].unique()
        labels = "; ".join(self.cells[cell]["label"] for cell in failing)
        return f"The paper's own value is below a flat image's: {labels}." if labels else ""

    def save_figure(self, figure: Figure) -> None:
        """Write the artefact's PNG and PDF, and print where."""
        save_figure(figure, self._stem, self.caption, self._stamp)
        print(f"{self._stem}: png, pdf")

    def save_table(self, table: pd.DataFrame, numbers: pd.DataFrame, *, note: str = "") -> None:
        """Write the artefact's table for readers as Markdown and LaTeX, and its numbers as CSV; and print where.

        The `note` follows the caption.
        """
        save_table(table, numbers, self._stem, f"{self.caption} {note}".rstrip(), self._stamp)
        print(f"{self._stem}: csv, md, tex")

    def _image_files(self, cell: str, seed: int) -> tuple[list[str], list[str]]:
        """The files of reconstructions and of true images of one network seed."""
        about = self.cells[cell]
        shards = range(about["shards"])
        return (
            [str(self._files.reconstruction(cell, seed, shard)) for shard in shards],
            [str(self._files.truth(about["clients"], seed, shard)) for shard in shards],
        )
