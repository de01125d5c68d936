"""Work in a plan: the attacks and trainings from which `cost` estimates hours and disk."""

from functools import cache

import pandas as pd
from torch import nn

from invgrad.attack.settings import Attack
from invgrad.clients.settings import FederatedAveraging
from invgrad.data.availability import available
from invgrad.data.registry import describe
from invgrad.experiments.plan import Plan
from invgrad.networks.build import outline
from invgrad.performance.cost import LBFGS_GRADIENTS, Speed, TrainingWork, Work, estimate


def costs(plan: Plan, speed: Speed, gpu: Speed) -> pd.DataFrame:
    """Estimate the cost of a plan's artefacts that are to be made; the table is that of `estimate`."""
    artefacts = {name: artefact.cells for name, artefact in plan.project.artefacts.items()}
    cells = plan.cells_of(plan.project.artefacts)
    networks = _Networks(plan)
    victims = dict.fromkeys(plan.clients[plan.cells[cell].clients].victim for cell in cells)
    trainings = [_training(plan, victim, cells, networks) for victim in victims]
    return estimate(works(plan, networks), trainings, artefacts, speed, gpu)


def works(plan: Plan, networks: "_Networks | None" = None) -> list[Work]:
    """List the attacks of the artefacts that are to be made, one per cell."""
    shared = networks or _Networks(plan)
    return [_work(plan, cell, shared) for cell in plan.cells_of(plan.project.artefacts)]


class _Networks:
    """Networks without values, one for each victim, shared by all works on it."""

    def __init__(self, plan: Plan) -> None:
        self.of = cache(lambda victim: self._outline(plan, victim))

    @staticmethod
    def _outline(plan: Plan, victim: str) -> nn.Module:
        chosen = plan.victim(victim)
        dataset = describe(chosen.dataset)
        return outline(chosen.network, classes=dataset.classes, size=dataset.size)


def _work(plan: Plan, cell: str, networks: _Networks) -> Work:
    name = plan.cells[cell].clients
    attack, clients = plan.cells[cell].attack, plan.clients[name]
    images, shares = clients.targets.images_per_client, clients.shares
    local_steps, batch = 0, images
    if isinstance(shares, FederatedAveraging):
        batch = shares.batch_size or images
        local_steps = shares.steps or (shares.epochs or 0) * (images // batch)
    optimised = attack if isinstance(attack, Attack) else None
    return Work(
        cell=cell,
        group=name,
        network=networks.of(clients.victim),
        size=describe(plan.victim_of(name).dataset).size,
        clients=clients.targets.count,
        images=images,
        local_steps=local_steps,
        batch=batch,
        restarts=optimised.restarts if optimised else 1,
        iterations=optimised.iterations if optimised else 0,
        gradients_per_iteration=LBFGS_GRADIENTS if optimised and optimised.optimiser.kind == "lbfgs" else 1,
        seeds=len(clients.seeds),
        jobs=len(plan.shards(cell)),
        snapshots=optimised.snapshots if optimised else 0,
    )


def _training(plan: Plan, victim: str, cells: list[str], networks: _Networks) -> TrainingWork:
    chosen = plan.victim(victim)
    groups = [plan.clients[plan.cells[cell].clients] for cell in cells]
    source = plan.project.sources.get(chosen.dataset)
    epochs = chosen.epochs * chosen.is_trained_here
    images = available(chosen.dataset, "train", source) if epochs and source else 0
    return TrainingWork(
        victim=victim,
        network=networks.of(victim),
        dataset=chosen.dataset,
        size=describe(chosen.dataset).size,
        images=images or describe(chosen.dataset).images["train"] * (epochs > 0),
        epochs=epochs,
        seeds=len({seed for group in groups if group.victim == victim for seed in group.seeds}),
        snapshots=1 + len(plan.snapshots(victim)),
    )
