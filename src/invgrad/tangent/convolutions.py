"""Formulas of a convolution, in the ways that suit small, low-resolution and large problems."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from invgrad.tangent.kernels.library import usable
from invgrad.tangent.kernels.matmul import Matrix, times_transpose
from invgrad.tangent.kernels.winograd import Winograd, pays
from invgrad.tangent.layers import Layer, LayerProducts, PerTrial, Saved, of_images, of_trials, pair


@dataclass(frozen=True)
class PassOptions:
    """Intended use of the passes, from which the fastest of equivalent formulas are chosen."""

    together: bool = False
    """Many trials at once, instead of one by one."""
    products: bool = False
    """Use with a distance that needs inner products with G only. Such passes do not return G and Ġ themselves, and
    cannot be bound to other parameters.
    """


def convolution(module: nn.Conv2d, shape: torch.Size, options: PassOptions) -> "Convolution":
    """Choose the formulas that suit inputs of this shape, [n, channels, height, width] for one trial."""
    if module.groups > 1:
        return GroupedConvolution(module)
    layer = Convolution(module)
    if options.together:
        return layer
    if options.products and layer.gram_pays(shape):
        return GramConvolution(module, shape)
    return WinogradConvolution(module) if layer.winograd_pays(shape) else layer


class Convolution(Layer):
    """z = W∗a + b, with zeros or the opposite side beyond the border.

    Where every trial has a kernel of its own (G_W, v_W∗a, v_Wᵀ∗δ), several trials would need grouped convolutions,
    which are slow: they unfold a once and take batched matrix products. A single trial takes convolutions throughout
    (no layer of a wide network was faster unfolded).
    """

    def __init__(self, module: nn.Conv2d) -> None:
        self.parameters = tuple(module.parameters())
        self.kernel, self.stride = pair(module.kernel_size), pair(module.stride)
        self.padding, self.border = pair(module.padding), (0, 0)
        if module.padding_mode == "circular":
            self.padding, self.border = self.border, self.padding
        self.bind([parameter.detach() for parameter in self.parameters])

    def bind(self, values: Sequence[Tensor]) -> None:
        """W, and b if there is one."""
        self.weight, self.bias = values[0], values[1] if len(values) > 1 else None

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = W∗a + b; saves a with its circular border and, for several trials, unfolded."""
        saved = self.saved_tangent(inputs, trials)
        return self._convolve(saved[0], self.weight, self.bias), saved

    def saved_tangent(self, input_tangent: Tensor, trials: int) -> Saved:
        """Return ȧ, or a itself, with its circular border and, for several trials, unfolded."""
        wrapped = self._wrap(input_tangent)
        return (wrapped,) if trials == 1 else (wrapped, self._unfold(wrapped))

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = Wᵀ∗δ."""
        return self._unwrap(self._transposed(saved, self.weight, grad_output))

    def gradient(self, saved: Saved, grad_output: Tensor, trials: int) -> PerTrial:
        """G_W = δ∗a, G_b = Σδ."""
        inputs, *unfolded = saved
        if unfolded:
            weight = _columns(grad_output, trials) @ _columns(unfolded[0], trials).mT
        else:
            weight = conv2d_weight(inputs, self.weight.shape, grad_output, self.stride, self.padding)
        bias = () if self.bias is None else (of_trials(grad_output, trials).sum((1, 3, 4)),)
        return weight.view(trials, *self.weight.shape), *bias

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W∗ȧ + v_W∗a + v_b."""
        inputs, *unfolded = saved
        outputs: Tensor
        if unfolded:
            weight, *bias = (of_images(each.reshape(*each.shape[:2], -1), len(inputs)) for each in direction)
            columns = unfolded[0].flatten(2)
            product = torch.baddbmm(bias[0], weight, columns) if bias else weight.bmm(columns)
            outputs = product.unflatten(2, unfolded[0].shape[2:])
        else:
            outputs = self._convolve(inputs, direction[0][0], None if self.bias is None else direction[1][0])
        if input_tangent is not None:
            outputs += self._convolve(self._wrap(input_tangent), self.weight)
        return outputs

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ."""
        inputs, *unfolded = saved
        weight = direction[0]
        if not unfolded:
            back = self._transposed(saved, self.weight, grad_tangent) + self._transposed(saved, weight[0], grad_output)
            return self._unwrap(back)
        shared = self.weight.flatten(1).T.expand(len(grad_output), -1, -1)
        columns = shared.bmm(grad_tangent.flatten(2))
        columns.baddbmm_(of_images(weight.flatten(2).mT, len(grad_output)), grad_output.flatten(2))
        return self._unwrap(F.fold(columns, inputs.shape[2:], self.kernel, padding=self.padding, stride=self.stride))

    def gram_pays(self, shape: torch.Size) -> bool:
        """Return whether the products of Gram matrices take fewer multiplications than those of G."""
        pixels, outputs, inputs = self.count_pixels(shape), len(self.weight), self.weight[0].numel()
        return 2 * pixels * (inputs + outputs) < inputs * outputs

    def count_pixels(self, shape: torch.Size) -> int:
        """Count the pixels of all output images together, for inputs of this shape."""
        bordered = (size + 2 * border for size, border in zip(shape[2:], self.border, strict=True))
        return shape[0] * math.prod(self._size((*shape[:2], *bordered)))

    def _size(self, shape: Sequence[int]) -> list[int]:
        """Return height and width of the output for inputs of this shape, with their circular border."""
        geometry = zip(shape[2:], self.padding, self.kernel, self.stride, strict=True)
        return [(size + 2 * padding - kernel) // stride + 1 for size, padding, kernel, stride in geometry]

    def winograd_pays(self, shape: torch.Size) -> bool:
        """Return whether the fast algorithm for 3×3 kernels is installed, fits, and is faster."""
        fits = (self.kernel, self.stride, self.padding) == ((3, 3), (1, 1), (1, 1))
        images, channels, height, width = shape
        faster = pays(channels, len(self.weight), height, width, images)
        return fits and faster and usable("winograd", self.weight)

    @staticmethod
    def _biased(outputs: Tensor, bias: Tensor | None = None) -> Tensor:
        return outputs if bias is None else outputs.add_(bias[..., None, None])

    def _convolve(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(inputs, weight, bias, self.stride, self.padding)

    def _transposed(self, saved: Saved, weight: Tensor, grad_output: Tensor) -> Tensor:
        back: Tensor = conv2d_input(saved[0].shape, weight, grad_output, self.stride, self.padding)
        return back

    def _unfold(self, inputs: Tensor) -> Tensor:
        """Gather the inputs of each output pixel, [images, inputs · kernel, height, width]."""
        (high, wide), (down, right) = self.padding, self.stride
        padded = F.pad(inputs, (wide, wide, high, high))
        windows = padded.unfold(2, self.kernel[0], down).unfold(3, self.kernel[1], right)
        return windows.permute(0, 1, 4, 5, 2, 3).flatten(1, 3)

    def _wrap(self, inputs: Tensor) -> Tensor:
        """Continue the image with its opposite side, where the padding is circular."""
        for dim, border in zip((2, 3), self.border, strict=True):
            if border:
                inputs = inputs.index_select(dim, _circle(inputs.shape[dim], border, inputs.device))
        return inputs

    def _unwrap(self, wrapped: Tensor) -> Tensor:
        """Apply the transpose of `_wrap`."""
        for dim, border in zip((2, 3), self.border, strict=True):
            if border:
                size = wrapped.shape[dim] - 2 * border
                shape = (*wrapped.shape[:dim], size, *wrapped.shape[dim + 1 :])
                wrapped = wrapped.new_zeros(shape).index_add_(dim, _circle(size, border, wrapped.device), wrapped)
        return wrapped


class GroupedConvolution(Convolution):
    """The same formulas where channels are in groups: the kernels of several trials are those of more groups."""

    def __init__(self, module: nn.Conv2d) -> None:
        self.groups = module.groups
        super().__init__(module)

    def saved_tangent(self, input_tangent: Tensor, trials: int) -> Saved:
        """Return ȧ, or a itself, with its circular border."""
        return (self._wrap(input_tangent),)

    def gradient(self, saved: Saved, grad_output: Tensor, trials: int) -> PerTrial:
        """G_W = δ∗a, G_b = Σδ."""
        inputs, outputs = (_side_by_side(each, trials) for each in (saved[0], grad_output))
        shape = trials * len(self.weight), *self.weight.shape[1:]
        geometry = {"stride": self.stride, "padding": self.padding, "groups": trials * self.groups}
        weight = conv2d_weight(inputs, shape, outputs, **geometry).view(trials, *self.weight.shape)
        return (weight,) if self.bias is None else (weight, of_trials(grad_output, trials).sum((1, 3, 4)))

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W∗ȧ + v_W∗a + v_b."""
        trials = len(direction[0])
        inputs, bias = _side_by_side(saved[0], trials), None if self.bias is None else direction[1].flatten()
        every = F.conv2d(
            inputs, direction[0].flatten(0, 1), bias, self.stride, self.padding, groups=trials * self.groups
        )
        outputs = _one_by_one(every, trials)
        return outputs if input_tangent is None else outputs + self._convolve(self._wrap(input_tangent), self.weight)

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ."""
        trials = len(direction[0])
        outputs, shape = _side_by_side(grad_output, trials), _side_by_side(saved[0], trials).shape
        geometry = {"stride": self.stride, "padding": self.padding, "groups": trials * self.groups}
        by_direction = _one_by_one(conv2d_input(shape, direction[0].flatten(0, 1), outputs, **geometry), trials)
        return self._unwrap(by_direction + self._transposed(saved, self.weight, grad_tangent))

    def _convolve(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(inputs, weight, bias, self.stride, self.padding, groups=self.groups)

    def _transposed(self, saved: Saved, weight: Tensor, grad_output: Tensor) -> Tensor:
        shape = saved[0].shape
        back: Tensor = conv2d_input(shape, weight, grad_output, self.stride, self.padding, groups=self.groups)
        return back


class GramConvolution(Convolution):
    """The same formulas for one trial where G is larger than its factors U and δ: G is never formed.

    With the unfolded input U [pixels, kernel · inputs] and δ as [pixels, outputs], G = δᵀU; so ⟨G, T⟩ = ⟨δ, UTᵀ⟩ and
    ‖G‖² = ⟨UUᵀ, δδᵀ⟩, and v = αT + γG acts on a and δ as αUTᵀ + γUUᵀδ and αδT + γδδᵀU. `direction` gives these
    two in place of v_W.
    """

    def __init__(self, module: nn.Conv2d, shape: torch.Size) -> None:
        super().__init__(module)
        self.pixels = self.count_pixels(shape)
        self.both_ways = self._both_ways(self.weight)
        self.target, self.target_both_ways = self.weight, self.both_ways

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = UWᵀ + b; saves a with its circular border, and U."""
        inputs = self._wrap(inputs)
        rows = self._rows(inputs)
        outputs = self.both_ways[0].of(rows)
        return self._image(outputs if self.bias is None else outputs.add_(self.bias), inputs), (inputs, rows)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = Wᵀ∗δ."""
        return self._unwrap(self._fold(self.both_ways[1].of(_pixels_first(grad_output)), saved[0]))

    def products(self, saved: Saved, grad_output: Tensor, target: PerTrial, trials: int) -> LayerProducts:
        """Return ⟨G, T⟩ and ‖G‖²; keeps UTᵀ, UUᵀ, δδᵀ, δ and, if there is one, G_b."""
        if target[0] is not self.target:  # it stays the same for a whole attack, so arranging it once is worth it
            self.target, self.target_both_ways = target[0], self._both_ways(target[0][0])
        rows, grad_rows = saved[1], _pixels_first(grad_output)
        projected = self.target_both_ways[0].of(rows)
        input_gram, grad_gram = times_transpose(rows, rows), times_transpose(grad_rows, grad_rows)
        inner, squares = [(projected * grad_rows).sum()], [(input_gram * grad_gram).sum()]
        bias = [] if self.bias is None else [grad_rows.sum(0)]
        for each in bias:
            inner.append((each * target[1][0]).sum())
            squares.append(each.square().sum())
        kept = (projected, input_gram, grad_gram, grad_rows, *bias)
        return [each[None] for each in inner], [each[None] for each in squares], kept

    def direction(
        self, saved: Saved, grad_output: Tensor, target: PerTrial, kept: Saved, along: PerTrial, against: PerTrial
    ) -> PerTrial:
        """Return Uv_Wᵀ + v_b [pixels, outputs], and δv_W [pixels, kernel · inputs]."""
        projected, input_gram, grad_gram, grad_rows, *bias = kept
        forward = torch.addmm(projected * along[0], input_gram * against[0], grad_rows)
        for each in bias:
            forward += target[1][0] * along[1] + each * against[1]
        back = self.target_both_ways[1].of(grad_rows * along[0])
        return forward, back.addmm_(grad_gram * against[0], saved[1])

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W∗ȧ + v_W∗a + v_b."""
        outputs = direction[0]
        if input_tangent is not None:
            outputs = self.both_ways[0].of(self._rows(self._wrap(input_tangent))).add_(outputs)
        return self._image(outputs, saved[0])

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ."""
        rows = self.both_ways[1].of(_pixels_first(grad_tangent)).add_(direction[1])
        return self._unwrap(self._fold(rows, saved[0]))

    def _both_ways(self, weight: Tensor) -> tuple[Matrix, Matrix]:
        """Return a kernel as the matrix that U is multiplied with, and that matrix's transpose."""
        matrix = weight.permute(0, 2, 3, 1).flatten(1)
        return Matrix(matrix, self.pixels), Matrix(matrix.T, self.pixels)

    def _rows(self, inputs: Tensor) -> Tensor:
        """Return U; faster from an a whose channels are contiguous in memory."""
        (high, wide), (down, right) = self.padding, self.stride
        padded = F.pad(inputs.permute(0, 2, 3, 1), (0, 0, wide, wide, high, high))
        windows = padded.unfold(1, self.kernel[0], down).unfold(2, self.kernel[1], right)
        return windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)

    def _fold(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Apply the transpose of `_rows`."""
        images, channels, height, width = inputs.shape
        (high, wide), (down, right), (out_height, out_width) = self.padding, self.stride, self._size(inputs.shape)
        windows = rows.view(images, out_height, out_width, *self.kernel, channels)
        folded = rows.new_zeros(images, height + 2 * high, width + 2 * wide, channels)
        for row, column in itertools.product(*map(range, self.kernel)):
            part = folded[:, row : row + down * out_height : down, column : column + right * out_width : right]
            part[:, :out_height, :out_width] += windows[:, :, :, row, column]
        return folded[:, high : high + height, wide : wide + width].permute(0, 3, 1, 2)

    def _image(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """View [pixels, outputs] as [images, outputs, height, width]."""
        return outputs.view(len(inputs), *self._size(inputs.shape), -1).permute(0, 3, 1, 2)


class WinogradConvolution(Convolution):
    """The same formulas for one trial and kernels of 3×3, with the compiled fast convolutions."""

    def __init__(self, module: nn.Conv2d) -> None:
        self.winograd = Winograd(module.out_channels, module.in_channels)
        self.there, self.direction_there = (self.winograd.room(module.weight.detach()) for _ in range(2))
        self.back, self.direction_back = (self.winograd.room(module.weight.detach(), transposed=True) for _ in range(2))
        super().__init__(module)

    def bind(self, values: Sequence[Tensor]) -> None:
        """W, also transformed, and b if there is one."""
        super().bind(values)
        self.winograd.kernel(self.weight, out=self.there)
        self.winograd.kernel(self.weight, transposed=True, out=self.back)

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = W∗a + b; saves a, and a transformed."""
        saved = self.saved_tangent(inputs, trials)
        outputs = self.winograd.output(inputs.shape, (self.there, saved[1]))
        return self._biased(outputs, self.bias), saved

    def saved_tangent(self, input_tangent: Tensor, trials: int) -> Saved:
        """Return ȧ, or a itself, and that transformed."""
        return input_tangent, self.winograd.data(input_tangent)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        """δ_in = Wᵀ∗δ."""
        return self.winograd.input(grad_output.shape, (self.back, self.winograd.data(grad_output)))

    def gradient(self, saved: Saved, grad_output: Tensor, trials: int) -> PerTrial:
        """G_W = δ∗a, G_b = Σδ."""
        weight = self.winograd.gradient(grad_output.shape, saved[1], self.winograd.grad_output(grad_output))[None]
        return (weight,) if self.bias is None else (weight, grad_output.sum((0, 2, 3))[None])

    def tangent_forward(self, saved: Saved, input_tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W∗ȧ + v_W∗a + v_b."""
        inputs, data = saved
        by_direction = self.winograd.kernel(direction[0][0], out=self.direction_there), data
        by_weight = None if input_tangent is None else (self.there, self.winograd.data(input_tangent))
        outputs = self.winograd.output(inputs.shape, by_direction, by_weight)
        return self._biased(outputs, None if self.bias is None else direction[1][0])

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ."""
        kernel = self.winograd.kernel(direction[0][0], transposed=True, out=self.direction_back)
        by_direction = kernel, self.winograd.data(grad_output)
        return self.winograd.input(grad_output.shape, by_direction, (self.back, self.winograd.data(grad_tangent)))


def _circle(size: int, border: int, device: torch.device) -> Tensor:
    """Return the pixels along a side of `size` that continues by `border` with its opposite end."""
    return torch.arange(-border, size + border, device=device) % size


def _side_by_side(each: Tensor, trials: int) -> Tensor:
    """Reshape [trials·n, channels, height, width] to [n, trials·channels, height, width]."""
    return of_trials(each, trials).transpose(0, 1).flatten(1, 2)


def _one_by_one(each: Tensor, trials: int) -> Tensor:
    """Apply the inverse of `_side_by_side`."""
    apart: Tensor = each.unflatten(1, (trials, -1))
    return apart.transpose(0, 1).flatten(0, 1)


def _columns(each: Tensor, trials: int) -> Tensor:
    """Reshape [trials·n, channels, height, width] to [trials, channels, n·pixels]."""
    return of_trials(each.flatten(2), trials).transpose(1, 2).flatten(2)


def _pixels_first(each: Tensor) -> Tensor:
    """Reshape [images, channels, height, width] to [images · pixels, channels]."""
    return each.permute(0, 2, 3, 1).flatten(0, 2)
