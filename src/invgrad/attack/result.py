"""Result of an attack: images, labels and the course of every restart."""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The reconstructions of every client, with the loss and the iterations of every restart."""

    images: Tensor
    """Selected images [clients, n, 3, h, w] in normalised coordinates; not a number where every restart failed."""
    labels: Tensor
    """Labels that the attack used or found, [clients, n]; −1 for an attack that does neither."""
    matching_cost: Tensor
    """Final gradient-matching loss of every restart, without the priors, [clients, restarts]; not finite where it
    failed, not a number for an attack that matches nothing.
    """
    iterations: Tensor
    """Iterations of every restart, [clients, restarts]."""
    selected: Tensor
    """The selected restart [clients]; −1 where every restart failed or the restarts were averaged."""
    trajectory: Tensor = field(default_factory=partial(torch.empty, 0))
    """Snapshots of every restart's candidates, [clients, restarts, points, n, 3, h, w], float16, on the CPU, in
    normalised coordinates; no points without snapshots.
    """
    trajectory_cost: Tensor = field(default_factory=partial(torch.empty, 0))
    """Gradient-matching loss of exactly these candidates, [clients, restarts, points], on the CPU. If every iteration
    redraws `layers`, it counts the layers of that iteration; at the last point it is the final one, of all layers.
    """
    trajectory_iteration: Tensor = field(default_factory=partial(torch.empty, 0, dtype=torch.long))
    """Iterations after which they were kept, int64 [points]. A trial that stopped earlier stays as it was."""
