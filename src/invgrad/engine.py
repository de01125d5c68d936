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
from invgrad.objectives import Distance
from invgrad.priors import total_variation

VECTORISE_UP_TO = 1_000_000
"""Networks with at most so many parameters run all trials of a batch at once under vmap. Wider ones spend their time in
convolutions that use every core for one trial, and vmap turns their weight gradients into slow grouped convolutions."""


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


class Objective:
    """Matching cost plus weighted total variation of candidate images (Eq. 4), trial by trial."""

    def __init__(self, network: nn.Module, client: Client, distance: Distance, total_variation_weight: float) -> None:
        """`network`: in the mode (evaluation or training) in which the client computed; used as it is."""
        self._loss = cross_entropy(network)
        self._parameters: Parameters = {name: value.detach() for name, value in network.named_parameters()}
        self._client = client
        self._distance = distance
        self._total_variation_weight = total_variation_weight
        self.vectorised = sum(value.numel() for value in self._parameters.values()) <= VECTORISE_UP_TO

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
