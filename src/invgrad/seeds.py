"""Randomness derived from names, so that a result does not depend on what else runs."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(*parts: object) -> int:
    """A seed in [0, 2⁶³) that depends on the text of every part and on their order."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object) -> "torch.Generator":
    """A fresh CPU generator seeded from `parts`."""
    import torch

    return torch.Generator().manual_seed(derive(*parts))
