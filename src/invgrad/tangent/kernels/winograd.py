"""Compiled convolutions by Winograd's F(4×4, 3×3) (`_winograd.cpp`), for tensors on the CPU.

For kernels of 3×3 with stride 1 and one pixel of zeros around the image, so that heights and widths stay. Images,
gradients and kernels are transformed once, each to the form that a product needs, and used in several products:

    W∗a     output(shape, (kernel(W), data(a)))
    Wᵀ∗δ    input(shape, (kernel(W, transposed=True), data(δ)))
    δ∗a     gradient(shape, data(a), grad_output(δ))

A sum of two products, such as W∗ȧ + v∗a, is transformed back once. Results are those of a direct convolution up to
rounding: in float32 within about 4e-6 of their largest value, where torch's are within 2e-6.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from invgrad.tangent.kernels.library import SUFFIXES, library

POINTS, TILE, PADDING = 36, 4, 16  # as in the C++ file
KERNELS_PER_PIXEL = 4096

Pair = tuple[Tensor, Tensor]
"""A transformed kernel and transformed images."""


class _Geometry(ctypes.Structure):
    """The C++ structure `Geometry`."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "channels", "height", "width", "outputs"))


class Winograd:
    """Convolutions with kernels [outputs, channels, 3, 3], stride 1 and padding 1 with zeros.

    Transformed tensors are flat, in the order of the compiled products. `shape` is that of the images, of δ or
    of any other tensor for as many images of this size: [images, …, height, width].
    """

    def __init__(self, outputs: int, channels: int) -> None:
        self._outputs, self._channels = outputs, channels

    def kernel(self, weight: Tensor, transposed: bool = False, out: Tensor | None = None) -> Tensor:
        """Transform W [outputs, channels, 3, 3] for `output` or, if transposed, for `input`.

        `out` is an earlier result for the same shape, to be overwritten: it is four times as large as W, and fresh
        memory can take longer than the transform.
        """
        result = self.room(weight, transposed) if out is None else out
        geometry = _Geometry(channels=self._channels, outputs=self._outputs)
        _call("kernel", (weight.contiguous(),), result, geometry, transposed)
        return result

    def room(self, weight: Tensor, transposed: bool = False) -> Tensor:
        """Allocate the result of `kernel` for such a `weight`."""
        to, of = (self._channels, self._outputs) if transposed else (self._outputs, self._channels)
        return weight.new_empty(POINTS * (of + 1) * _padded(to))

    def data(self, images: Tensor) -> Tensor:
        """Transform a [images, channels, …], or δ [images, outputs, …], for products with kernels and `gradient`."""
        return _transform("data", images)

    def grad_output(self, grad_output: Tensor) -> Tensor:
        """Transform δ [images, outputs, height, width] for `gradient`."""
        return _transform("slope", grad_output)

    def output(self, shape: torch.Size, first: Pair, second: Pair | None = None) -> Tensor:
        """Return W∗a, or the sum of two of them, [images, outputs, height, width]."""
        return _convolve(_geometry(shape, self._channels, self._outputs), first, second)

    def input(self, shape: torch.Size, first: Pair, second: Pair | None = None) -> Tensor:
        """Return Wᵀ∗δ, or the sum of two of them, [images, channels, height, width]."""
        return _convolve(_geometry(shape, self._outputs, self._channels), first, second)

    def gradient(self, shape: torch.Size, data: Tensor, grad_output: Tensor) -> Tensor:
        """Return δ∗a [outputs, channels, 3, 3], summed over the images."""
        result = data.new_empty(self._outputs, self._channels, 3, 3)
        _call("gradient", (grad_output, data), result, _geometry(shape, self._channels, self._outputs))
        return result


def pays(channels: int, outputs: int, height: int, width: int, images: int) -> bool:
    """Return whether this is faster than torch's direct convolutions if the kernel of one product changes every time.

    With 16 channels or more it is 1.3 to 3 times as fast, unless there are so few pixels that transforming the kernel
    takes longer than what it saves: 512 channels on both sides need more than 64 pixels, 256 more than 16.
    """
    return images * height * width * KERNELS_PER_PIXEL > channels * outputs


def _transform(name: str, images: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    tiles = count * _tiles(height) * _tiles(width)
    result = images.new_empty(POINTS * (tiles + 1) * _padded(channels))
    _call(name, (images.contiguous(),), result, _geometry(images.shape, channels))
    return result


def _convolve(geometry: _Geometry, first: Pair, second: Pair | None) -> Tensor:
    result = first[0].new_empty(geometry.images, geometry.outputs, geometry.height, geometry.width)
    _call("convolve", (*first, *(second or (None, None))), result, geometry)
    return result


def _call(name: str, inputs: Sequence[Tensor | None], result: Tensor, geometry: _Geometry, *flags: bool) -> None:
    pointers = [ctypes.c_void_p(None if each is None else each.data_ptr()) for each in (*inputs, result)]
    counts = [ctypes.c_int64(each) for each in (*flags, torch.get_num_threads())]
    getattr(library("winograd"), f"{name}_{SUFFIXES[result.dtype]}")(*pointers, ctypes.byref(geometry), *counts)


def _geometry(shape: torch.Size, channels: int, outputs: int = 0) -> _Geometry:
    return _Geometry(shape[0], channels, shape[2], shape[3], outputs)


def _tiles(size: int) -> int:
    return -(-size // TILE)


def _padded(channels: int) -> int:
    return -(-channels // PADDING) * PADDING
