"""A batch of trials on its way: all that its next iteration depends on, so that it can be stopped and go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from invgrad.optimisers import Stepper


class Keeper(Protocol):
    """Keeps the state of an attack (see `invgrad.unfinished.Unfinished`)."""

    def kept(self) -> Mapping[str, Tensor] | None:
        """The state to go on from, on the CPU, if there is one."""

    def due(self) -> bool:
        """Whether the state is to be kept now; asked after every iteration."""

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep this state instead of the one before."""


class Snapshots:
    """The candidates of a batch of trials at some moments, and their matching costs, on the CPU."""

    def __init__(self, moments: Sequence[int], images: Tensor) -> None:
        """`moments`: iterations done, ascending; `images`: the candidates at the start."""
        self._moments = moments
        points = len(images), len(moments)
        self.images = torch.empty(*points, *images.shape[1:], dtype=torch.float16)
        self.cost = torch.empty(points, dtype=images.dtype)
        self.keep(0, images)

    def keep(self, done: int, images: Tensor) -> None:
        """Keep these candidates if this is a moment; their cost is known when the next iteration is done."""
        if done in self._moments:
            self.images[:, self._moments.index(done)] = images

    def price(self, done: int, cost: Tensor) -> None:
        """The matching cost of the candidates after this many iterations."""
        if done in self._moments:
            self.cost[:, self._moments.index(done)] = cost

    def end(self, done: int, images: Tensor, cost: Tensor) -> None:
        """The final candidates and their cost: they are those of all moments from now on."""
        rest = [moment >= done for moment in self._moments]
        self.images[:, rest] = images[:, None].to("cpu", torch.float16)
        self.cost[:, rest] = cost[:, None].cpu()


@dataclass(kw_only=True)
class Running:
    """The state of a batch of trials."""

    images: Tensor
    """Candidates [trials, n, 3, h, w], changed in place by `stepper`."""
    labels: Tensor
    """Class indices [trials, n], or soft labels [trials, n, classes], changed likewise."""
    stepper: Stepper
    snapshots: Snapshots
    generators: Sequence[torch.Generator]
    """Of trials that draw something in every iteration."""
    going_on: Tensor
    """Which trials have not come to rest, [trials]."""
    taken: Tensor
    """How many iterations every trial took, [trials]."""
    done: int = 0
    """Iterations."""

    def advance(self, matching: Tensor) -> None:
        """One more iteration is done; `matching` [trials] is the cost of the candidates before it."""
        self.taken += self.going_on
        self.snapshots.price(self.done, matching)
        self.done += 1
        self.snapshots.keep(self.done, self.images)

    def tensors(self) -> dict[str, Tensor]:
        """The state by name; not copies."""
        random = {f"random.{number}": each.get_state() for number, each in enumerate(self.generators)}
        return {"done": torch.tensor(self.done), **random, **self._in_place()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go to the state of a batch of the same trials that had these tensors."""
        for name, tensor in self._in_place().items():
            tensor.copy_(tensors[name])
        for number, generator in enumerate(self.generators):
            generator.set_state(tensors[f"random.{number}"])
        self.done = int(tensors["done"])

    def _in_place(self) -> dict[str, Tensor]:
        stepper = {f"stepper.{name}": tensor for name, tensor in self.stepper.state().items()}
        snapshots = {"snapshots.images": self.snapshots.images, "snapshots.cost": self.snapshots.cost}
        own = {name: getattr(self, name) for name in ("images", "labels", "going_on", "taken")}
        return {**own, **stepper, **snapshots}
