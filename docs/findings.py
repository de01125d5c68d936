"""Numbers of the committed results, as the templates of this folder ask for them."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy import stats
from simulation import DRAWS, TRUE_DIFFERENCE, Case, rates, rates_of

from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.plan import Plan
from invgrad.experiments.summary import describe
from invgrad.paper.cells import CellFacts
from invgrad.paper.differences import CONFIDENCE, Difference, compare
from invgrad.paper.values import PaperValue, read
from invgrad.paper.verdicts import RULE, Verdict, decide, effect_of_copies, read_values, verdicts
from invgrad.paper.weights import MIN_SEEDS
from invgrad.performance.cost import BENCH, GPU_BENCH, Speed
from invgrad.performance.estimate import costs
from invgrad.performance.work import trainings, works
from invgrad.report.tables import difference_and_interval, fixed, mean_and_spread
from invgrad.settings import read_yaml
from invgrad.steps.verdict import every_row

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "figures/small"
FINISHED = ROOT / "data/results/small"
"""What is finished of the run that takes the place of the figures, packed."""
TABLE1 = {
    f"{network}-{training}-{attack}": f"{title}, {training}, {name}"
    for network, title in (("lenet", "LeNet (Zhu)"), ("resnet20-4", "ResNet20-4"))
    for attack, name in (("proposed", "proposed"), ("lbfgs", "baseline"))
    for training in ("untrained", "trained")
}
"""The cells of Table 1 and their names in prose."""
EARLIER = " ‡"
"""Mark of what is of the earlier run, since the new one has not finished it."""


def rendered(template: str) -> str:
    """The text of a template of this folder.

    It may use every name of this module. A float has two decimals unless the template chooses another number.
    """
    environment = Environment(
        loader=FileSystemLoader(ROOT / "docs"),
        undefined=StrictUndefined,
        finalize=lambda value: places(value) if isinstance(value, float) else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(places=places, signed=signed)
    rule = {"rule": RULE, "confidence": CONFIDENCE, "min_seeds": MIN_SEEDS}
    simulated = {"rates": rates, "rates_of": rates_of, "draws": DRAWS, "true_difference": TRUE_DIFFERENCE}
    return wrapped(environment.get_template(template).render(globals(), **rule, **simulated))


def wrapped(markdown: str) -> str:
    """The same with every paragraph and item of a list filled to 120 characters a line; code stays."""
    paragraph = re.compile(r"^(?![|#]|$)(- |\d+\. )?.*(?:\n(?![|#]|- |\d+\. |$).*)*", re.MULTILINE)
    texts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    texts[::2] = [paragraph.sub(_filled, text) for text in texts[::2]]
    return "".join(texts)


def _filled(found: re.Match[str]) -> str:
    words, indent = " ".join(found[0].split()), " " * len(found[1] or "")
    return fill(words, width=120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def places(number: float, decimals: int = 2) -> str:
    """`-0.924` as `−0.92`."""
    return f"{number:.{decimals}f}".replace("-", "−")


def signed(number: float) -> str:
    """`2.574` as `+2.57`."""
    return f"{number:+.2f}".replace("-", "−")


@cache
def table(file: str) -> pd.DataFrame:
    """A CSV file of the figures."""
    return pd.read_csv(FIGURES / file)


class Line(NamedTuple):
    """One value of the paper beside ours, as text; `why` lists the settings that differ."""

    cell: str
    paper: str
    ours: str
    between_networks: str
    difference: str
    verdict: str
    why: str


@cache
def described() -> dict[str, Any]:
    """Description of every cell at scale `small`, as it is configured now."""
    with chdir(ROOT):
        cells: dict[str, Any] = describe(Plan(load(read_yaml(CONFIG) | {"scale": "small"})))["cells"]
    return cells


@cache
def facts() -> dict[str, CellFacts]:
    """Facts on every cell: those of the plan, except where the record of the verdicts has those of another one."""
    recorded = json.loads((FIGURES / "verdicts.json").read_text(encoding="utf-8"))["settings"]
    cells = {cell: dict(about) for cell, about in described().items()}
    for fact, of_cells in recorded.items():
        for cell in cells.keys() & of_cells.keys():
            cells[cell][fact] = of_cells[cell]
    return {cell: CellFacts.of(about) for cell, about in cells.items()}


@cache
def finished() -> pd.DataFrame:
    """The rows of every finished cell of the new run, of all its network seeds."""
    rows = every_row(sorted(FINISHED.glob("metrics/rows/*/*.csv")))
    seeds = rows.groupby("cell")["seed"].nunique()
    whole = [cell for cell, count in seeds.items() if count == len(described()[cell]["seeds"])]
    return rows[rows["cell"].isin(whole)]


def new_rows(cell: str, *where: str) -> pd.DataFrame:
    """The reconstructions of a finished cell for which these queries hold."""
    return finished().query(" and ".join([f"cell == '{cell}'", *where]))


def new_facts() -> dict[str, CellFacts]:
    """Facts on every cell of the new run."""
    return {cell: CellFacts.of(about) for cell, about in described().items()}


@cache
def new_verdicts() -> pd.DataFrame:
    """The verdicts on the finished cells, by cell."""
    found = verdicts(read_values(ROOT / "data/paper_values.csv"), finished(), new_facts())
    return found[found["verdict"] != "not run"].set_index("cell")


@cache
def latest_verdicts() -> pd.DataFrame:
    """The verdict on every printed value, of the new run where its cell is finished; `run` is `new` or `earlier`."""
    earlier, finished = table("verdicts.csv"), new_verdicts().reset_index()
    remaining = earlier[~earlier["cell"].isin(finished["cell"])]
    both = pd.concat([finished.assign(run="new"), remaining.assign(run="earlier")])
    return both.set_index("cell").loc[earlier["cell"].unique()].reset_index()


def judged_cases() -> dict[str, Case]:
    """The finished cells that are judged by the spread of their networks, and what the rule has to go by."""
    enough = new_verdicts().query("measure == 'psnr_mean' and verdict in ('reproduced', 'differs')")
    return {str(row.judged): _case(row, new_rows(row.judged)) for row in enough.itertuples()}


def _case(row: Any, rows: pd.DataFrame) -> Case:
    between = rows.pivot_table(index="image", columns="seed", values="psnr").corr().to_numpy()
    return Case(
        seeds=row.n_seeds,
        spread=row.std_seeds,
        images=row.n_images,
        paper_images=row.paper_n,
        copies=row.lossy > 0,
        image_std=row.std_images,
        shared=float(between[np.triu_indices_from(between, 1)].mean()),
    )


def judged(cell: str) -> Any:
    """The verdict on the printed mean of a finished cell."""
    return new_verdicts().query("measure == 'psnr_mean'").loc[cell]


def new_mean(cell: str, *where: str) -> float:
    """Our mean PSNR over these reconstructions of a finished cell."""
    return compare(new_rows(cell, *where), math.nan, math.nan, 1).value


def new(cell: str, *where: str) -> Difference:
    """Our mean PSNR over these reconstructions of a finished cell, beside the value printed for the proposed attack on
    its victim.
    """
    printed_for = next(each for each in new_verdicts().index if cell.startswith(each.removesuffix("proposed")))
    row = judged(printed_for)
    by_cell = {str(name): rows for name, rows in finished().groupby("cell")}
    copies = effect_of_copies(new_facts()[cell], by_cell, new_facts())
    return compare(new_rows(cell, *where), row.paper_value, row.paper_std, row.paper_n, copies)


def new_by_network(cell: str) -> "pd.Series[float]":
    """The mean PSNR of a finished cell by network seed."""
    return new_rows(cell).groupby("seed")["psnr"].mean()


def chance(changes: "pd.Series[float]") -> float:
    """The probability of such a mean change, or one further from 0, if there is none, by Student's t."""
    return float(stats.ttest_1samp(changes, 0).pvalue)


