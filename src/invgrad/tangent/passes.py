"""The gradient of a function of the parameter gradient with respect to the images, without a double backward pass.

Let G(x) be the gradient of the loss L(x, θ) with respect to the parameters θ, and D a function of G with v = ∂D/∂G.
Then ∂D/∂x = ∂/∂x ⟨∇θ L, v⟩ = d/dt ∇x L(x, θ + t·v) at t = 0: the tangent of the image gradient as the parameters move
along v. With a dot for d/dt, four passes through the network give it exactly:

1. forward: every layer's output z from its input a;
2. backward: δ, the loss gradient at every layer's output, and from it G;
3. tangent forward: ż from ȧ and v, starting from ȧ = 0 at the images;
4. tangent backward: δ̇, starting from the tangent of the loss gradient at the logits; at the images it is ∂D/∂x.

ReLU masks and the winners of max-pooling stay those of the forward pass, as in automatic differentiation.

All trials run at once. Activations have shape [trials·n, …]: what the trials share (θ) is applied to all their images
in one operation. G and v differ between trials, [trials, *parameter.shape].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

import torch
from torch import Tensor

from invgrad.tangent.layers import Layer, PerTrial, Saved, of_trials


@dataclass(frozen=True)
class Step:
    """One layer of a network. Value 0 are the images, value i + 1 is what step i returns."""

    layer: Layer
    sources: tuple[int, ...]
    """The values whose sum is the layer's input."""
    moving: tuple[int, ...]
    """Those of them that depend on parameters."""
    positions: tuple[int, ...]
    """Where the layer's parameters stand among the network's."""


@dataclass(frozen=True)
class Tape:
    """What the first two passes leave for what follows."""

    trials: int
    saved: list[Saved]
    """Of every step."""
    slopes: list[Tensor | None]
    """δ of every value; None where the value does not depend on parameters."""
    probabilities: Tensor
    """Of the classes according to the network, [trials·n, classes]."""

    def of(self, number: int) -> tuple[Saved, Tensor]:
        """What a step with parameters saved, and δ at its output."""
        return self.saved[number], cast(Tensor, self.slopes[number + 1])


@dataclass(frozen=True)
class Products:
    """How G lies towards T, for every parameter tensor."""

    inner: Tensor
    """⟨G, T⟩, [trials, parameters]."""
    squares: Tensor
    """‖G‖², [trials, parameters]."""
    kept: dict[int, Saved]
    """What the steps that have parameters keep, from which the direction is made."""


@dataclass(frozen=True)
class Tangents:
    """What the last two passes find."""

    images: Tensor
    """∂D/∂x, [trials, n, 3, h, w]."""
    probabilities: Tensor
    """∂D/∂q, [trials, n, classes], for the probabilities q of the classes that stand in the loss."""
    arriving: list[Tensor | None]
    """ȧ of every step; None where it does not depend on parameters."""
    slopes: list[Tensor | None]
    """δ̇ of every value."""


Directions = dict[int, PerTrial]
"""v, in the form that each step's layer takes, for the steps that have parameters."""


