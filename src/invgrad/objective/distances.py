"""Distances between a simulated shared gradient and the observed one.

Distances are of a batch of trials: a gradient is a tuple of tensors [trials, *parameter.shape] in the order of the
network's parameters. Source: `reconstruction_costs` of the released code.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from invgrad.clients.loss import Gradient
from invgrad.objective.settings import L1, Cosine, Distance, LayerwiseCosine, Maximum, PrunedCosine, SquaredEuclidean
from invgrad.settings import Settings
from invgrad.tangent.scale import at_unit_scale


class DistanceFunction(ABC):
    """A distance between two gradients, weighted layer by layer."""

    @abstractmethod
    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """Return the distances [trials]. `weights` [trials, layers] are those of the layers, `chosen` [trials, layers]
        is 1 where a layer counts and 0 elsewhere.
        """

    def with_direction(
        self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the distances [trials], and their derivatives with respect to `gradient`."""
        with torch.enable_grad():
            leaves = tuple(each.detach().requires_grad_() for each in gradient)
            value = self(leaves, target, weights, chosen)
            direction = torch.autograd.grad(value.sum(), leaves)
        return value.detach(), direction


class InnerProductDistance(DistanceFunction):
    """A distance that depends on the gradients through each layer's inner products alone, and not on their scale.

    It and its derivative can therefore be computed without the gradient itself, and of gradients of unit scale (see
    `invgrad.tangent.scale`), whose squares neither underflow nor overflow.
    """

    @abstractmethod
    def of_products(
        self, inner: Tensor, squares: Tensor, target_squares: Tensor, weights: Tensor, chosen: Tensor
    ) -> Tensor:
        """Return the distances [trials] from ⟨gradient, target⟩, ‖gradient‖² and ‖target‖² of the layers,
        [trials, layers].
        """

    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """Return the distances [trials]."""
        gradient = at_unit_scale(gradient)
        inner = _sums([g * t for g, t in zip(gradient, target, strict=True)])
        return self.of_products(inner, squares(gradient), squares(target), weights, chosen)


class _SquaredEuclidean(DistanceFunction):
    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        differences = [g - t for g, t in zip(gradient, target, strict=True)]
        return (squares(differences) * weights * chosen).sum(-1)

    def with_direction(
        self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute both without automatic differentiation, for the many iterations of the L-BFGS baseline."""
        differences = [g - t for g, t in zip(gradient, target, strict=True)]
        factors = (2 * weights * chosen).unbind(1)
        direction = [
            each * factor.view(-1, *[1] * (each.dim() - 1)) for each, factor in zip(differences, factors, strict=True)
        ]
        return (squares(differences) * weights * chosen).sum(-1), tuple(direction)


class _L1(DistanceFunction):
    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        terms = _sums([(g - t).abs() for g, t in zip(gradient, target, strict=True)])
        return (terms * weights * chosen).sum(-1)


class _Maximum(DistanceFunction):
    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        terms = [(g - t).abs().reshape(len(g), -1).amax(1) for g, t in zip(gradient, target, strict=True)]
        return (torch.stack(terms, 1) * weights * chosen).sum(-1)


class _Cosine(InnerProductDistance):
    def of_products(
        self, inner: Tensor, squares: Tensor, target_squares: Tensor, weights: Tensor, chosen: Tensor
    ) -> Tensor:
        """Weight every layer's inner products."""
        weights = weights * chosen
        product, norm, target_norm = ((each * weights).sum(-1) for each in (inner, squares, target_squares))
        return 1 - product / (norm.sqrt() * target_norm.sqrt())


class _LayerwiseCosine(InnerProductDistance):
    def of_products(
        self, inner: Tensor, squares: Tensor, target_squares: Tensor, weights: Tensor, chosen: Tensor
    ) -> Tensor:
        """Count norms below 1e-10 as 1e-10, as the released code does; here of gradients of unit scale."""
        norms = squares.clamp(min=1e-20).sqrt() * target_squares.clamp(min=1e-20).sqrt()
        return ((1 - inner / norms * weights) * chosen).sum(-1)


class _PrunedCosine(DistanceFunction):
    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        kept = tuple(g * (t != 0) for g, t in zip(gradient, target, strict=True))
        return _Cosine()(kept, target, weights, chosen)


FUNCTIONS: dict[type[Settings], DistanceFunction] = {
    SquaredEuclidean: _SquaredEuclidean(),
    L1: _L1(),
    Maximum: _Maximum(),
    Cosine: _Cosine(),
    LayerwiseCosine: _LayerwiseCosine(),
    PrunedCosine: _PrunedCosine(),
}
"""The function of each member of `Distance`."""


def distance_of(settings: Distance) -> DistanceFunction:
    """Return the function that computes a distance."""
    return FUNCTIONS[type(settings)]


def squares(gradient: Gradient) -> Tensor:
    """Return the squared norm of every layer, [trials, layers]."""
    return _sums([tensor.square() for tensor in gradient])


def _sums(layers: Sequence[Tensor]) -> Tensor:
    """Sum the entries of each layer, [trials, layers]."""
    return torch.stack([each.reshape(len(each), -1).sum(1) for each in layers], 1)
