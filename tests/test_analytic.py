"""Prop. 3.1: exact for one image, a known mixture for a batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invgrad.analytic import recover_input, row_quotients
from invgrad.client import GradientClient, cross_entropy
from invgrad.networks import MLP, build


@given(seed=st.integers(0, 1000), widths=st.lists(st.integers(4, 40), min_size=0, max_size=3))
@settings(max_examples=20, deadline=None)
def test_one_image_is_recovered_exactly(seed: int, widths: list[int]) -> None:
    network = build(MLP(widths=tuple(widths)), classes=5, size=6, seed=seed).double()
    image = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parameters = dict(network.named_parameters())
    weight, bias, *_ = GradientClient().share(cross_entropy(network), parameters, image, torch.tensor([seed % 5]))
    if bias.abs().max() > 0:
        torch.testing.assert_close(recover_input(weight, bias), image.flatten(), rtol=1e-9, atol=1e-9)


def test_a_batch_gives_mixtures() -> None:
    network = build(MLP(widths=()), classes=4, size=4, seed=0).double()
    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2])
    parameters = dict(network.named_parameters())
    weight, bias = GradientClient().share(cross_entropy(network), parameters, images, labels)
    slopes = network(images).softmax(1) - torch.eye(4, dtype=torch.float64)[labels]
    mixture = (slopes / slopes.sum(0)).T @ images.flatten(1)
    torch.testing.assert_close(row_quotients(weight, bias), mixture, rtol=1e-9, atol=1e-9)
    assert not any(torch.allclose(recover_input(weight, bias), image.flatten()) for image in images)


def test_a_layer_without_gradient_says_nothing() -> None:
    with pytest.raises(ValueError, match="nothing can be recovered"):
        recover_input(torch.zeros(3, 5), torch.zeros(3))
    assert row_quotients(torch.ones(2, 5), torch.tensor([0.0, 2.0])).isnan().all(1).tolist() == [True, False]
