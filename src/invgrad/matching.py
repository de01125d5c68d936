"""How far what candidate images would make a client share is from what it did share, by hand-written passes."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from invgrad.clients.protocols import shared_of
from invgrad.clients.settings import FederatedAveraging
from invgrad.objectives import Distance, InnerProductDistance
from invgrad.tangent import Passes, Tape
from invgrad.trials import Trials

Values = tuple[Tensor, ...]
"""One for each parameter."""


class Matching(Protocol):
    """The matching cost of trials and its gradient."""

    def prepared(self, trials: Trials) -> Trials:
        """The same trials, in the memory order that suits the call."""

    def __call__(self, images: Tensor, labels: Tensor, trials: Trials) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients for images [trials, n, 3, h, w] and for `labels`, probabilities of the classes
        [trials, n, classes] (without meaning where class indices [trials, n] are given), and the cost [trials].
        """


class MatchingOfGradient:
    """For clients that share a gradient."""

    def __init__(self, passes: Passes, distance: Distance) -> None:
        self._passes = passes
        self._distance = distance

    def prepared(self, trials: Trials) -> Trials:
        """As the passes want the target."""
        return replace(trials, target=self._passes.prepared(trials.target))

    def __call__(self, images: Tensor, labels: Tensor, trials: Trials) -> tuple[Tensor, Tensor, Tensor]:
        """By one tangent along v = ∂D/∂G."""
        tape = self._passes.ordinary(images, labels)
        if isinstance(self._distance, InnerProductDistance):
            products = self._passes.products(tape, trials.target)
            cost, along, against = _of_products(self._distance, products.inner, products.squares, trials)
            directions = self._passes.combined(tape, products, trials.target, along, against)
        else:
            gradient = self._passes.gradient(tape)
            cost, direction = self._distance.with_direction(gradient, trials.target, trials.weights, trials.chosen)
            directions = self._passes.along(direction)
        tangents = self._passes.tangent(tape, directions)
        return tangents.images, tangents.probabilities, cost


class MatchingOfLocalSteps:
    """For clients that share what local SGD steps make of the parameters, one trial at a time.

    A step is θ' = θ − τ·G(θ, x). On the way back λ = ∂D/∂θ follows from λ' = ∂D/∂θ' as λ = λ' − τ·H·λ', where H are
    the second derivatives of the step's loss for the parameters, and the step adds −τ·∂⟨G, λ'⟩/∂x to ∂D/∂x. Both come
    from the tangents of the passes along λ'. Kept of a step are its parameters alone, but for the last one; on the way
    back the first two passes are made again, of which keeping everything would save a fifth of the time.
    """

    def __init__(
        self, passes: Passes, client: FederatedAveraging, distance: Distance, parameters: Iterable[Tensor]
    ) -> None:
        """`parameters`: those that the clients start from. The passes are used for others, too."""
        self._passes = passes
        self._client = client
        self._distance = distance
        self._parameters = tuple(parameter.detach() for parameter in parameters)

    def prepared(self, trials: Trials) -> Trials:
        """As they are."""
        return trials

    def __call__(self, images: Tensor, labels: Tensor, trials: Trials) -> tuple[Tensor, Tensor, Tensor]:
        """By one tangent for each local step, from the last to the first."""
        batches = self._client.batches(images.shape[1])
        way, tape = self._steps(images, labels, batches)
        shared = [each[None] for each in shared_of(self._client, way[-1], way[0])]
        cost, arriving = self._distance.with_direction(shared, trials.target, trials.weights, trials.chosen)
        slope, label_slope = torch.zeros_like(images), torch.zeros_like(labels)
        for number in reversed(range(len(batches))):
            batch = batches[number]
            if number + 1 < len(batches):
                tape = self._tape(way[number], images[:, batch], labels[:, batch])
            tangents = self._passes.tangent(tape, self._passes.along(arriving))
            slope[:, batch] -= self._client.learning_rate * tangents.images
            if labels.is_floating_point():
                label_slope[:, batch] -= self._client.learning_rate * tangents.probabilities
            if number:
                arriving = self._stepped(arriving, self._passes.gradient_tangent(tape, tangents))
        return slope, label_slope, cost

    def _steps(self, images: Tensor, labels: Tensor, batches: list[slice]) -> tuple[list[Values], Tape]:
        """The parameters before the first step and after each, and the tape of the last."""
        way = [self._parameters]
        for batch in batches:
            tape = self._tape(way[-1], images[:, batch], labels[:, batch])
            way.append(self._stepped(way[-1], [each[0] for each in self._passes.gradient(tape)]))
        return way, tape

    def _tape(self, parameters: Values, images: Tensor, labels: Tensor) -> Tape:
        self._passes.bind(parameters)
        return self._passes.ordinary(images, labels)

    def _stepped(self, values: Iterable[Tensor], gradient: Iterable[Tensor]) -> Values:
        pairs = zip(values, gradient, strict=True)
        return tuple(value - self._client.learning_rate * slope for value, slope in pairs)


def _of_products(
    distance: InnerProductDistance, inner: Tensor, squares: Tensor, trials: Trials
) -> tuple[Tensor, Tensor, Tensor]:
    """The distance D [trials], and the factors of target and gradient in ∂D/∂gradient, [trials, layers] each."""
    with torch.enable_grad():
        leaves = inner.requires_grad_(), squares.requires_grad_()
        value = distance.of_products(*leaves, trials.squares, trials.weights, trials.chosen)
        along, of_squares = torch.autograd.grad(value.sum(), leaves)
    return value.detach(), along, 2 * of_squares
