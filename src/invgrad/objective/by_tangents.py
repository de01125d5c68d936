"""Gradient-matching loss of candidate images, and its gradient, by tangent passes."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor
from torch.func import vmap

from invgrad.clients.protocols import shared_of
from invgrad.clients.settings import FederatedAveraging
from invgrad.objective.branches import Branches
from invgrad.objective.distances import DistanceFunction, InnerProductDistance
from invgrad.objective.evaluation import Evaluation
from invgrad.objective.priors import total_variation, total_variation_gradient
from invgrad.objective.targets import Targets
from invgrad.tangent.passes import Passes, Tape

Values = tuple[Tensor, ...]
"""One tensor for each parameter."""


class Matching(Protocol):
    """The gradient-matching loss of many trials and its gradient."""

    def __call__(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients with respect to images [trials, n, 3, h, w] and to `labels`, probabilities of the
        classes [trials, n, classes] (without meaning where class indices [trials, n] are given), and the loss [trials].
        """


class MatchingOfGradient:
    """The loss for clients that share a gradient (federated SGD)."""

    def __init__(self, passes: Passes, distance: DistanceFunction) -> None:
        self._passes = passes
        self._distance = distance

    def __call__(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Take one tangent along v = ∂D/∂G."""
        if isinstance(self._distance, InnerProductDistance):
            tape = self._passes.forward_backward(images, labels, unit_scale=True)
            products = self._passes.products(tape, targets.target)
            loss, along, against = _of_products(self._distance, products.inner, products.squares, targets)
            directions = self._passes.combined(tape, products, targets.target, along, against)
        else:
            tape = self._passes.forward_backward(images, labels)
            gradient = self._passes.gradient(tape)
            loss, direction = self._distance.with_direction(gradient, targets.target, targets.weights, targets.chosen)
            directions = self._passes.along(direction)
        tangents = self._passes.tangent(tape, directions)
        return tangents.images, tangents.probabilities, loss


class MatchingOfLocalSteps:
    """The loss for clients that share an update after local SGD steps (federated averaging), one trial at a time.

    A step is θ' = θ − τ·G(θ, x). On the way back λ = ∂D/∂θ follows from λ' = ∂D/∂θ' as λ = λ' − τ·H·λ', where H are
    the second derivatives of the step's loss for the parameters, and the step adds −τ·∂⟨G, λ'⟩/∂x to ∂D/∂x. Both come
    from the tangents of the passes along λ'. Only the parameters of every step are kept, and the tape of the last one;
    on the way back the first two passes are computed again. Keeping every tape would save a fifth of the time.
    """

    def __init__(
        self, passes: Passes, client: FederatedAveraging, distance: DistanceFunction, parameters: Iterable[Tensor]
    ) -> None:
        """Take the `parameters` from which the clients start; the call also binds the passes to others."""
        self._passes = passes
        self._client = client
        self._distance = distance
        self._parameters = tuple(parameter.detach() for parameter in parameters)

    def __call__(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Take one tangent for each local step, from the last to the first."""
        batches = self._client.batches(images.shape[1])
        path, tape = self._steps(images, labels, batches)
        shared = [each[None] for each in shared_of(self._client, path[-1], path[0])]
        loss, adjoint = self._distance.with_direction(shared, targets.target, targets.weights, targets.chosen)
        image_gradient, label_gradient = torch.zeros_like(images), torch.zeros_like(labels)
        for number in reversed(range(len(batches))):
            batch = batches[number]
            if number + 1 < len(batches):
                tape = self._tape(path[number], images[:, batch], labels[:, batch])
            tangents = self._passes.tangent(tape, self._passes.along(adjoint))
            image_gradient[:, batch] -= self._client.learning_rate * tangents.images
            if labels.is_floating_point():
                label_gradient[:, batch] -= self._client.learning_rate * tangents.probabilities
            if number:
                adjoint = self._stepped(adjoint, self._passes.gradient_tangent(tape, tangents))
        return image_gradient, label_gradient, loss

    def _steps(self, images: Tensor, labels: Tensor, batches: list[slice]) -> tuple[list[Values], Tape]:
        """Return the parameters before the first step and after each, and the tape of the last."""
        path = [self._parameters]
        for batch in batches:
            tape = self._tape(path[-1], images[:, batch], labels[:, batch])
            path.append(self._stepped(path[-1], [each[0] for each in self._passes.gradient(tape)]))
        return path, tape

    def _tape(self, parameters: Values, images: Tensor, labels: Tensor) -> Tape:
        self._passes.bind(parameters)
        return self._passes.forward_backward(images, labels)

    def _stepped(self, values: Iterable[Tensor], gradient: Iterable[Tensor]) -> Values:
        pairs = zip(values, gradient, strict=True)
        return tuple(value - self._client.learning_rate * each for value, each in pairs)


def _of_products(
    distance: InnerProductDistance, inner: Tensor, squares: Tensor, targets: Targets
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distance D [trials], and the factors of target and gradient in ∂D/∂gradient, [trials, layers] each."""
    with torch.enable_grad():
        leaves = inner.requires_grad_(), squares.requires_grad_()
        value = distance.of_products(*leaves, targets.squares, targets.weights, targets.chosen)
        along, of_squares = torch.autograd.grad(value.sum(), leaves)
    return value.detach(), along, 2 * of_squares


class TangentObjective:
    """The values of `Objective`, up to rounding, by tangent passes (see `invgrad.tangent.passes`)."""

    def __init__(self, matching: Matching, total_variation_weight: float, branches: Branches | None) -> None:
        """Take `matching` of one trial at a time, on these branches, or of many trials at once without any."""
        self._matching = matching
        self._total_variation_weight = total_variation_weight
        self._branches = branches
        self.at_once = branches.at_once if branches else None
        """Trials that run at once; None for as many as fit into memory."""

    def prepared(self, targets: Targets) -> Targets:
        """Return the targets as they are."""
        return targets

    @torch.no_grad()
    def gradient(self, images: Tensor, labels: Tensor, targets: Targets) -> Evaluation:
        """Evaluate candidate images [trials, n, 3, h, w]."""
        image_gradient, label_gradient, matching = self._of_each(images, labels, targets)
        objective = matching
        if self._total_variation_weight:
            objective = matching + self._total_variation_weight * vmap(total_variation)(images)
            image_gradient = image_gradient + self._total_variation_weight * total_variation_gradient(images)
        soft = labels.is_floating_point()
        return Evaluation(image_gradient, label_gradient if soft else None, objective, matching)

    @torch.no_grad()
    def matching_cost(self, images: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        """Return the gradient-matching loss without the priors, [trials], of images [trials, n, 3, h, w]."""
        return self._of_each(images, labels, targets)[2]

    def _of_each(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, ...]:
        """Return the gradients of the gradient-matching loss with respect to images and to labels (without meaning for
        class indices), and the loss.
        """
        if self._branches is None or len(images) == 1:
            return self._of_some(images, labels, targets)

        def of_one(trial: int) -> tuple[Tensor, ...]:
            part = slice(trial, trial + 1)
            return self._of_some(images[part], labels[part], targets.part(part))

        results = self._branches.each(of_one, len(images))
        return tuple(torch.cat(each) for each in zip(*results, strict=True))

    def _of_some(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, ...]:
        if not labels.is_floating_point():
            return self._matching(images, labels, targets)
        expected = labels.softmax(-1)
        image_gradient, gradient, matching = self._matching(images, expected, targets)
        return image_gradient, of_soft_labels(expected, gradient), matching


def of_soft_labels(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with respect to soft labels, from their softmax and the gradient with respect to that."""
    return probabilities * (gradient - (probabilities * gradient).sum(-1, keepdim=True))
