"""Products of rows with a matrix, by oneDNN where torch has it: twice as fast as torch's own on some processors."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Matrix:
    """A matrix that stays the same, [outputs, inputs]."""

    def __init__(self, weight: Tensor, rows: int) -> None:
        """Take W, and the number of rows of the matrices to multiply with it."""
        self._weight = weight.contiguous()
        self._packed = None
        if _onednn(weight):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, rows)

    def of(self, rows: Tensor) -> Tensor:
        """Return x·Wᵀ, [rows, outputs], of x [rows, inputs]."""
        return times_transpose(rows, self._weight) if self._packed is None else _linear(rows, self._packed)


def times_transpose(rows: Tensor, weight: Tensor) -> Tensor:
    """Return x·Wᵀ, [rows, outputs], of x [rows, inputs] and W [outputs, inputs]."""
    return _linear(rows, weight) if _onednn(rows) else F.linear(rows, weight)


def _linear(rows: Tensor, weight: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
    return product


def _onednn(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and torch.backends.mkldnn.is_available()
