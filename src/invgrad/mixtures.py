"""What an analytic attack on a batch shows: how much of which image is in each mixture."""

import math

import torch
from torch import Tensor


def mixture_weights(mixtures: Tensor, originals: Tensor) -> Tensor:
    """The weights of n `originals` in each of m `mixtures`, float64 [m, n], by least squares; both images [·, 3, h, w]
    in [0, 1].

    Mixtures go beyond [0, 1] where weights are negative or larger than 1, and are clamped when they are shown, so that
    only the values that are strictly inside tell the weights. These are not a number where too few values do.
    """
    basis = originals.double().flatten(1).T
    found = torch.full((len(mixtures), len(originals)), math.nan, dtype=torch.float64)
    for number, mixture in enumerate(mixtures.double().flatten(1)):
        inside = (mixture > 0) & (mixture < 1)
        known = basis[inside]
        if len(known) and torch.linalg.matrix_rank(known) == len(originals):
            found[number] = torch.linalg.lstsq(known, mixture[inside, None]).solution[:, 0]
    return found
