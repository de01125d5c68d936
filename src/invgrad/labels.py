"""Labels read off a shared gradient."""

from torch import Tensor


def infer_label(last_weight: Tensor) -> Tensor:
    """The label of the single image behind a gradient, from the gradient [..., classes, features] of the last weight
    matrix: the row with the smallest sum, shape [...] (iDLG, Zhao et al. 2020; released code: `reconstruct`).

    Exact for one image and cross-entropy if the last layer's inputs are non-negative, as after a ReLU or a sigmoid.
    """
    return last_weight.sum(-1).argmin(-1)
