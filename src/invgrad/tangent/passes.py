"""Pearlmutter's R-operator: the image gradient of a function of the parameter gradient by forward-over-reverse passes.

Let G(x) be the gradient of the loss L(x, θ) with respect to the parameters θ, and D a function of G with v = ∂D/∂G.
Then ∂D/∂x = ∂/∂x ⟨∇θ L, v⟩ = d/dt ∇x L(x, θ + t·v) at t = 0: the tangent of the image gradient as the parameters move
along v. This directional derivative of a gradient is what Pearlmutter's R-operator computes (Pearlmutter 1994, "Fast
exact multiplication by the Hessian"): a Hessian-vector product, of the mixed second derivatives ∂²L/∂x∂θ with v, and at
the parameters, where a client takes local steps, of the Hessian itself. It is forward-over-reverse differentiation,
without the graph of a double backward pass. With a dot for d/dt (Pearlmutter's R{·}), four passes through the network
give it exactly:

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

from invgrad.tangent.layers import Layer, PerTrial, Saved, of_images, of_trials
from invgrad.tangent.scale import to_unit_scale


@dataclass(frozen=True)
class Step:
    """One layer of a network. Value 0 are the images, value i + 1 is the output of step i."""

    layer: Layer
    sources: tuple[int, ...]
    """The values whose sum is the layer's input."""
    dependent: tuple[int, ...]
    """The sources that depend on parameters."""
    positions: tuple[int, ...]
    """Positions of the layer's parameters among the network's."""
    shape: tuple[int, ...]
    """Shape of the output for one trial, [n, …]."""


@dataclass(frozen=True)
class Tape:
    """Record of the first two passes, which the last two need."""

    trials: int
    saved: list[Saved]
    """Values that every step saved."""
    grad_outputs: list[Tensor | None]
    """δ of every value; None where the value does not depend on parameters."""
    probabilities: Tensor
    """Probabilities of the classes according to the network, [trials·n, classes]."""
    scale: Tensor | float
    """Factor of the loss for each image, [trials·n, 1], which every δ, G and tangent has."""

    def of(self, number: int) -> tuple[Saved, Tensor]:
        """Return the values that a step with parameters saved, and δ at its output."""
        return self.saved[number], cast(Tensor, self.grad_outputs[number + 1])


@dataclass(frozen=True)
class Products:
    """Inner products of G with the target T, and squared norms of G, for every parameter tensor."""

    inner: Tensor
    """⟨G, T⟩, [trials, parameters]."""
    squares: Tensor
    """‖G‖², [trials, parameters]."""
    kept: dict[int, Saved]
    """Values that the steps with parameters keep, from which v is combined."""


@dataclass(frozen=True)
class Tangents:
    """Result of the last two passes."""

    images: Tensor
    """∂D/∂x, [trials, n, 3, h, w]."""
    probabilities: Tensor
    """∂D/∂q, [trials, n, classes], for the probabilities q of the classes that stand in the loss."""
    inputs: list[Tensor | None]
    """ȧ of every step; None where it does not depend on parameters."""
    grad_outputs: list[Tensor | None]
    """δ̇ of every value."""


Directions = dict[int, PerTrial]
"""v, in the form that each step's layer takes, for the steps that have parameters."""


