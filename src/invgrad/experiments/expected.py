"""Results that a plan expects: the settings, code and inputs that each is to be made with."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from invgrad.data.registry import REGISTRY
from invgrad.data.settings import registry_digest, settings_of_split
from invgrad.experiments.layout import Layout
from invgrad.experiments.plan import Plan
from invgrad.experiments.reading import experiment_files
from invgrad.experiments.summary import notebook_json
from invgrad.networks.settings import source_files
from invgrad.results.agreement import Expected
from invgrad.results.fingerprints import code_of_notebook
from invgrad.results.origin import numbered


def expected(plan: Plan) -> Iterator[Expected]:
    """List every result of a plan, each after those that it is made from."""
    cells = list(plan.cells)
    yield from _splits(plan, cells)
    for name in plan.victims:
        yield from _victims(plan, name)
    for clients in dict.fromkeys(plan.cells[cell].clients for cell in cells):
        yield from _shares(plan, clients)
    for cell in cells:
        yield from _attacks(plan, cell)
        yield from _rows(plan, cell)
        yield _activations(plan, cell)
    yield _description(plan)
    yield from _verdicts(plan)
    for name in plan.artefacts:
        yield _notebook(plan, name)
    yield _report(plan)


def described(plan: Plan) -> str:
    """All that the description of a plan depends on besides its files, as JSON."""
    return json.dumps({"config": json.loads(plan.describe_json()), "sources": dict(plan.project.sources)})


def files_of_description(plan: Plan) -> dict[str, Path]:
    """Name the files of the configuration."""
    files = numbered("experiments", experiment_files(plan.project.config.experiments))
    return files | {"scale": plan.project.scale_file} | _registry()


def inputs_of_report(
    files: Layout, figures: Path, writes: Mapping[str, Sequence[str]], shown_at: Mapping[str, str]
) -> dict[str, Path]:
    """Name what a report shows: the files that each artefact `writes`, and pictures of the scale they are shown at."""
    pictures = (figures.parent / scale / f"{name}.png" for name, scale in shown_at.items())
    return {
        "rows": figures / "rows.csv",
        "verdicts": figures / "verdicts.csv",
        **numbered("notebook", map(files.notebook, writes)),
        **numbered("figure", (figures / f"{name}.{kind}" for name, kinds in writes.items() for kind in kinds)),
        **numbered("picture", filter(Path.exists, pictures)),
        **_registry(),
    }


def _registry() -> dict[str, Path]:
    """The project's registry of data sets, which has their titles."""
    return numbered("registry", filter(Path.exists, [REGISTRY]))


def _splits(plan: Plan, cells: list[str]) -> Iterator[Expected]:
    for path, (dataset, split, clients) in plan.splits(cells).items():
        if source := plan.project.sources.get(dataset):
            indices = plan.clients[clients].targets.positions() if clients else None
            root = plan.project.config.data_root.expanduser()
            settings = partial(settings_of_split, dataset, split, source, root, indices, path)
            yield Expected(path, "data", _as_json(settings), {})


def _victims(plan: Plan, name: str) -> Iterator[Expected]:
    victim = plan.victim(name)
    splits = {"validation": plan.validation_split(name), "data": plan.training_split(name)}
    code = source_files(victim.network)
    for seed in plan.seeds(name):
        given = numbered("checkpoint", plan.given_files(name, seed)[::2])
        inputs = given or {part: path for part, paths in splits.items() for path in paths}
        for epoch in (None, *plan.snapshots(name)):
            settings = _as_json(partial(_settings_of_victim, plan, name, seed))
            yield Expected(plan.files.victim(name, seed, epoch), "train", settings, inputs, code)


def _settings_of_victim(plan: Plan, name: str, seed: int) -> dict[str, Any]:
    step: dict[str, Any] = json.loads(plan.train_json(name, seed))
    return step | {"registry": registry_digest(plan.victim(name).dataset)}


