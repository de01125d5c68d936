"""Result of an attack."""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The result for every client."""

    images: Tensor
    """Selected images [clients, n, 3, h, w] in normalised coordinates; not a number where every restart failed."""
    labels: Tensor
    """The labels that the attack used, or found, [clients, n]; −1 of an attack that does neither."""
    matching_cost: Tensor
    """Final matching cost of every restart without the prior, [clients, restarts]; not finite where it failed, not a
    number of an attack that matches nothing.
    """
    iterations: Tensor
    """How many iterations every restart took, [clients, restarts]."""
    selected: Tensor
    """The selected restart [clients]; −1 where every restart failed or the restarts were averaged."""
    trajectory: Tensor = field(default_factory=partial(torch.empty, 0))
    """The candidates of every restart on the way, [clients, restarts, points, n, 3, h, w], float16, on the CPU, in
    normalised coordinates; no points without snapshots.
    """
    trajectory_cost: Tensor = field(default_factory=partial(torch.empty, 0))
    """The matching cost of exactly these candidates, [clients, restarts, points], on the CPU. With `layers` drawn anew
    for every iteration it is of the layers drawn then; that of the last point is the final one, of all layers.
    """
    trajectory_iteration: Tensor = field(default_factory=partial(torch.empty, 0, dtype=torch.long))
    """After how many iterations they were kept, int64 [points]. A trial that came to rest before stays as it was."""