class Passes:
    """The four passes through a network, for its mean cross-entropy over the n images of a trial."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """Take the steps in their order; the last one returns the logits."""
        self.steps = steps
        self._weighted = [(number, step) for number, step in enumerate(steps) if step.positions]

    def bind(self, parameters: Sequence[Tensor]) -> None:
        """Use these values of the network's parameters, in their order. Earlier tapes become invalid."""
        for _, step in self._weighted:
            step.layer.bind(_at(step, parameters))

    def forward_backward(self, images: Tensor, labels: Tensor, *, unit_scale: bool = False) -> Tape:
        """Run the first two passes, for images [trials, n, 3, h, w] and labels [trials, n], or probabilities of the
        classes [trials, n, classes] in their place.

        At `unit_scale` every trial's loss has the factor that brings its δ at the logits there, as for a distance that
        does not depend on the scale of G.
        """
        trials, count = labels.shape[:2]
        values = [images.flatten(0, 1)]
        saved: list[Saved] = []
        for step in self.steps:
            inputs = reduce(torch.add, [values[source] for source in step.sources])
            outputs, kept = step.layer.forward(inputs, trials)
            values.append(outputs)
            saved.append(kept)
        probabilities = values[-1].softmax(1)
        expected = labels if labels.is_floating_point() else one_hot(labels, probabilities, probabilities.shape[1])
        grad_outputs: list[Tensor | None] = [None] * len(values)
        at_logits = (probabilities - expected.flatten(0, 1)) / count
        scale: Tensor | float = 1
        if unit_scale:
            scale = of_images(to_unit_scale([of_trials(at_logits, trials)]), len(at_logits))[:, None]
        grad_outputs[-1] = scale * at_logits
        for number, step in reversed(list(enumerate(self.steps))):
            grad_output = grad_outputs[number + 1]
            if grad_output is not None and step.dependent:
                _add(grad_outputs, step.dependent, step.layer.backward(saved[number], grad_output))
        return Tape(trials, saved, grad_outputs, probabilities, scale)

    def gradient(self, tape: Tape) -> tuple[Tensor, ...]:
        """Return G in the order of the network's parameters, each [trials, *parameter.shape]."""
        found: dict[int, Tensor] = {}
        for number, step in self._weighted:
            found |= zip(step.positions, step.layer.gradient(*tape.of(number), tape.trials), strict=True)
        return tuple(found[position] for position in sorted(found))

    def products(self, tape: Tape, target: PerTrial) -> Products:
        """Return the products of G with T = `target`, given in the order and shapes of G."""
        inner: dict[int, Tensor] = {}
        squares: dict[int, Tensor] = {}
        kept = {}
        for number, step in self._weighted:
            along, norms, kept[number] = step.layer.products(*tape.of(number), _at(step, target), tape.trials)
            inner |= zip(step.positions, along, strict=True)
            squares |= zip(step.positions, norms, strict=True)
        return Products(_ordered(inner), _ordered(squares), kept)

    def along(self, direction: PerTrial) -> Directions:
        """Distribute v, given in the order and shapes of G, to the steps."""
        return {number: _at(step, direction) for number, step in self._weighted}

    def combined(self, tape: Tape, products: Products, target: PerTrial, along: Tensor, against: Tensor) -> Directions:
        """Combine v = along · T + against · G, with factors [trials, parameters]."""
        found, factors = {}, (along.unbind(1), against.unbind(1))
        for number, step in self._weighted:
            found[number] = step.layer.direction(
                *tape.of(number), _at(step, target), products.kept[number], *(_at(step, each) for each in factors)
            )
        return found

    def tangent(self, tape: Tape, directions: Directions) -> Tangents:
        """Run the last two passes along these directions."""
        values: list[Tensor | None] = [None]
        inputs: list[Tensor | None] = []
        for number, (step, saved) in enumerate(zip(self.steps, tape.saved, strict=True)):
            inputs.append(_total(values, step.dependent))
            values.append(step.layer.tangent_forward(saved, inputs[-1], directions.get(number, ())))
        count = len(tape.probabilities) // tape.trials
        logits = cast(Tensor, values[-1])
        log_probabilities = logits - (tape.probabilities * logits).sum(1, keepdim=True)
        grad_outputs: list[Tensor | None] = [None] * len(values)
        grad_outputs[-1] = tape.scale * tape.probabilities * log_probabilities / count
        for number, step in reversed(list(enumerate(self.steps))):
            saved, grad_output = tape.saved[number], tape.grad_outputs[number + 1]
            tangent, direction = cast(Tensor, grad_outputs[number + 1]), directions.get(number, ())
            if grad_output is None:
                back = step.layer.backward(saved, tangent)
            else:
                back = step.layer.tangent_backward(saved, inputs[number], grad_output, tangent, direction)
            _add(grad_outputs, step.sources, back)
        return Tangents(
            images=of_trials(cast(Tensor, grad_outputs[0]), tape.trials),
            probabilities=of_trials(-tape.scale * log_probabilities / count, tape.trials),
            inputs=inputs,
            grad_outputs=grad_outputs,
        )

    def gradient_tangent(self, tape: Tape, tangents: Tangents) -> tuple[Tensor, ...]:
        """Return Ġ in the order and shapes of G: the product of the loss's Hessian and v."""
        found: dict[int, Tensor] = {}
        for number, step in self._weighted:
            saved, grad_output = tape.of(number)
            tangent = cast(Tensor, tangents.grad_outputs[number + 1])
            each = step.layer.gradient_tangent(saved, tangents.inputs[number], grad_output, tangent, tape.trials)
            found |= zip(step.positions, each, strict=True)
        return tuple(found[position] for position in sorted(found))


def one_hot(labels: Tensor, like: Tensor, classes: int) -> Tensor:
    """Encode labels as [trials, n, classes], of the type of `like`; torch's own function waits for the GPU."""
    return like.new_zeros(*labels.shape, classes).scatter_(2, labels[..., None], 1)


def _ordered(each: dict[int, Tensor]) -> Tensor:
    """Stack one [trials] for each position to [trials, parameters]."""
    return torch.stack([each[position] for position in sorted(each)], 1)


def _at(step: Step, each: PerTrial) -> PerTrial:
    """Select the tensors of a step's parameters."""
    return tuple(each[position] for position in step.positions)


def _total(values: list[Tensor | None], places: Sequence[int]) -> Tensor | None:
    """Sum the values at these places; None stands for zero."""
    chosen = [value for place in places if (value := values[place]) is not None]
    return reduce(torch.add, chosen) if chosen else None


def _add(values: list[Tensor | None], places: Sequence[int], value: Tensor) -> None:
    """Add the value at these places, where None stands for zero."""
    for place in places:
        before = values[place]
        values[place] = value if before is None else before + value
