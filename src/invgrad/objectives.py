"""How far a simulated shared gradient is from the observed one: distances, layer choice and layer weighting.

Everything here is for one trial; the engine maps it over a batch of trials. A gradient is a tuple of tensors in the
order of the network's parameters. Source: `reconstruction_costs` of the released code.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor

from invgrad.settings import Settings, SettingsError

Gradient = Sequence[Tensor]


class DistanceSettings(Settings):
    """A distance between two gradients, layer by layer weighted."""

    @abstractmethod
    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """The scalar distance. `weights` [layers] are the layers' weights, `chosen` [layers] is 1 where a layer counts
        and 0 elsewhere.
        """


class SquaredEuclidean(DistanceSettings):
    """Sum of squared differences (Zhu et al. 2019)."""

    kind: Literal["squared-euclidean"] = "squared-euclidean"

    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """In [0, ∞)."""
        terms = [(g - t).square().sum() for g, t in zip(gradient, target, strict=True)]
        return (torch.stack(terms) * weights * chosen).sum()


class L1(DistanceSettings):
    """Sum of absolute differences."""

    kind: Literal["l1"] = "l1"

    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """In [0, ∞)."""
        terms = [(g - t).abs().sum() for g, t in zip(gradient, target, strict=True)]
        return (torch.stack(terms) * weights * chosen).sum()


class Maximum(DistanceSettings):
    """Sum over the layers of the largest absolute difference."""

    kind: Literal["maximum"] = "maximum"

    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """In [0, ∞)."""
        terms = [(g - t).abs().max() for g, t in zip(gradient, target, strict=True)]
        return (torch.stack(terms) * weights * chosen).sum()


class Cosine(DistanceSettings):
    """1 − cosine similarity of all chosen layers as one vector (Sec. 4, Eq. 4)."""

    kind: Literal["cosine"] = "cosine"

    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """In [0, 2]; not a number where a gradient vanishes."""
        products = torch.stack([(g * t).sum() for g, t in zip(gradient, target, strict=True)])
        squares = torch.stack([g.square().sum() for g in gradient])
        target_squares = torch.stack([t.square().sum() for t in target])
        inner, norm, target_norm = ((each * weights * chosen).sum() for each in (products, squares, target_squares))
        return 1 - inner / (norm.sqrt() * target_norm.sqrt())


class LayerwiseCosine(DistanceSettings):
    """Sum over the layers of 1 − weight · cosine similarity."""

    kind: Literal["layerwise-cosine"] = "layerwise-cosine"

    def __call__(self, gradient: Gradient, target: Gradient, weights: Tensor, chosen: Tensor) -> Tensor:
        """In [0, 2·layers]; a layer whose gradient vanishes counts as orthogonal."""
        similarity = [
            torch.cosine_similarity(g.flatten(), t.flatten(), 0, 1e-10) for g, t in zip(gradient, target, strict=True)
        ]
        return ((1 - torch.stack(similarity) * weights) * chosen).sum()


Distance = Annotated[
    SquaredEuclidean | L1 | Maximum | Cosine | LayerwiseCosine,
    Field(discriminator="kind"),
]


class LayerChoice(Settings):
    """Which layers (parameter tensors) enter the distance."""

    @abstractmethod
    def mask(self, target: Gradient) -> Tensor:
        """1 for every layer that counts, 0 for the others, shape [layers], for one trial's `target`."""


class AllLayers(LayerChoice):
    """Every layer (released code: `def`)."""

    kind: Literal["all"] = "all"

    def mask(self, target: Gradient) -> Tensor:
        """All ones."""
        return target[0].new_ones(len(target))


class FirstLayers(LayerChoice):
    """The first `count` layers (released code: `first`, `first4`, `first5`, …)."""

    kind: Literal["first"] = "first"
    count: int = Field(default=4, ge=1)

    def mask(self, target: Gradient) -> Tensor:
        """Ones, then zeros."""
        return _mask(target, range(min(self.count, len(target))))


class LastLayers(LayerChoice):
    """The last `count` layers (released code: `last5`, `last10`, …)."""

    kind: Literal["last"] = "last"
    count: int = Field(default=5, ge=1)

    def mask(self, target: Gradient) -> Tensor:
        """Zeros, then ones."""
        return _mask(target, range(max(0, len(target) - self.count), len(target)))


class LargestLayers(LayerChoice):
    """The `count` layers of largest target norm (released code: `topk-1`, which takes 4, and `top10`, …)."""

    kind: Literal["largest"] = "largest"
    count: int = Field(default=4, ge=1)

    def mask(self, target: Gradient) -> Tensor:
        """Ones at the largest norms."""
        norms = torch.stack([tensor.norm() for tensor in target])
        return _mask(target, norms.topk(min(self.count, len(target))).indices.tolist())


class ListedLayers(LayerChoice):
    """An explicit list of layers, counted from 0 in the order of the parameters."""

    kind: Literal["listed"] = "listed"
    layers: tuple[NonNegativeInt, ...] = Field(min_length=1)

    def mask(self, target: Gradient) -> Tensor:
        """Ones at the listed layers; raises `SettingsError` for a layer that the network does not have."""
        if max(self.layers) >= len(target):
            raise SettingsError(f"layer {max(self.layers)} does not exist; the last one is {len(target) - 1}")
        return _mask(target, self.layers)


Layers = Annotated[
    AllLayers | FirstLayers | LastLayers | LargestLayers | ListedLayers,
    Field(discriminator="kind"),
]

Weighting = Literal["equal", "linear", "exponential"]


def layer_weights(weighting: Weighting, target: Gradient) -> Tensor:
    """Weights [layers], the first one 1: equal, falling linearly to 1/layers, or falling as exp(−layer)."""
    falling = torch.arange(len(target), 0, -1, dtype=target[0].dtype, device=target[0].device)
    match weighting:
        case "linear":
            return falling / len(target)
        case "exponential":
            return (falling - falling[0]).exp()
        case _:
            return torch.ones_like(falling)


def _mask(target: Gradient, layers: Sequence[int]) -> Tensor:
    mask = target[0].new_zeros(len(target))
    mask[list(layers)] = 1
    return mask
