"""Compiled convolutions of many small images at once (`_convolution.cpp`), for tensors on the CPU.

Images, and kernels that every image has of its own, keep their first dimension in their shape, but it is the fastest in
memory: each image is a lane of the processor's vectors. Element-wise operations of torch keep that order.
"""

import ctypes

import torch
from torch import Tensor

from invgrad.tangent.kernels.library import SUFFIXES, library


class _Geometry(ctypes.Structure):
    """The C++ structure `Geometry`."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("images", "channels", "height", "width", "outputs", "rows", "columns"),
            *("stride_down", "stride_right", "padding_down", "padding_right", "out_height", "out_width"),
        )
    )


def first_fastest(tensor: Tensor) -> Tensor:
    """Return the same values with the first dimension fastest in memory (a copy, unless they are so already)."""
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


class BatchedConvolution:
    """Convolutions of one shape of kernel, [outputs, channels, rows, columns], stride and padding with zeros.

    A kernel is shared by all images, or has the images as an additional first dimension.
    """

    def __init__(self, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int]) -> None:
        self._kernel = tuple(kernel)
        self._stride = stride
        self._padding = padding

    def convolve(self, images: Tensor, kernel: Tensor) -> Tensor:
        """Return W∗a, [images, outputs, …] from a [images, channels, height, width]."""
        geometry = self._geometry(images.shape)
        shape = (geometry.outputs, geometry.out_height, geometry.out_width)
        own = kernel.dim() == 5
        return _call("convolve", (images, _ready(kernel)), shape, geometry, own)

    def transpose(self, grad_outputs: Tensor, kernel: Tensor, shape: torch.Size) -> Tensor:
        """Return Wᵀ∗δ, images of `shape` from δ [images, outputs, …]."""
        own = kernel.dim() == 5
        return _call("transpose", (grad_outputs, _ready(kernel)), tuple(shape[1:]), self._geometry(shape), own)

    def gradient(self, images: Tensor, grad_outputs: Tensor) -> Tensor:
        """Return δ∗a of every image, [images, outputs, channels, rows, columns]."""
        return _call("gradient", (images, first_fastest(grad_outputs)), self._kernel, self._geometry(images.shape))

    def _geometry(self, shape: torch.Size) -> _Geometry:
        outputs, channels, rows, columns = self._kernel
        (down, right), (high, wide) = self._stride, self._padding
        out_height = (shape[2] + 2 * high - rows) // down + 1
        out_width = (shape[3] + 2 * wide - columns) // right + 1
        edges = (down, right, high, wide, out_height, out_width)
        return _Geometry(shape[0], channels, shape[2], shape[3], outputs, rows, columns, *edges)


def _ready(kernel: Tensor) -> Tensor:
    return first_fastest(kernel) if kernel.dim() == 5 else kernel.contiguous()


def _call(name: str, inputs: tuple[Tensor, Tensor], shape: tuple[int, ...], geometry: _Geometry, *own: bool) -> Tensor:
    first, second = first_fastest(inputs[0]), inputs[1]
    result = first.new_empty((*shape, geometry.images))
    function = getattr(library("convolution"), f"{name}_{SUFFIXES[first.dtype]}")
    arguments = [ctypes.c_void_p(each.data_ptr()) for each in (first, second, result)]
    counts = [ctypes.c_int64(each) for each in (*own, torch.get_num_threads())]
    function(*arguments, ctypes.byref(geometry), *counts)
    return result.movedim(-1, 0)