class Passes:
    """The four passes through a network, for its mean cross-entropy over the n images of a trial."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """The last step returns the logits."""
        self._steps = steps
        self._weighted = [(number, step) for number, step in enumerate(steps) if step.positions]

    def bind(self, parameters: Sequence[Tensor]) -> None:
        """Take these values of the network's parameters, in their order, from now on; a tape of before is of no use any
        more.
        """
        for _, step in self._weighted:
            step.layer.bind(_at(step, parameters))

    def ordinary(self, images: Tensor, labels: Tensor) -> Tape:
        """The first two passes, for images [trials, n, 3, h, w] and labels [trials, n], or probabilities of the
        classes [trials, n, classes] in their place.
        """
        trials, count = labels.shape[:2]
        values = [images.flatten(0, 1)]
        saved: list[Saved] = []
        for step in self._steps:
            inputs = reduce(torch.add, [values[source] for source in step.sources])
            outputs, kept = step.layer.forward(inputs, trials)
            values.append(outputs)
            saved.append(kept)
        probabilities = values[-1].softmax(1)
        expected = labels if labels.is_floating_point() else _one_hot(labels, probabilities)
        slopes: list[Tensor | None] = [None] * len(values)
        slopes[-1] = (probabilities - expected.flatten(0, 1)) / count
        for number, step in reversed(list(enumerate(self._steps))):
            slope = slopes[number + 1]
            if slope is not None and step.moving:
                _add(slopes, step.moving, step.layer.backward(saved[number], slope))
        return Tape(trials, saved, slopes, probabilities)

    def gradient(self, tape: Tape) -> tuple[Tensor, ...]:
        """G in the order of the network's parameters, each [trials, *parameter.shape]."""
        found: dict[int, Tensor] = {}
        for number, step in self._weighted:
            found |= zip(step.positions, step.layer.gradient(*tape.of(number), tape.trials), strict=True)
        return tuple(found[position] for position in sorted(found))

    def prepared(self, target: PerTrial) -> tuple[Tensor, ...]:
        """T, given in the order and shapes of G, in the memory order that suits what follows."""
        found: dict[int, Tensor] = {}
        for _, step in self._weighted:
            found |= zip(step.positions, step.layer.prepared(_at(step, target)), strict=True)
        return tuple(found[position] for position in sorted(found))

    def products(self, tape: Tape, target: PerTrial) -> Products:
        """How G lies towards T = `target`, given in the order and shapes of G."""
        inner: dict[int, Tensor] = {}
        squares: dict[int, Tensor] = {}
        kept = {}
        for number, step in self._weighted:
            along, norms, kept[number] = step.layer.products(*tape.of(number), _at(step, target), tape.trials)
            inner |= zip(step.positions, along, strict=True)
            squares |= zip(step.positions, norms, strict=True)
        return Products(_ordered(inner), _ordered(squares), kept)

    def along(self, direction: PerTrial) -> Directions:
        """v given in the order and shapes of G."""
        return {number: _at(step, direction) for number, step in self._weighted}

    def combined(self, tape: Tape, products: Products, target: PerTrial, along: Tensor, against: Tensor) -> Directions:
        """v = along · T + against · G, with factors [trials, parameters]."""
        found, factors = {}, (along.unbind(1), against.unbind(1))
        for number, step in self._weighted:
            found[number] = step.layer.direction(
                *tape.of(number), _at(step, target), products.kept[number], *(_at(step, each) for each in factors)
            )
        return found

    def tangent(self, tape: Tape, directions: Directions) -> Tangents:
        """The last two passes."""
        values: list[Tensor | None] = [None]
        arriving: list[Tensor | None] = []
        for number, (step, saved) in enumerate(zip(self._steps, tape.saved, strict=True)):
            arriving.append(_total(values, step.moving))
            values.append(step.layer.tangent_forward(saved, arriving[-1], directions.get(number, ())))
        count = len(tape.probabilities) // tape.trials
        moved = cast(Tensor, values[-1])
        moved = moved - (tape.probabilities * moved).sum(1, keepdim=True)  # d/dt of the log-probabilities
        slopes: list[Tensor | None] = [None] * len(values)
        slopes[-1] = tape.probabilities * moved / count
        for number, step in reversed(list(enumerate(self._steps))):
            saved, slope, slope_tangent = tape.saved[number], tape.slopes[number + 1], cast(Tensor, slopes[number + 1])
            if slope is None:
                back = step.layer.backward(saved, slope_tangent)
            else:
                back = step.layer.tangent_backward(
                    saved, arriving[number], slope, slope_tangent, directions.get(number, ())
                )
            _add(slopes, step.sources, back)
        return Tangents(
            images=of_trials(cast(Tensor, slopes[0]), tape.trials),
            probabilities=of_trials(-moved / count, tape.trials),
            arriving=arriving,
            slopes=slopes,
        )

    def gradient_tangent(self, tape: Tape, tangents: Tangents) -> tuple[Tensor, ...]:
        """Ġ in the order and shapes of G: the product of v and the second derivatives of the loss."""
        found: dict[int, Tensor] = {}
        for number, step in self._weighted:
            saved, slope = tape.of(number)
            slope_tangent = cast(Tensor, tangents.slopes[number + 1])
            moved = step.layer.gradient_tangent(saved, tangents.arriving[number], slope, slope_tangent, tape.trials)
            found |= zip(step.positions, moved, strict=True)
        return tuple(found[position] for position in sorted(found))


def _one_hot(labels: Tensor, probabilities: Tensor) -> Tensor:
    """[trials, n, classes]; torch's own waits for the GPU."""
    zeros = probabilities.new_zeros(*labels.shape, probabilities.shape[1])
    return zeros.scatter_(2, labels[..., None], 1)


def _ordered(each: dict[int, Tensor]) -> Tensor:
    """[trials, parameters] from one [trials] for each position."""
    return torch.stack([each[position] for position in sorted(each)], 1)


def _at(step: Step, each: PerTrial) -> PerTrial:
    """Those of a step's parameters."""
    return tuple(each[position] for position in step.positions)


def _total(values: list[Tensor | None], places: Sequence[int]) -> Tensor | None:
    """The sum of the values at these places; None stands for zero."""
    chosen = [value for place in places if (value := values[place]) is not None]
    return reduce(torch.add, chosen) if chosen else None


def _add(values: list[Tensor | None], places: Sequence[int], value: Tensor) -> None:
    """Add the value at these places, where None stands for zero."""
    for place in places:
        before = values[place]
        values[place] = value if before is None else before + value
