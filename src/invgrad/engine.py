"""The attacker's objective and its gradient, for a batch of independent trials."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_map

from invgrad.client import Client, Parameters, cross_entropy
from invgrad.networks import is_narrow
from invgrad.objectives import Distance
from invgrad.priors import total_variation
from invgrad.tangent import Passes, trace


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What a batch of trials is matched against; every tensor has a leading trial dimension."""

    labels: Tensor
    """Class indices [trials, n]."""
    target: tuple[Tensor, ...]
    """What each trial's client shared, [trials, *parameter.shape] for every parameter."""
    weights: Tensor
    """Layer weights [trials, layers]."""
    chosen: Tensor
    """1 for the layers that count, [trials, layers]."""

    def part(self, which: slice) -> "Trials":
        """Some of the trials."""
        target = tuple(tensor[which] for tensor in self.target)
        return Trials(labels=self.labels[which], target=target, weights=self.weights[which], chosen=self.chosen[which])


def objective_for(
    network: nn.Module, client: Client, distance: Distance, total_variation_weight: float
) -> "Objective | TangentObjective":
    """The tangent passes where they know the network and client, else the general path; arguments as of `Objective`."""
    passes = trace(network) if client.kind == "gradient" else None
    if passes is None:
        return Objective(network, client, distance, total_variation_weight)
    return TangentObjective(network, passes, distance, total_variation_weight)


class Objective:
    """Matching cost plus weighted total variation of candidate images (Eq. 4), trial by trial."""

    def __init__(self, network: nn.Module, client: Client, distance: Distance, total_variation_weight: float) -> None:
        """`network`: in the mode (evaluation or training) in which the client computed; used as it is."""
        self._loss = cross_entropy(network)
        self._parameters: Parameters = {name: value.detach() for name, value in network.named_parameters()}
        self._client = client
        self._distance = distance
        self._total_variation_weight = total_variation_weight
        self.vectorised = is_narrow(network)

    def gradient(self, images: Tensor, trials: Trials) -> tuple[Tensor, Tensor, Tensor]:
        """For candidate images [trials, n, 3, h, w]: the objective's gradient (same shape), the objective [trials] and
        the matching cost without the prior [trials]; one trial's values do not depend on the others.
        """
        slope, (value, matching) = self._of_each(grad_and_value(self._of_one, has_aux=True), images, trials)
        return slope, value, matching

    def matching_cost(self, images: Tensor, trials: Trials) -> Tensor:
        """The matching cost without the prior, [trials], of images [trials, n, 3, h, w]."""
        with torch.no_grad():
            cost: Tensor = self._of_each(self._of_one, images, trials)[1]
        return cost

    def _of_one(
        self, images: Tensor, labels: Tensor, target: tuple[Tensor, ...], weights: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        shared = self._client.share(self._loss, self._parameters, images, labels)
        matching = self._distance(shared, target, weights, chosen)
        prior = self._total_variation_weight * total_variation(images) if self._total_variation_weight else 0
        return matching + prior, matching

    def _of_each(self, function: Callable[..., Any], images: Tensor, trials: Trials) -> Any:
        """The function's results for every trial, stacked."""
        arguments = (images, trials.labels, trials.target, trials.weights, trials.chosen)
        if self.vectorised:
            return vmap(function)(*arguments)
        each = [function(*tree_map(itemgetter(trial), arguments)) for trial in range(len(images))]
        return tree_map(lambda *results: torch.stack(results), *each)


class TangentObjective:
    """What `Objective` computes for a client that shares a gradient, to rounding, by hand-written passes."""

    def __init__(self, network: nn.Module, passes: Passes, distance: Distance, total_variation_weight: float) -> None:
        """`passes`: those of `network`."""
        self._passes = passes
        self._distance = vmap(distance)
        self._total_variation_weight = total_variation_weight
        self.vectorised = is_narrow(network)

    @torch.no_grad()
    def gradient(self, images: Tensor, trials: Trials) -> tuple[Tensor, Tensor, Tensor]:
        """As `Objective.gradient`."""
        slope, matching = self._of_each(self._matching_gradient, images, trials)
        value = matching
        if self._total_variation_weight:
            value = matching + self._total_variation_weight * vmap(total_variation)(images)
            slope = slope + self._total_variation_weight * total_variation_slope(images)
        return slope, value, matching

    @torch.no_grad()
    def matching_cost(self, images: Tensor, trials: Trials) -> Tensor:
        """As `Objective.matching_cost`."""
        (cost,) = self._of_each(self._matching_cost, images, trials)
        return cost

    def _matching_gradient(self, images: Tensor, trials: Trials) -> tuple[Tensor, Tensor]:
        gradient, tape = self._passes.parameter_gradient(images, trials.labels)
        with torch.enable_grad():
            leaves = tuple(each.requires_grad_() for each in gradient)
            matching = self._distance(leaves, trials.target, trials.weights, trials.chosen)
            direction = torch.autograd.grad(matching.sum(), leaves)
        return self._passes.image_gradient(tape, direction), matching.detach()

    def _matching_cost(self, images: Tensor, trials: Trials) -> tuple[Tensor]:
        gradient, _ = self._passes.parameter_gradient(images, trials.labels)
        return (self._distance(gradient, trials.target, trials.weights, trials.chosen),)

    def _of_each(
        self, function: Callable[[Tensor, Trials], tuple[Tensor, ...]], images: Tensor, trials: Trials
    ) -> tuple[Tensor, ...]:
        """The function's results for all trials, at once or for a wide network one by one."""
        size = len(images) if self.vectorised else 1
        parts = [slice(first, first + size) for first in range(0, len(images), size)]
        results = [function(images[part], trials.part(part)) for part in parts]
        return tuple(torch.cat(each) for each in zip(*results, strict=True))


def total_variation_slope(images: Tensor) -> Tensor:
    """The gradient of every trial's `total_variation`, of images [trials, n, 3, h, w]; 0 between equal neighbours."""
    slope = torch.zeros_like(images)
    for dim in (-1, -2):
        signs = images.diff(dim=dim).sign()
        signs /= signs[0].numel()
        slope.narrow(dim, 1, signs.shape[dim]).add_(signs)
        slope.narrow(dim, 0, signs.shape[dim]).sub_(signs)
    return slope
