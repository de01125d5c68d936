"""Formulas of each kind of layer but the convolution: value, gradients, and the tangents of both.

Notation: a is a layer's input and z its output, δ the loss gradient at the output (`grad_output`), G that at the
parameters, v the direction in which the parameters move; a dot stands for the derivative along v: ȧ is
`input_tangent`, δ̇ is `grad_tangent`.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Saved = tuple[Tensor, ...]
"""Tensors that a layer keeps of an earlier pass."""

PerTrial = Sequence[Tensor]
"""G or v of a layer: [trials, *parameter.shape] for each of its parameters."""

LayerProducts = tuple[list[Tensor], list[Tensor], Saved]
"""⟨G, T⟩ and ‖G‖², [trials], for each of a layer's parameters, and tensors to keep for `direction`."""


class Layer:
    """Formulas of one kind of layer; those given here are the identity's.

    A layer without parameters is linear around its input unless it says otherwise, so that its tangent passes are its
    ordinary ones: it gives `forward`, `push` and `backward`.
    """

    parameters: tuple[Tensor, ...] = ()

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """Return z from a, and the tensors that the other formulas need."""
        return inputs, ()

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """Return δ at the layer's input from δ at its output."""
        return grad_output

    def gradient(self, saved: Saved, grad_output: Tensor, trials: int) -> PerTrial:
        """Return G for each of `parameters`, from δ at the layer's output."""
        return ()

    def bind(self, values: Sequence[Tensor]) -> None:
        """Use these values of `parameters`. Tensors that an earlier `forward` saved become invalid."""

    def gradient_tangent(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, trials: int
    ) -> PerTrial:
        """Return Ġ for each of `parameters`, from ȧ (None stands for zero) and δ, δ̇ at the layer's output. Of the
        parameters the first is a factor of a, so that its G is linear in a; the G of the others do not depend on a.
        """
        factor, *others = self.gradient(saved, grad_tangent, trials)
        if input_tangent is not None:
            factor = factor + self.gradient(self.saved_tangent(input_tangent, trials), grad_output, trials)[0]
        return factor, *others

    def saved_tangent(self, input_tangent: Tensor, trials: int) -> Saved:
        """Return the tensors that `gradient` needs for ȧ, in place of those that `forward` saved of a."""
        return (input_tangent,)

    def products(self, saved: Saved, grad_output: Tensor, target: PerTrial, trials: int) -> LayerProducts:
        """Return ⟨G, T⟩ and ‖G‖² for `target` T."""
        gradient = self.gradient(saved, grad_output, trials)
        inner = [_inner(one, other) for one, other in zip(gradient, target, strict=True)]
        squares = [_inner(one, one) for one in gradient]
        return inner, squares, tuple(gradient)

    def direction(
        self, saved: Saved, grad_output: Tensor, target: PerTrial, kept: Saved, along: PerTrial, against: PerTrial
    ) -> PerTrial:
        """Return v = along · T + against · G, with factors [trials] for each parameter, in the form that the tangent
        passes take.
        """
        terms = zip(target, kept, along, against, strict=True)
        return tuple(_times(t, factor).add_(_times(g, other)) for t, g, factor, other in terms)

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """Return ż from ȧ, with v = 0."""
        return input_tangent

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor | None:
        """Return ż from ȧ (None stands for zero) and v, for each of `parameters`."""
        return None if input_tangent is None else self.push(saved, input_tangent)

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """Return δ̇ at the layer's input from ȧ there, δ and δ̇ at its output, and v."""
        return self.backward(saved, grad_tangent)


