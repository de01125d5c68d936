"""Closed-form recovery of the input of a fully connected layer from its gradient (Prop. 3.1).

With z = W·a + b, the gradient of a row of W is ∂L/∂W_i = Σ_k δ_ik·a_k over the n inputs a_k of a batch, and that of its
bias is ∂L/∂b_i = Σ_k δ_ik. Their quotient is the input itself for n = 1, exactly, whatever the rest of the network
does. For a batch every row gives another mixture of the inputs, Σ_k δ_ik·a_k / Σ_k δ_ik, whose weights add up to 1 but
may be negative; a row shows one image alone only if no other image of the batch has a gradient there (as behind a ReLU
that only this image activates).
"""

import torch
from torch import Tensor


def row_quotients(weight: Tensor, bias: Tensor) -> Tensor:
    """What each row of a fully connected layer says of its input, from the gradients of its weight [outputs, inputs]
    and bias [outputs]: [outputs, inputs], not a number where the bias gradient is zero.
    """
    return torch.where(bias[:, None] != 0, weight / bias[:, None], torch.nan)


def recover_input(weight: Tensor, bias: Tensor) -> Tensor:
    """The input [inputs] of a biased fully connected layer, from the gradients of its weight [outputs, inputs] and bias
    [outputs] for one image; the best conditioned row is used. For a batch this is a mixture (see `row_quotients`).

    Raises `ValueError` if the bias gradient is zero everywhere: then the layer's input left no trace.
    """
    row = bias.abs().argmax()
    if bias[row] == 0:
        raise ValueError("the bias gradient is zero in every row: nothing can be recovered")
    return weight[row] / bias[row]
