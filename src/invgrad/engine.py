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
from invgrad.networks.parallelism import runs_together
from invgrad.objective.settings import Distance
from invgrad.objectives import InnerProductDistance, distance_of
from invgrad.priors import total_variation
from invgrad.tangent.convolutions import PassOptions
from invgrad.tangent.tracing import trace
from invgrad.trials import Targets


class Evaluation(NamedTuple):
    """Value and gradient of the objective at the trials' present candidates."""

    image_gradient: Tensor
    """Gradient with respect to the images, [trials, n, 3, h, w]."""
    label_gradient: Tensor | None
    """Gradient with respect to soft labels, [trials, n, classes]; None for class indices."""
    objective: Tensor
    """Value, [trials]."""
    matching: Tensor
    """Gradient-matching loss, without the priors, [trials]."""


def objective_for(
    network: nn.Module,
    client: Client,
    distance: Distance,
    total_variation_weight: float,
    shape: tuple[int, ...],
    statistics_weight: float = 0,
) -> "Objective | TangentObjective":
    """Choose the tangent passes where they know the network and client, else automatic differentiation. Arguments are
    those of `Objective`, and the `shape` of one trial's images, [n, 3, h, w].
    """
    together = runs_together(network)
    matching = _matching(network, client, distance, shape, together=together)
    if matching is None:
        return Objective(network, client, distance, total_variation_weight, statistics_weight)
    return TangentObjective(matching, total_variation_weight, together=together)


def _matching(
    network: nn.Module, client: Client, distance: Distance, shape: tuple[int, ...], *, together: bool
) -> Matching | None:
    """Build the gradient-matching loss by tangent passes, if they know the network and the client."""
    if client.batch_norm == "training":
        return None
    function = distance_of(distance)
    if client.kind == "gradient":
        options = PassOptions(together=together, products=isinstance(function, InnerProductDistance))
        passes = trace(network, shape, options)
        return MatchingOfGradient(passes, function) if passes else None
    if together:  # after the first step every trial has parameters of its own, which the passes do not support
        return None
    passes = trace(network, (client.batch_size or shape[0], *shape[1:]), PassOptions())
    return MatchingOfLocalSteps(passes, client, function, network.parameters()) if passes else None


class Objective:
    """Gradient-matching loss plus weighted priors of candidate images, by automatic differentiation.

    The priors are total variation (Eq. 4) and, for a client that sends its batch statistics, the squared distance of
    the candidates' to these (Yin et al. 2021, R_BN).

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
        self._distance = distance_of(distance)
        self._total_variation_weight = total_variation_weight
        self._together = runs_together(network)

    def prepared(self, targets: Targets) -> Targets:
        """Return the targets in the memory order that suits `gradient`."""
        return targets

    def gradient(self, images: Tensor, labels: Tensor, targets: Targets) -> Evaluation:
        """Evaluate candidate images [trials, n, 3, h, w]."""
        soft = labels.is_floating_point()
        function = grad_and_value(self._of_one, argnums=(0, 1) if soft else (0,), has_aux=True)
        gradients, (objective, matching) = self._of_each(function, images, labels, targets)
        return Evaluation(gradients[0], gradients[1] if soft else None, objective, matching)

    def matching_cost(self, images: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        """Return the gradient-matching loss without the priors, [trials], of images [trials, n, 3, h, w]."""
        with torch.no_grad():
            cost: Tensor = self._of_each(self._of_one, images, labels, targets)[1]
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

    def _of_each(self, function: Callable[..., Any], images: Tensor, labels: Tensor, targets: Targets) -> Any:
        """Stack the function's results for every trial."""
        arguments = (images, labels, targets.target, targets.weights, targets.chosen, targets.statistics)
        if self._together:
            return vmap(function)(*arguments)
        each = [function(*tree_map(itemgetter(trial), arguments)) for trial in range(len(images))]
        return tree_map(lambda *results: torch.stack(results), *each)


class TangentObjective:
    """The same as `Objective`, up to rounding, by tangent passes (see `invgrad.tangent.passes`)."""

    def __init__(self, matching: Matching, total_variation_weight: float, *, together: bool) -> None:
        """`together`: whether `matching` takes many trials at once."""
        self._matching = matching
        self._total_variation_weight = total_variation_weight
        self._together = together

    def prepared(self, targets: Targets) -> Targets:
        """See `Objective.prepared`."""
        return self._matching.prepared(targets)

    @torch.no_grad()
    def gradient(self, images: Tensor, labels: Tensor, targets: Targets) -> Evaluation:
        """See `Objective.gradient`."""
        image_gradient, label_gradient, matching = self._of_each(images, labels, targets)
        objective = matching
        if self._total_variation_weight:
            objective = matching + self._total_variation_weight * vmap(total_variation)(images)
            image_gradient = image_gradient + self._total_variation_weight * total_variation_gradient(images)
        soft = labels.is_floating_point()
        return Evaluation(image_gradient, label_gradient if soft else None, objective, matching)

    @torch.no_grad()
    def matching_cost(self, images: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        """See `Objective.matching_cost`."""
        return self._of_each(images, labels, targets)[2]

    def _of_each(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, ...]:
        """Return the gradients of the gradient-matching loss with respect to images and to labels (without meaning for
        class indices), and the loss.
        """
        if self._together or len(images) == 1:
            return self._of_some(images, labels, targets)
        parts = [slice(trial, trial + 1) for trial in range(len(images))]
        results = [self._of_some(images[part], labels[part], targets.part(part)) for part in parts]
        return tuple(torch.cat(each) for each in zip(*results, strict=True))

    def _of_some(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, ...]:
        if not labels.is_floating_point():
            return self._matching(images, labels, targets)
        expected = labels.softmax(-1)
        image_gradient, gradient, matching = self._matching(images, expected, targets)
        # From the probabilities to the soft labels, of which they are the softmax.
        label_gradient = expected * (gradient - (expected * gradient).sum(-1, keepdim=True))
        return image_gradient, label_gradient, matching


def total_variation_gradient(images: Tensor) -> Tensor:
    """Return the gradient of every trial's `total_variation`, of images [trials, n, 3, h, w]; 0 between equal
    neighbours.
    """
    gradient = torch.zeros_like(images)
    for dim in (-1, -2):
        signs = images.diff(dim=dim).sign()
        signs /= signs[0].numel()
        gradient.narrow(dim, 1, signs.shape[dim]).add_(signs)
        gradient.narrow(dim, 0, signs.shape[dim]).sub_(signs)
    return gradient