class Linear(Layer):
    """z = W·a + b, for a of any number of dimensions, features last."""

    def __init__(self, module: nn.Linear) -> None:
        self.parameters = tuple(module.parameters())
        self.bind([parameter.detach() for parameter in self.parameters])

    def bind(self, values: Sequence[Tensor]) -> None:
        """W, and b if there is one."""
        self.weight, self.bias = values[0], values[1] if len(values) > 1 else None

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = W·a + b; saves a."""
        return F.linear(inputs, self.weight, self.bias), (inputs,)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = Wᵀ·δ."""
        return grad_output @ self.weight

    def gradient(self, saved: Saved, grad_output: Tensor, trials: int) -> PerTrial:
        """G_W = δ·aᵀ, G_b = Σδ."""
        grad_output = _rows(grad_output, trials)
        weight = grad_output.mT @ _rows(saved[0], trials)
        return (weight,) if self.bias is None else (weight, grad_output.sum(1))

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W·ȧ + v_W·a + v_b."""
        outputs = _rows(saved[0], len(direction[0])) @ direction[0].mT
        if self.bias is not None:
            outputs = outputs + direction[1][:, None]
        outputs = outputs.view(*saved[0].shape[:-1], -1)
        return outputs if input_tangent is None else outputs + input_tangent @ self.weight.T

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ·δ̇ + v_Wᵀ·δ."""
        return grad_tangent @ self.weight + (_rows(grad_output, len(direction[0])) @ direction[0]).view(saved[0].shape)


class BatchNorm(Layer):
    """z = γ·â + β with â = (a − mean)·r and r = 1/√(variance + ε), whose statistics do not depend on the images."""

    def __init__(self, module: nn.BatchNorm2d) -> None:
        self.parameters = (module.weight, module.bias)
        self.mean = cast(Tensor, module.running_mean)[:, None, None]
        self.rate = (cast(Tensor, module.running_var) + module.eps).rsqrt()[:, None, None]
        self.bind([parameter.detach() for parameter in self.parameters])

    def bind(self, values: Sequence[Tensor]) -> None:
        """γ and β."""
        self.scale, self.shift = (value[:, None, None] for value in values)

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = γ·â + β; saves â."""
        normalised = (inputs - self.mean) * self.rate
        return torch.addcmul(self.shift, normalised, self.scale), (normalised,)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = γ·r·δ."""
        return grad_output * (self.scale * self.rate)

    def gradient(self, saved: Saved, grad_output: Tensor, trials: int) -> PerTrial:
        """G_γ = Σ δ·â, G_β = Σδ."""
        return tuple(of_trials(each, trials).sum((1, 3, 4)) for each in (grad_output * saved[0], grad_output))

    def saved_tangent(self, input_tangent: Tensor, trials: int) -> Saved:
        """r·ȧ."""
        return (input_tangent * self.rate,)

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """γ·r·ȧ."""
        return input_tangent * (self.scale * self.rate)

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = γ·r·ȧ + v_γ·â + v_β."""
        scale, shift = (of_images(each, len(saved[0]))[..., None, None] for each in direction)
        outputs = torch.addcmul(shift, saved[0], scale)
        return outputs if input_tangent is None else outputs.addcmul_(input_tangent, self.scale * self.rate)

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = γ·r·δ̇ + v_γ·r·δ."""
        scale = of_images(direction[0], len(grad_output))[..., None, None]
        return (grad_tangent * self.scale).addcmul_(grad_output, scale).mul_(self.rate)


class Sigmoid(Layer):
    """z = σ(a), with σ' = σ(1 − σ) and σ'' = σ'(1 − 2σ)."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = σ(a); saves σ and σ'."""
        outputs = inputs.sigmoid()
        return outputs, (outputs, outputs * (1 - outputs))

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = σ'·δ."""
        return saved[1] * grad_output

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = σ'·ȧ."""
        return saved[1] * input_tangent

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = σ'·(δ̇ + (1 − 2σ)·ȧ·δ)."""
        if input_tangent is None:
            return self.backward(saved, grad_tangent)
        return torch.addcmul(grad_tangent, input_tangent * grad_output, 1 - 2 * saved[0]).mul_(saved[1])


class ReLU(Layer):
    """z = max(a, 0), with derivative 0 at 0."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = m·a with the mask m; saves m."""
        outputs = inputs.relu()
        return outputs, (outputs.sign(),)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = m·δ."""
        return saved[0] * grad_output

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = m·ȧ."""
        return saved[0] * input_tangent