def _shares(plan: Plan, name: str) -> Iterator[Expected]:
    code, data = source_files(plan.custom(name)), plan.data_for_clients(name)
    for seed in plan.clients[name].seeds:
        for shard in range(len(plan.clients[name].shards())):
            inputs = {"victim": plan.victim_file(name, seed), "data": data}
            settings = cache(partial(plan.share_json, name, shard))
            for path in (plan.files.shared(name, seed, shard), plan.files.truth(name, seed, shard)):
                yield Expected(path, "share", settings, inputs, code)


def _attacks(plan: Plan, cell: str) -> Iterator[Expected]:
    clients = plan.cells[cell].clients
    code, start = source_files(plan.custom(clients)), dict(zip(["start"], plan.attack_files(cell), strict=False))
    for seed, shard in ((shard.seed, shard.number) for shard in plan.shards(cell)):
        shared = plan.files.shared(clients, seed, shard)
        inputs = {"victim": plan.victim_file(clients, seed), "shared": shared, **start}
        path, settings = plan.files.reconstruction(cell, seed, shard), cache(partial(plan.attack_json, cell, seed))
        yield Expected(path, "attack", settings, inputs, code)


def _rows(plan: Plan, cell: str) -> Iterator[Expected]:
    for seed, path in zip(plan.clients[plan.cells[cell].clients].seeds, plan.rows(cell), strict=True):
        compared = {"reconstruction": plan.reconstructions(cell, seed), "truth": plan.truths(cell, seed)}
        inputs = {name: each for part, paths in compared.items() for name, each in numbered(part, paths).items()}
        inputs |= dict(zip(["others"], plan.others(cell), strict=False))
        settings = {"cell": cell, "seed": seed} | plan.judging(cell)
        yield Expected(path, "measure", _as_json(partial(dict, settings)), inputs)


def _activations(plan: Plan, cell: str) -> Expected:
    clients, shards = plan.cells[cell].clients, plan.shards(cell)
    inputs = {
        **numbered("victim", (plan.victim_file(clients, shard.seed) for shard in shards)),
        **numbered("reconstruction", plan.reconstructions(cell)),
        **numbered("truth", plan.truths(cell)),
    }
    settings = {"cell": cell, "seeds": [shard.seed for shard in shards]}
    code = source_files(plan.custom(clients))
    return Expected(plan.files.activations(cell), "activations", _as_json(lambda: settings), inputs, code)


def _description(plan: Plan) -> Expected:
    texts = tuple(plan.files.settings() / f"{cell}.txt" for cell in plan.cells)
    inputs = files_of_description(plan)
    return Expected(plan.files.description(), "describe", partial(described, plan), inputs, also=texts)


def _verdicts(plan: Plan) -> Iterator[Expected]:
    tables = [path for cell in plan.cells_of(plan.project.artefacts) for path in plan.rows(cell)]
    inputs = {"paper values": plan.project.config.paper_values, "description": plan.files.description()}
    inputs |= numbered("rows", tables)
    yield Expected(plan.figures / "rows.csv", "verdict", _as_json(dict), inputs)
    yield Expected(
        plan.figures / "verdicts.csv", "verdict", _as_json(dict), inputs, also=(plan.figures / "metrics.json",)
    )


def _notebook(plan: Plan, name: str) -> Expected:
    return Expected(
        plan.files.notebook(name),
        "notebook",
        partial(notebook_json, plan, name),
        numbered("input", plan.shown(name) + plan.described(name)),
        code_of_notebook(plan.notebook(name)),
        also=tuple(plan.outputs(name)),
    )


def _as_json(settings: Callable[[], Mapping[str, Any]]) -> Callable[[], str]:
    return cache(lambda: json.dumps(settings()))


def _report(plan: Plan) -> Expected:
    config, made = plan.project.config, plan.project.artefacts
    about = {
        "description": plan.files.description(),
        "paper values": config.paper_values,
        "details": config.open_details,
    }
    writes = {name: artefact.writes for name, artefact in made.items()}
    inputs = about | inputs_of_report(
        plan.files,
        plan.figures,
        writes,
        {name: scale for name in plan.project.experiments.artefacts if (scale := plan.project.shown_at(name))},
    )
    return Expected(plan.figures / "report.html", "report", _as_json(dict), inputs, also=(plan.figures / "index.md",))