def accuracies(victim: str) -> "pd.Series[float]":
    """The validation accuracy of every network of a trained victim of the new run."""
    records = (FINISHED / "victims" / victim).glob("seed?.json")
    return pd.Series(
        [json.loads(each.read_text(encoding="utf-8"))["curve"][-1]["validation_accuracy"] for each in records]
    )


def of_part(cell: str, *where: str) -> tuple[Difference, Verdict]:
    """The difference and the verdict of the reconstructions of a finished cell for which these queries hold."""
    ours = new(cell, *where)
    return ours, decide(ours, judged(cell).paper_std, ())[0]


def by_fives(cell: str) -> list[tuple[Difference, Verdict]]:
    """The difference and the verdict of a finished cell by every five of its network seeds, in order."""
    return [of_part(cell, f"seed // 5 == {number}") for number in range(new_rows(cell)["seed"].nunique() // 5)]


def as_far(ours: Any) -> float:
    """Probability that one network more lies as far from the mean of ours as print, on either side, by Student's t."""
    further = ours.difference / (ours.std_seeds * math.sqrt(1 + 1 / ours.n_seeds))
    return float(2 * stats.t.sf(abs(further), ours.n_seeds - 1))


def extremes(cell: str) -> tuple[float, float]:
    """The lowest and the highest mean of a network, of a finished cell."""
    means = new_by_network(cell)
    return float(means.min()), float(means.max())


def table1() -> list[Line]:
    """Table 1: the paper's values, ours and the verdicts."""
    latest = latest_verdicts().query("id == 'table1'").set_index("cell", drop=False)
    facts_of = {"new": new_facts(), "earlier": facts()}
    return [
        _line(latest.loc[cell], label, facts_of[latest.loc[cell, "run"]][cell].deviations)
        for cell, label in TABLE1.items()
    ]


def _line(row: Any, label: str, deviations: Sequence[str]) -> Line:
    return Line(
        cell=label,
        paper=mean_and_spread(row.paper_value, row.paper_std),
        ours=counted(row),
        between_networks=fixed(row.std_seeds),
        difference=interval(row),
        verdict=worded(row),
        why="; ".join(deviations),
    )


def worded(row: Any) -> str:
    """A verdict in a table; of a difference, also the α for which there is none, if the paper's is not known."""
    agreeing = "" if pd.isna(row.weights) else row.weights.partition(" of ")[0]
    other = row.verdict == "differs" and agreeing not in ("", "none")
    return f"{row.verdict}; agrees for α = {agreeing}" if other else str(row.verdict)


def counted(row: Any) -> str:
    """Our value of a verdict, over how many images and networks, and a mark if it is of the earlier run."""
    value = mean_and_spread(row.value, row.std_images)
    return f"{value} ({row.n_images} × {row.n_seeds}){EARLIER * (row.run == 'earlier')}"


def interval(compared: Any) -> str:
    """A difference with its interval."""
    return difference_and_interval(compared.difference, compared.ci_low, compared.ci_high).replace("-", "−")


def former_verdicts() -> list[Any]:
    """What the former rule said of the rows of its last day, where it did not find settings that differ."""
    return list(pd.read_csv(ROOT / "docs/former-verdicts.csv").itertuples(index=False))


def percent(share: float) -> str:
    """`0.0525` as `5.2 %`."""
    return f"{share:.1%}".replace("%", " %")


def recalled_values() -> dict[str, list[PaperValue]]:
    """The printed values that wait for a reader with the PDF, by where they stand in it."""
    found: dict[str, list[PaperValue]] = {}
    for value in read(ROOT / "data/paper_values.csv"):
        if value.checked == "false":
            found.setdefault(value.where, []).append(value)
    return found


def verdict(cell: str) -> Any:
    """The row of `verdicts.csv` that compares the mean of a cell, or its one displayed image."""
    return table("verdicts.csv").query("cell == @cell").sort_values("measure").iloc[0]


def verdict_counts() -> Counter[str]:
    """The number of reported values with each verdict."""
    return Counter(latest_verdicts()["verdict"])


def printed(cell: str) -> str:
    """The paper's value, between backticks as all that the paper prints."""
    return f"`{verdict(cell).paper_value:.2f}`"


def rows(cell: str, *where: str) -> pd.DataFrame:
    """The reconstructions of a cell for which these queries hold."""
    return table("rows.csv").query(" and ".join([f"cell == '{cell}'", *where]))


def ours(cell: str, *where: str) -> Difference:
    """Our mean PSNR over these reconstructions beside the printed mean, if there is one."""
    means = table("verdicts.csv").query("cell == @cell and measure == 'psnr_mean'")
    printed_means = means[["paper_value", "paper_std", "paper_n"]].itertuples(index=False)
    return compare(rows(cell, *where), *next(printed_means, (math.nan, math.nan, 1)))


def paired(cell: str, other: str, column: str = "psnr") -> "pd.Series[float]":
    """The first cell minus the second, for every network seed and image."""
    first, second = (rows(name).set_index(["seed", "image"])[column] for name in (cell, other))
    return first - second


def minutes(*cells: str) -> float:
    """The time of the attacks of these cells on the device that ran them."""
    return float(sum(rows(cell)["seconds_per_client"].sum() for cell in cells)) / 60


def restarts(cell: str) -> Any:
    """The row of `convergence.csv`: how well the loss chooses among the restarts of an image."""
    return table("convergence.csv").query("cell == @cell").iloc[0]


def layer_errors(cell: str) -> "pd.Series[float]":
    """The relative error of every layer, by its number, from `activation-error.csv`."""
    return table("activation-error.csv").query("cell == @cell").set_index("number")["relative_error"]


DEFENCES = {
    "none": "none",
    "noise": "noise of {} clipping norms",
    "pruning": "pruning of {}",
    "quantisation": "quantisation to {}",
}
"""Names of the defences of `defences.csv`, with their strength."""


class Defence(NamedTuple):
    """A defence under which a network was trained, and what the attack found of the images of its clients."""

    name: str
    recovered: float
    """Share of the images that count as recovered."""
    most: float
    """Upper end of its 95 % interval."""
    partly: float
    images: int
    accuracy: float


def defences() -> list[Defence]:
    """The defences of `defences.csv`, of the networks that were trained under them, and no defence, by accuracy."""
    found = table("defences.csv").query("cell.str.match('defences-(alike-[a-z0-9-]+(?<!-known)|trained-none)$')")
    return [
        Defence(
            DEFENCES[row.defence].format(row.strength),
            *(row.recovered, row.recovered_high, row.partly, row.n_images, row.validation_accuracy),
        )
        for row in found.sort_values("validation_accuracy", ascending=False).itertuples()
    ]


def defence(cell: str) -> Any:
    """The row of `defences.csv` on a cell."""
    return table("defences.csv").query("cell == @cell").iloc[0]


@cache
def costs_of(scale: str) -> pd.DataFrame:
    """The table of `invgrad plan` for this scale."""
    with chdir(ROOT):
        plan = Plan(load(read_yaml(CONFIG) | {"scale": scale}))
        return costs(plan, *map(Speed.read, (BENCH, GPU_BENCH)))


def hours(scale: str, *artefacts: str) -> float:
    """The hours of these artefacts together, on one GPU at scale `paper` and on the CPU at any other."""
    chosen = costs_of(scale)
    column = "gpu_hours" if scale == "paper" else "device_hours"
    return float(chosen[chosen["row"].isin(artefacts)][column].sum())


class Price(NamedTuple):
    """What it takes to judge one printed value: hours of one core and of one GPU, without those of training."""

    cell: str
    printed: str
    core_hours: float
    gpu_hours: float
    victim: str
    training_core_hours: float
    training_gpu_hours: float


IMAGES_JUDGED = 3
"""Images that suffice for a verdict, of each of `MIN_SEEDS` networks."""


@cache
def prices() -> list[Price]:
    """What it takes to judge each value that is not judged yet, by the paper's settings and the timed devices."""
    with chdir(ROOT):
        plan = Plan(load(read_yaml(CONFIG) | {"scale": "paper"}))
        attacks = {work.cell: work for work in works(plan)}
        trained = {work.victim: work for work in trainings(plan)}
    core, gpu = map(Speed.read, (BENCH, GPU_BENCH))
    found = []
    for row in latest_verdicts().query("verdict not in ('reproduced', 'differs')").itertuples():
        work = attacks[row.cell]
        if row.measure == "psnr_shown" and work.clients > 1:  # which image it is of is not known
            continue
        clients = min(IMAGES_JUDGED, work.clients)
        few = replace(work, clients=clients, seeds=MIN_SEEDS, jobs=MIN_SEEDS)
        victim = plan.clients[work.group].victim
        training = replace(trained[victim], seeds=MIN_SEEDS)
        hours_of = (speed.attack_hours(few) for speed in (core, gpu))
        training_hours_of = (speed.training_hours(training) for speed in (core, gpu))
        value = mean_and_spread(row.paper_value, row.paper_std)
        found.append(Price(row.cell, value, *hours_of, victim, *training_hours_of))
    return found


def prices_together() -> float:
    """GPU-hours of all `prices`, with each network trained once."""
    trained = {price.victim: price.training_gpu_hours for price in prices()}
    return sum(price.gpu_hours for price in prices()) + sum(trained.values())


def unknown_images() -> int:
    """The number of printed values that no run can judge, since it is not known which image they are of."""
    return len(latest_verdicts().query("verdict not in ('reproduced', 'differs')")) - len(prices())


def measured(name: str) -> float:
    """A number of `measurements.yaml`, which no file of the figures holds."""
    return float(read_yaml(ROOT / "docs/measurements.yaml")[name]["value"])
