"""Targets of the gradient-matching loss: the shared gradients or updates that trials are to reproduce."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The observed gradients or updates of a batch of trials, and the layers that count in matching them.

    Every tensor has a leading trial dimension.
    """

    target: tuple[Tensor, ...]
    """Shared gradient or update of each trial's client, [trials, *parameter.shape] for every parameter."""
    squares: Tensor
    """Squared norms of these, [trials, layers]."""
    weights: Tensor
    """Layer weights [trials, layers]."""
    chosen: Tensor
    """1 for the layers that count, [trials, layers]."""
    statistics: tuple[Tensor, ...] = ()
    """Batch statistics of each trial's client, [trials, channels] each, if it sent them."""

    packed: Tensor | None = None
    """The targets once more, as a compiled program reads them (see `invgrad.tangent.program`)."""

    def part(self, which: slice) -> "Targets":
        """Select some of the trials."""
        return Targets(
            target=tuple(tensor[which] for tensor in self.target),
            squares=self.squares[which],
            weights=self.weights[which],
            chosen=self.chosen[which],
            statistics=tuple(tensor[which] for tensor in self.statistics),
        )
