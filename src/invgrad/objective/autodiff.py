"""The attacker's objective and its gradient, for a batch of independent trials."""

from collections.abc import Callable
from operator import itemgetter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from invgrad.clients import by_graph
from invgrad.clients.differentiation import differentiable_twice, refusing_what_has_no_derivative
from invgrad.clients.loss import trainable
from invgrad.clients.protocols import loss_of, sent_statistics, share
from invgrad.clients.settings import Client
from invgrad.networks.logits import logits_of
from invgrad.networks.parallelism import runs_together
from invgrad.objective.distances import distance_of
from invgrad.objective.evaluation import Evaluation
from invgrad.objective.priors import total_variation
from invgrad.objective.settings import Distance
from invgrad.objective.targets import Targets
from invgrad.settings import SettingsError


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
        """Take a `network` in evaluation mode; its batch-norm layers follow the client's settings."""
        self._network = network
        self._loss = loss_of(client, network)
        self._statistics = sent_statistics(client, network)
        self._statistics_weight = statistics_weight
        self._parameters = trainable(network)
        self._client = client
        self._distance = distance_of(distance)
        self._total_variation_weight = total_variation_weight
        self.together = runs_together(network)
        """True if many trials run at once."""

    @property
    def at_once(self) -> int | None:
        """Trials that run at once; None for as many as fit into memory."""
        return None if self.together else 1

    def settle(self, shape: tuple[int, ...]) -> None:
        """Try the objective on noise of `shape`, [n, 3, h, w], for one trial.

        If torch.func cannot batch the network, trials will run one by one.
        Raises `SettingsError` if the objective has no gradient.
        """
        parameter = next(iter(self._parameters.values()))
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0), device="cpu").to(parameter)
        labels = logits_of(self._network, images).argmin(1)  # no gradient vanishes at the least likely classes
        with differentiable_twice(self._network), refusing_what_has_no_derivative():
            self._refuse_no_gradient(images.clone().requires_grad_(), labels)
        self.together = self.together and self._can_batch(images, labels)

    def _can_batch(self, images: Tensor, labels: Tensor) -> bool:
        """Decide whether torch.func can batch the objective."""
        ones = images.new_ones(1, len(self._parameters))
        target = tuple(torch.ones_like(each)[None] for each in self._parameters.values())
        sent = tuple(each[None] for each in self._statistics(self._parameters, images))
        targets = Targets(target=target, squares=ones, weights=ones, chosen=ones, statistics=sent)
        try:
            self.gradient(images[None], labels[None], targets)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of whichever kind: torch.func and the network's own code raise many
            return False
        return True

    def _refuse_no_gradient(self, images: Tensor, labels: Tensor) -> None:
        """Raise an error if what a client shares cannot be differentiated, or does not change with the images."""
        shared = share(self._client, self._loss, self._parameters, images, labels, by_graph.grad)
        size = torch.stack([each.abs().sum() for each in shared]).sum()
        if size.requires_grad:
            size.backward()  # unlike torch.autograd.grad, it does not pass over what is differentiable once only
        if images.grad is None or not images.grad.any():
            raise SettingsError(
                "network: its gradient does not change with the images, as far as automatic differentiation can follow "
                "(argmax, rounding, integers and detach() end it)"
            )

    def prepared(self, targets: Targets) -> Targets:
        """Return the targets in the memory order that suits `gradient`."""
        return targets

    def gradient(self, images: Tensor, labels: Tensor, targets: Targets) -> Evaluation:
        """Evaluate candidate images [trials, n, 3, h, w]."""
        soft = labels.is_floating_point()
        function = self._by.grad_and_value(self._of_one, argnums=(0, 1) if soft else (0,), has_aux=True)
        gradients, (objective, matching) = self._of_each(function, images, labels, targets)
        return Evaluation(gradients[0], gradients[1] if soft else None, objective, matching)

    def matching_cost(self, images: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        """Return the gradient-matching loss without the priors, [trials], of images [trials, n, 3, h, w]."""
        with torch.no_grad():
            cost: Tensor = self._of_each(self._of_one, images, labels, targets)[1]
        return cost

    @property
    def _by(self) -> ModuleType:
        """The module whose functions differentiate."""
        return torch.func if self.together else by_graph

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
        shared = share(self._client, self._loss, self._parameters, images, expected, self._by.grad)
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
        with differentiable_twice(self._network):
            if self.together:
                return torch.func.vmap(function)(*arguments)
            each = [function(*tree_map(itemgetter(trial), arguments)) for trial in range(len(images))]
        return tree_map(lambda *results: torch.stack(results), *each)
