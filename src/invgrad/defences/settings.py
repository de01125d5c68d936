"""Settings of defences. Imports no torch, so that a plan is made without it."""

from typing import Annotated, Literal

from pydantic import Field

from invgrad.settings import Settings


class Noise(Settings):
    """Gaussian noise on an update that is clipped to the norm `clip`; standard deviation: `multiplier` · `clip`.

    The bounds are far beyond what protects an update or leaves something of it.
    """

    kind: Literal["noise"] = "noise"
    clip: float = Field(ge=1e-6, le=1e6)
    multiplier: float = Field(ge=1e-6, le=1e6)


class Pruning(Settings):
    """Zeros in place of this share of the update's entries, those smallest in magnitude (rounded down)."""

    kind: Literal["pruning"] = "pruning"
    share: float = Field(ge=0, lt=1)


class Quantisation(Settings):
    """Rounding of the update's entries to 2^bits − 1 evenly spaced values between ± its largest magnitude."""

    kind: Literal["quantisation"] = "quantisation"
    bits: int = Field(ge=2, le=16)


class Sign(Settings):
    """The sign of each of the update's entries, times their mean magnitude."""

    kind: Literal["sign"] = "sign"


Defence = Annotated[Noise | Pruning | Quantisation | Sign, Field(discriminator="kind")]
