"""Work in a plan: the attacks and trainings from which `cost` estimates hours and disk. Imports no torch.

So Snakemake's console can ask for it (see `invgrad.networks.facts`).
"""

from collections.abc import Callable
from functools import cache, partial

from invgrad.attack.settings import Attack
from invgrad.clients.settings import FederatedAveraging
from invgrad.data.availability import available
from invgrad.data.registry import describe
from invgrad.experiments.jobs import Job, jobs
from invgrad.experiments.plan import Plan
from invgrad.networks.facts import NetworkCost, cost_of
from invgrad.performance.cases import LBFGS_GRADIENTS
from invgrad.performance.cost import Speed, TrainingWork, Work


def works(plan: Plan) -> list[Work]:
    """List the attacks of the artefacts that are to be made, one per cell."""
    network = cache(partial(_network, plan))
    return [_work(plan, cell, network) for cell in plan.cells_of(plan.project.artefacts)]


def trainings(plan: Plan) -> list[TrainingWork]:
    """List the trainings of their victims, one per victim, trained or not."""
    cells = plan.cells_of(plan.project.artefacts)
    victims = dict.fromkeys(plan.clients[plan.cells[cell].clients].victim for cell in cells)
    return [_training(plan, victim, cells) for victim in victims]


def seconds_of_jobs(plan: Plan, speed: Speed) -> dict[Job, float]:
    """Estimate the seconds that each job takes the whole timed device."""
    computing = {
        "attack": {work.cell: speed.attack_hours(work) / work.jobs for work in works(plan)},
        "victim": {work.victim: speed.training_hours(work) / work.seeds for work in trainings(plan)},
    }
    hours = {job: computing.get(job.kind, {}).get(job.of, 0) + speed.job_hours(job.kind) for job in jobs(plan)}
    return {job: 3600 * each for job, each in hours.items()}


def _network(plan: Plan, victim: str) -> NetworkCost:
    chosen = plan.victim(victim)
    dataset = describe(chosen.dataset)
    return cost_of(chosen.network, classes=dataset.classes, size=dataset.size)


def _work(plan: Plan, cell: str, network: Callable[[str], NetworkCost]) -> Work:
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
        network=network(clients.victim),
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


def _training(plan: Plan, victim: str, cells: list[str]) -> TrainingWork:
    chosen = plan.victim(victim)
    groups = [plan.clients[plan.cells[cell].clients] for cell in cells]
    source = plan.project.sources.get(chosen.dataset)
    epochs = chosen.epochs * chosen.is_trained_here
    images = available(chosen.dataset, "train", source) if epochs and source else 0
    return TrainingWork(
        victim=victim,
        network=_network(plan, victim),
        dataset=chosen.dataset,
        size=describe(chosen.dataset).size,
        images=images or describe(chosen.dataset).images["train"] * (epochs > 0),
        epochs=epochs,
        seeds=len({seed for group in groups if group.victim == victim for seed in group.seeds}),
        snapshots=1 + len(plan.snapshots(victim)),
    )
