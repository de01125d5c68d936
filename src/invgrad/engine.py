"""The attacker's objective and its gradient, for a batch of independent trials."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_map

from invgrad.clients.loss import Parameters
from invgrad.clients.protocols import loss_of, sent_statistics, share
from invgrad.clients.settings import Client
from invgrad.matching import Matching, MatchingOfGradient, MatchingOfLocalSteps
from invgrad.networks import is_narrow
from invgrad.objectives import Distance, InnerProductDistance
from invgrad.priors import total_variation
from invgrad.tangent import Use, trace
from invgrad.trials import Trials


class Evaluation(NamedTuple):
    """The objective at the trials' present candidates."""

    slope: Tensor
    """Its gradient for the images, [trials, n, 3, h, w]."""
    label_slope: Tensor | None
    """Its gradient for soft labels, [trials, n, classes]; None for class indices."""
    objective: Tensor
    """[trials]."""
    matching: Tensor
    """The matching cost, without the prior, [trials]."""


def objective_for(
    network: nn.Module,
    client: Client,
    distance: Distance,
    total_variation_weight: float,
    shape: tuple[int, ...],
    statistics_weight: float = 0,
) -> "Objective | TangentObjective":
    """The tangent passes where they know the network and client, else the general path; arguments as of `Objective`,
    and the `shape` of one trial's images, [n, 3, h, w].
    """
    together = runs_together(network)
    matching = _matching(network, client, distance, shape, together=together)
    if matching is None:
        return Objective(network, client, distance, total_variation_weight, statistics_weight)
    return TangentObjective(matching, total_variation_weight, together=together)


def _matching(
    network: nn.Module, client: Client, distance: Distance, shape: tuple[int, ...], *, together: bool
) -> Matching | None:
    """By hand-written passes, if they know the network and the client."""
    if client.batch_norm == "training":
        return None
    if client.kind == "gradient":
        use = Use(together=together, products=isinstance(distance, InnerProductDistance))
        passes = trace(network, shape, use)
        return MatchingOfGradient(passes, distance) if passes else None
    if together:  # every trial has parameters of its own after the first step, which the passes do not know
        return None
    passes = trace(network, (client.batch_size or shape[0], *shape[1:]), Use())
    return MatchingOfLocalSteps(passes, client, distance, network.parameters()) if passes else None


def runs_together(network: nn.Module) -> bool:
    """Whether many trials at once pay: on a CPU, one trial of a wide network keeps every core busy by itself."""
    return is_narrow(network) or next(network.parameters()).device.type != "cpu"


class Objective:
    """Matching cost plus weighted priors of candidate images, trial by trial: total variation (Eq. 4) and, for a client
    that sends them, the squared distance of the candidates' batch statistics to its own (Yin et al. 2021, R_BN).

    Labels are class indices [trials, n], or soft labels [trials, n, classes], real numbers whose softmax stands in the
    loss. One trial's values do not depend on the others.
    """

    def __init__(
        self,
        network: nn.Module,
        client: Client,
        distance: Distance,
        total_variation_weight: float,
        statistics_weight: float = 0,
    ) -> None:
        """`network`: in evaluation mode; its batch-norm layers follow the client's settings."""
        self._loss = loss_of(client, network)
        self._statistics = sent_statistics(client, network)
        self._statistics_weight = statistics_weight
        self._parameters: Parameters = {name: value.detach() for name, value in network.named_parameters()}
        self._client = client
        self._distance = distance
        self._total_variation_weight = total_variation_weight
        self._together = runs_together(network)

    def prepared(self, trials: Trials) -> Trials:
        """The same trials, in the memory order that suits `gradient`."""
        return trials

    def gradient(self, images: Tensor, labels: Tensor, trials: Trials) -> Evaluation:
        """For candidate images [trials, n, 3, h, w]."""
        soft = labels.is_floating_point()
        function = grad_and_value(self._of_one, argnums=(0, 1) if soft else (0,), has_aux=True)
        slopes, (objective, matching) = self._of_each(function, images, labels, trials)
        return Evaluation(slopes[0], slopes[1] if soft else None, objective, matching)

    def matching_cost(self, images: Tensor, labels: Tensor, trials: Trials) -> Tensor:
        """The matching cost without the prior, [trials], of images [trials, n, 3, h, w]."""
        with torch.no_grad():
            cost: Tensor = self._of_each(self._of_one, images, labels, trials)[1]
        return cost

    def _of_one(
        self,
        images: Tensor,
        labels: Tensor,
        target: tuple[Tensor, ...],
        weights: Tensor,
        chosen: Tensor,
        statistics: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor]:
        expected = labels.softmax(-1) if labels.is_floating_point() else labels
        shared = share(self._client, self._loss, self._parameters, images, expected)
        arguments = ([each[None] for each in shared], [each[None] for each in target], weights[None], chosen[None])
        matching = self._distance(*arguments)[0]
        objective = matching
        if self._total_variation_weight:
            objective = objective + self._total_variation_weight * total_variation(images)
        if self._statistics_weight:
            pairs = zip(self._statistics(self._parameters, images), statistics, strict=True)
            objective = objective + self._statistics_weight * sum((one - sent).square().sum() for one, sent in pairs)
        return objective, matching

    def _of_each(self, function: Callable[..., Any], images: Tensor, labels: Tensor, trials: Trials) -> Any:
        """The function's results for every trial, stacked."""
        arguments = (images, labels, trials.target, trials.weights, trials.chosen, trials.statistics)
        if self._together:
            return vmap(function)(*arguments)
        each = [function(*tree_map(itemgetter(trial), arguments)) for trial in range(len(images))]
        return tree_map(lambda *results: torch.stack(results), *each)


