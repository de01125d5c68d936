"""The attack by optimisation: change candidate images until they reproduce the shared gradient (Eq. 4)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from invgrad.attack.batching import budget, fitting, in_batches, side_by_side
from invgrad.attack.constraints import project
from invgrad.attack.journal import Journal
from invgrad.attack.optimisers import decay
from invgrad.attack.options import RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.selection import select
from invgrad.attack.settings import Attack
from invgrad.attack.state import BatchState, Outcome, moments
from invgrad.attack.trials import Trials
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.objective.cuda_graph import repeated
from invgrad.objective.evaluation import Evaluation
from invgrad.runtime.devices import arithmetic


def optimise(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: Attack,
    seed_key: str,
    start: Tensor | None,
    options: RunOptions,
) -> Reconstruction:
    """Run all trials, in batches that fit into memory, and select among the restarts.

    Arguments and errors are those of `invgrad.attack.run.reconstruct`.
    """
    device = next(network.parameters()).device
    with arithmetic(attack.precision, attack.deterministic, device):
        trials = Trials(network, client, shared, attack, seed_key, start)
        journal = Journal(len(trials), attack.iterations, options, device)
        for batch in in_batches(len(trials), *_size_and_first(trials, journal, options.memory)):
            with batch as which:
                note = partial(journal.note, which)
                journal.end(run_batch(trials, which, attack, journal.state_of(which), note))
        outcome = journal.close()
    return _reconstruction(outcome, len(shared), attack)


def run_batch(
    trials: Trials,
    which: slice,
    attack: Attack,
    kept: Mapping[str, Tensor] | None,
    note: Callable[[BatchState, Tensor], None],
) -> Outcome:
    """Optimise a batch of trials to the end, from their start or from the state `kept`: the loop of the attack.

    `note` is called after every iteration with the state and the gradient-matching losses [trials] before it.
    """
    targets = trials.targets(which)
    state = trials.begin(which, attack)
    if kept and state.tensors().keys() <= kept.keys():
        state.restore(kept)
    elif kept:  # as by L-BFGS on a GPU or without compiled code, which keeps other numbers
        print("the state of this batch was kept by other code; starts it from the beginning", flush=True)
    drawn = replace(targets, chosen=targets.chosen.clone())
    evaluate = repeated(partial(trials.objective.gradient, state.images, state.labels, drawn), trials.device)
    for iteration in range(state.done, attack.iterations):
        if attack.layers.redrawn:
            drawn.chosen.copy_(trials.chosen(targets.target, state.generators))
        before = [] if attack.tolerance is None else [variable.clone() for variable in state.variables]
        matching = _step(state, evaluate, decay(iteration, attack.iterations) if attack.step_decay else 1)
        project(state.images, trials.bounds, _is_due(attack.median_filter_every, iteration))
        if attack.tolerance is not None:
            _rest(state, before, matching > attack.tolerance)
            if not state.running.any():
                break
        state.advance(matching)
        note(state, matching)
    del evaluate  # gives a GPU's memory of what was recorded back
    return _outcome(state, trials.objective.matching_cost(state.images, state.labels, targets))


def _step(state: BatchState, evaluate: Callable[[], Evaluation], decay: float) -> Tensor:
    """Take one optimiser step on the candidates and soft labels; return the gradient-matching losses before it."""
    costs: list[Tensor] = []

    def gradient() -> tuple[Tensor, list[Tensor]]:
        found = evaluate()
        costs.append(found.matching)
        both = (found.image_gradient, found.label_gradient)
        return found.objective, [each for each in both if each is not None]

    state.stepper.step(gradient, decay=decay)
    return costs[0]


def _is_due(every: int | None, iteration: int) -> bool:
    return every is not None and (iteration + 1) % every == 0


def _rest(state: BatchState, before: Sequence[Tensor], above: Tensor) -> None:
    """Stop the trials that are not `above` the tolerance [trials], and undo their last iteration."""
    state.running = state.running & above
    for variable, rested in zip(state.variables, before, strict=True):
        moved = state.running.view(-1, *[1] * (variable.dim() - 1))
        variable.copy_(torch.where(moved, variable, rested))


def _outcome(state: BatchState, cost: Tensor) -> Outcome:
    """Assemble the outcome of a finished batch, whose candidates have these gradient-matching losses [trials]."""
    state.snapshots.end(state.done, state.images, cost)
    labels = state.labels.argmax(-1) if state.labels.is_floating_point() else state.labels
    return Outcome(state.images, labels, cost, state.taken, state.snapshots.images, state.snapshots.cost)


def _size_and_first(trials: Trials, journal: Journal, memory: int | None) -> tuple[int, int]:
    """Return the number of trials that run together, and the first unfinished one.

    A resumed attack keeps its batches: the free memory may have changed, and other batches are rounded differently.
    """
    if journal.unfinished:
        return journal.unfinished.stop - journal.unfinished.start, journal.unfinished.start
    # Snapshots do not count: they stay until the end, and must not change which trials run together.
    brief = trials.attack.model_copy(update={"iterations": 1, "snapshots": 0})

    def attempt(few: int) -> Outcome:
        return run_batch(trials, slice(0, few), brief, None, lambda state, matching: None)

    allowed = budget(trials.device) if memory is None else memory
    if at_once := trials.objective.at_once:
        return side_by_side(attempt, min(len(trials), at_once), trials.device, allowed), 0
    return fitting(attempt, len(trials), trials.device, allowed), 0


def _reconstruction(outcome: Outcome, clients: int, attack: Attack) -> Reconstruction:
    """Assemble the selected images and the outcome of every restart."""
    ended = Outcome(*(each.unflatten(0, (clients, attack.restarts)) for each in outcome))
    images, selected = select(ended.images, ended.matching_cost, attack.selection)
    shown = torch.where(selected >= 0, selected, ended.matching_cost.nan_to_num(torch.inf).argmin(1))
    return Reconstruction(
        images=images,
        labels=ended.labels[torch.arange(clients, device=images.device), shown],
        matching_cost=ended.matching_cost,
        iterations=ended.iterations,
        selected=selected,
        trajectory=ended.trajectory,
        trajectory_cost=ended.trajectory_cost,
        trajectory_iteration=torch.tensor(moments(attack), dtype=torch.long),
    )
