"""Settings of the gradient-matching loss: distance, choice and weighting of layers. Imports no torch.

A layer is a parameter tensor of the network.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt

from invgrad.settings import Settings


class SquaredEuclidean(Settings):
    """Sum of squared differences (Zhu et al. 2019)."""

    kind: Literal["squared-euclidean"] = "squared-euclidean"


class L1(Settings):
    """Sum of absolute differences."""

    kind: Literal["l1"] = "l1"


class Maximum(Settings):
    """Sum over the layers of the largest absolute difference."""

    kind: Literal["maximum"] = "maximum"


class Cosine(Settings):
    """1 − cosine similarity of all chosen layers as one vector (Sec. 4, Eq. 4), in [0, 2]; not a number where a
    gradient vanishes.
    """

    kind: Literal["cosine"] = "cosine"


class LayerwiseCosine(Settings):
    """Sum over the layers of 1 − weight · cosine similarity, in [0, 2·layers]; a layer whose gradient vanishes counts
    as orthogonal.
    """

    kind: Literal["layerwise-cosine"] = "layerwise-cosine"


class PrunedCosine(Settings):
    """1 − cosine similarity over the entries that are not 0 in the shared gradient, in [0, 2].

    It is for an attacker who knows that clients prune what they share.
    """

    kind: Literal["pruned-cosine"] = "pruned-cosine"


Distance = Annotated[
    SquaredEuclidean | L1 | Maximum | Cosine | LayerwiseCosine | PrunedCosine,
    Field(discriminator="kind"),
]
"""Distance between the shared gradient and a simulated one."""


class LayerChoice(Settings):
    """Choice of the layers that enter the distance."""

    redrawn: ClassVar[bool] = False
    """True if every iteration makes another choice."""


class AllLayers(LayerChoice):
    """Every layer (released code: `def`)."""

    kind: Literal["all"] = "all"


class FirstLayers(LayerChoice):
    """The first `count` layers (released code: `first`, `first4`, `first5`, …)."""

    kind: Literal["first"] = "first"
    count: int = Field(default=4, ge=1)


class LastLayers(LayerChoice):
    """The last `count` layers (released code: `last5`, `last10`, …)."""

    kind: Literal["last"] = "last"
    count: int = Field(default=5, ge=1)


class LargestLayers(LayerChoice):
    """The `count` layers of largest target norm (released code: `topk-1`, which takes 4, and `top10`, …)."""

    kind: Literal["largest"] = "largest"
    count: int = Field(default=4, ge=1)


class ListedLayers(LayerChoice):
    """An explicit list of layers, counted from 0 in the order of the parameters."""

    kind: Literal["listed"] = "listed"
    layers: tuple[NonNegativeInt, ...] = Field(min_length=1)


class RandomLayers(LayerChoice):
    """`count` layers, drawn in every iteration (released code: `batch`, with 8)."""

    redrawn: ClassVar[bool] = True

    kind: Literal["random"] = "random"
    count: int = Field(default=8, ge=1)


Layers = Annotated[
    AllLayers | FirstLayers | LastLayers | LargestLayers | ListedLayers | RandomLayers,
    Field(discriminator="kind"),
]

Weighting = Literal["equal", "linear", "exponential"]
"""Fall of the weights from the first layer to the last."""
