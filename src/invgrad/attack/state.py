"""State of a batch of trials between two iterations: all that the next iteration depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from invgrad.attack.optimisers import Stepper
from invgrad.attack.settings import Attack


class Snapshots:
    """Candidates of a batch of trials at some moments, and their gradient-matching losses, on the CPU."""

    def __init__(self, moments: Sequence[int], images: Tensor) -> None:
        """Take ascending `moments`, in finished iterations, and the initial candidates `images`."""
        self._moments = moments
        points = len(images), len(moments)
        self.images = torch.empty(*points, *images.shape[1:], dtype=torch.float16, device="cpu")
        self.cost = torch.empty(points, dtype=images.dtype, device="cpu")
        self.keep(0, images)

    def keep(self, done: int, images: Tensor) -> None:
        """Keep these candidates if this is a moment; their loss is known when the next iteration is done."""
        if done in self._moments:
            self.images[:, self._moments.index(done)] = images

    def price(self, done: int, cost: Tensor) -> None:
        """Keep the gradient-matching loss of the candidates after this many iterations."""
        if done in self._moments:
            self.cost[:, self._moments.index(done)] = cost

    def end(self, done: int, images: Tensor, cost: Tensor) -> None:
        """Keep the final candidates and their loss, for this and all later moments."""
        rest = [moment >= done for moment in self._moments]
        self.images[:, rest] = images[:, None].to("cpu", torch.float16)
        self.cost[:, rest] = cost[:, None].cpu()


@dataclass(kw_only=True)
class BatchState:
    """The state of a batch of trials."""

    images: Tensor
    """Candidates [trials, n, 3, h, w], changed in place by `stepper`."""
    labels: Tensor
    """Class indices [trials, n], or soft labels [trials, n, classes], changed likewise."""
    stepper: Stepper
    snapshots: Snapshots
    generators: Sequence[torch.Generator]
    """A generator per trial, if trials draw something in every iteration."""
    running: Tensor
    """True for the trials that have not stopped, [trials]."""
    taken: Tensor
    """Iterations of every trial, [trials]."""
    done: int = 0
    """Iterations done."""

    @property
    def variables(self) -> list[Tensor]:
        """The optimised tensors: images, and soft labels."""
        return [self.images, self.labels] if self.labels.is_floating_point() else [self.images]

    def advance(self, matching: Tensor) -> None:
        """Count one more iteration; `matching` [trials] is the gradient-matching loss of the candidates before it."""
        self.taken += self.running
        self.snapshots.price(self.done, matching)
        self.done += 1
        self.snapshots.keep(self.done, self.images)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by name; the tensors themselves, not copies."""
        random = {f"random.{number}": each.get_state() for number, each in enumerate(self.generators)}
        return {"done": torch.tensor(self.done), **random, **self._in_place()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state of a batch of the same trials from its `tensors`."""
        for name, tensor in self._in_place().items():
            tensor.copy_(tensors[name])
        for number, generator in enumerate(self.generators):
            generator.set_state(tensors[f"random.{number}"])
        self.done = int(tensors["done"])

    def _in_place(self) -> dict[str, Tensor]:
        stepper = {f"stepper.{name}": tensor for name, tensor in self.stepper.state().items()}
        snapshots = {"snapshots.images": self.snapshots.images, "snapshots.cost": self.snapshots.cost}
        own = {name: getattr(self, name) for name in ("images", "labels", "running", "taken")}
        return {**own, **stepper, **snapshots}


class Outcome(NamedTuple):
    """Outcome of a batch of trials; every tensor has a leading trial dimension."""

    images: Tensor
    labels: Tensor
    """Labels that the attack used or found, [trials, n]."""
    matching_cost: Tensor
    iterations: Tensor
    trajectory: Tensor
    """Snapshots of the candidates, [trials, points, n, 3, h, w]."""
    trajectory_cost: Tensor


def moments(attack: Attack) -> list[int]:
    """Return the numbers of iterations after which the candidates are kept: evenly spread from 0 to all iterations.

    A single one is the last, and no number appears twice.
    """
    spread = torch.linspace(attack.iterations, 0, attack.snapshots, dtype=torch.float64, device="cpu")
    kept: list[int] = spread.round().long().unique().tolist()
    return kept