class ReLU6(ReLU):
    """z = min(max(a, 0), 6), with derivative 0 at 0 and at 6."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = a within 0 to 6, else the nearer of both; saves the mask m."""
        return inputs.clamp(0, 6), (((inputs > 0) & (inputs < 6)).to(inputs.dtype),)


class Scale(Layer):
    """z = s·a + t with numbers s, t that are no parameters, a channel's each."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        self.scale, self.shift = scale, shift

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = s·a + t."""
        return inputs * self.scale + self.shift, ()

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = s·δ."""
        return grad_output * self.scale

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = s·ȧ."""
        return input_tangent * self.scale


class Pad(Layer):
    """z = a with a border of zeros; `border` are its widths left, right, above and below."""

    def __init__(self, border: tuple[int, int, int, int]) -> None:
        self.border = border

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = a with its border."""
        return self.push((), inputs), ()

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = δ without the border."""
        return F.pad(grad_output, [-width for width in self.border])

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = ȧ with a border of zeros."""
        return F.pad(input_tangent, self.border)


class MaxPool(Layer):
    """z = the largest of each window of a, or of the whole image."""

    def __init__(self, module: nn.MaxPool2d | None = None) -> None:
        self.module = module

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = the winners; saves which pixels of the image they are, and a for its shape."""
        pool = self.module or nn.MaxPool2d((inputs.shape[2], inputs.shape[3]))
        window: Any = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        outputs, winners = F.max_pool2d_with_indices(inputs, *window)
        return outputs, (winners, inputs)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = the sum of the δ that a pixel won, else 0."""
        winners, inputs = saved
        flat = torch.zeros_like(inputs).flatten(2)
        return flat.scatter_add_(2, winners.flatten(2), grad_output.flatten(2)).view(inputs.shape)

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = ȧ of the winners."""
        winners = saved[0]
        return input_tangent.flatten(2).gather(2, winners.flatten(2)).view(winners.shape)


class AveragePool(Layer):
    """z = the mean of each window of a, or of the whole image."""

    def __init__(self, module: nn.AvgPool2d | None = None) -> None:
        self.module = module

    def _window(self, inputs: Tensor) -> tuple[Any, ...]:
        """Return the arguments of torch's average pooling."""
        pool = self.module or nn.AvgPool2d((inputs.shape[2], inputs.shape[3]))
        places = (pool.kernel_size, pool.stride, pool.padding)
        return *map(pair, places), pool.ceil_mode, pool.count_include_pad, pool.divisor_override

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = the means; saves a for its shape."""
        return self.push((inputs,), inputs), (inputs,)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = every pixel's share of the δ of its windows."""
        inputs = saved[0]
        return cast(Tensor, torch.ops.aten.avg_pool2d_backward(grad_output, inputs, *self._window(inputs)))

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = the means of ȧ."""
        return F.avg_pool2d(input_tangent, *self._window(input_tangent))


class Flatten(Layer):
    """z = a with all dimensions but the first as one."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z; saves a for its shape."""
        return inputs.flatten(1), (inputs,)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = δ in a's shape."""
        return grad_output.reshape(saved[0].shape)

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        """ż = ȧ, flat."""
        return input_tangent.flatten(1)


def pair(size: Any) -> tuple[int, int]:
    """Return as two numbers a size that torch's modules keep as one or as two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def of_trials(each: Tensor, trials: int) -> Tensor:
    """View [trials·n, …] as [trials, n, …]."""
    return each.view(trials, -1, *each.shape[1:])


def of_images(each: Tensor, images: int) -> Tensor:
    """Repeat [trials, …] for every image, [trials·n, …]."""
    return each[:, None].expand(-1, images // len(each), *each.shape[1:]).flatten(0, 1)


def _rows(each: Tensor, trials: int) -> Tensor:
    """Reshape [trials·n, …, features] to [trials, rows, features]."""
    return each.reshape(trials, -1, each.shape[-1])


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Take the inner product of each trial, [trials]."""
    return (one * other).flatten(1).sum(1)


def _times(each: Tensor, factor: Tensor) -> Tensor:
    """Multiply each trial's tensor with its factor [trials]."""
    return each * factor.view(-1, *[1] * (each.dim() - 1))
