"""What the trials of an attack are matched against."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What a batch of trials is matched against; every tensor has a leading trial dimension."""

    target: tuple[Tensor, ...]
    """What each trial's client shared, [trials, *parameter.shape] for every parameter."""
    squares: Tensor
    """The squared norms of these, [trials, layers]."""
    weights: Tensor
    """Layer weights [trials, layers]."""
    chosen: Tensor
    """1 for the layers that count, [trials, layers]."""
    statistics: tuple[Tensor, ...] = ()
    """The batch statistics that each trial's client sent, [trials, channels] each, if it did."""

    def part(self, which: slice) -> "Trials":
        """Some of the trials."""
        return Trials(
            target=tuple(tensor[which] for tensor in self.target),
            squares=self.squares[which],
            weights=self.weights[which],
            chosen=self.chosen[which],
            statistics=tuple(tensor[which] for tensor in self.statistics),
        )