class TangentObjective:
    """What `Objective` computes, to rounding, by hand-written passes."""

    def __init__(self, matching: Matching, total_variation_weight: float, *, together: bool) -> None:
        """`together`: whether `matching` takes many trials at once."""
        self._matching = matching
        self._total_variation_weight = total_variation_weight
        self._together = together

    def prepared(self, trials: Trials) -> Trials:
        """As `Objective.prepared`."""
        return self._matching.prepared(trials)

    @torch.no_grad()
    def gradient(self, images: Tensor, labels: Tensor, trials: Trials) -> Evaluation:
        """As `Objective.gradient`."""
        slope, label_slope, matching = self._of_each(images, labels, trials)
        objective = matching
        if self._total_variation_weight:
            objective = matching + self._total_variation_weight * vmap(total_variation)(images)
            slope = slope + self._total_variation_weight * total_variation_slope(images)
        return Evaluation(slope, label_slope if labels.is_floating_point() else None, objective, matching)

    @torch.no_grad()
    def matching_cost(self, images: Tensor, labels: Tensor, trials: Trials) -> Tensor:
        """As `Objective.matching_cost`."""
        return self._of_each(images, labels, trials)[2]

    def _of_each(self, images: Tensor, labels: Tensor, trials: Trials) -> tuple[Tensor, ...]:
        """The gradients of the matching cost for images and labels (without meaning for class indices), and itself."""
        if self._together or len(images) == 1:
            return self._of_some(images, labels, trials)
        parts = [slice(trial, trial + 1) for trial in range(len(images))]
        results = [self._of_some(images[part], labels[part], trials.part(part)) for part in parts]
        return tuple(torch.cat(each) for each in zip(*results, strict=True))

    def _of_some(self, images: Tensor, labels: Tensor, trials: Trials) -> tuple[Tensor, ...]:
        if not labels.is_floating_point():
            return self._matching(images, labels, trials)
        expected = labels.softmax(-1)
        slope, label_slope, matching = self._matching(images, expected, trials)
        # From the probabilities to what they are the softmax of.
        label_slope = expected * (label_slope - (expected * label_slope).sum(-1, keepdim=True))
        return slope, label_slope, matching


def total_variation_slope(images: Tensor) -> Tensor:
    """The gradient of every trial's `total_variation`, of images [trials, n, 3, h, w]; 0 between equal neighbours."""
    slope = torch.zeros_like(images)
    for dim in (-1, -2):
        signs = images.diff(dim=dim).sign()
        signs /= signs[0].numel()
        slope.narrow(dim, 1, signs.shape[dim]).add_(signs)
        slope.narrow(dim, 0, signs.shape[dim]).sub_(signs)
    return slope
