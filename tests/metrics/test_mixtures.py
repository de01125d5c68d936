"""The weights of the originals are found, also where a mixture was clamped."""

import torch
from torch import Tensor

from invgrad.metrics.image_quality import mixture_weights

WEIGHTS = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.5, 0.2], [1.8, -0.5, -0.3]], dtype=torch.float64)


def originals() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_weights_of_clamped_mixtures() -> None:
    mixtures = torch.einsum("mn,nchw->mchw", WEIGHTS, originals())
    assert mixtures.min() < 0
    assert mixtures.max() > 1
    torch.testing.assert_close(mixture_weights(mixtures.clamp(0, 1), originals()), WEIGHTS)


def test_too_little_is_seen_of_a_black_or_failed_mixture() -> None:
    mixtures = torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), torch.nan)])
    assert mixture_weights(mixtures, originals()).isnan().all()
