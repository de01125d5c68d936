"""Facts on a cell that the verdicts go by, besides its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """Facts on one cell, named as in its description."""

    deviations: Sequence[str] = ()
    """Reasons why it cannot be compared with the paper; none if it can."""
    left_out: str | None = None
    """Reason why it was left out on purpose; None if it was not."""
    total_variation: float | None = None
    """Weight α of the total variation; None for an attack without one."""
    weight_known: bool = True
    """True if that is known to be the paper's α; none at all is no α that could be unknown."""
    alike: str = ""
    """Digest of the victim, the clients and the attack but for α and which images: equal for the cells of a grid."""
    copies_of: str | None = None
    """Cell that attacks the images of which this one attacks JPEG copies; None if it attacks images as they are."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """Take the facts from a cell of `description.json` or of a notebook's parameters."""
        return cls(**{field.name: about[field.name] for field in fields(cls) if field.name in about})
