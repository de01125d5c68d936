"""Activation errors, layer by layer."""

import math

import pytest
import torch
from torch import Tensor, nn

from invgrad.metrics.activations import activation_errors
from invgrad.networks.build import build
from invgrad.networks.settings import LeNetZhu, ResNet


def images(seed: int) -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class TwoLayers(nn.Module):
    """x ↦ ReLU(ReLU(2x) − 1), the ReLU being one module."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
        self.relu = nn.ReLU(inplace)
        for layer, weight, bias in ((self.first, 2.0, 0.0), (self.second, 1.0, -1.0)):
            nn.init.constant_(layer.weight, weight)
            nn.init.constant_(layer.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.relu(self.first(x))))


def test_identical_images_have_no_error() -> None:
    network = build(ResNet(depth=20, width=2), classes=10, size=8, seed=0)
    rows = activation_errors(network, images(0), images(0))
    assert {row.squared_error for row in rows} == {0}
    assert {row.relative_error for row in rows} == {0}
    assert {row.mean_squared_error for row in rows} == {0}


def test_rows_follow_the_forward_pass() -> None:
    rows = activation_errors(build(LeNetZhu(), classes=10, size=8, seed=0), images(0), images(1))
    assert [row.kind for row in rows] == ["Conv2d", "Sigmoid"] * 3 + ["Flatten", "Linear"]
    assert [row.layer for row in rows] == [str(number) for number in range(8)]
    assert all(row.relative_error > 0 for row in rows)


@pytest.mark.parametrize("inplace", [False, True])
def test_by_hand(inplace: bool) -> None:
    """Inputs 1, −1 and 2, 1 give 2, −2 and 4, 2, then 2, 0 and 4, 2, then 1, −1 and 3, 1, then 1, 0 and 3, 1."""
    rows = activation_errors(TwoLayers(inplace), torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [1.0]]))
    assert [(row.layer, row.call) for row in rows] == [("first", 1), ("relu", 1), ("second", 1), ("relu", 2)]
    assert [row.squared_error for row in rows] == pytest.approx([20, 8, 8, 5])
    assert [row.mean_squared_error for row in rows] == pytest.approx([10, 4, 4, 2.5])
    assert [row.relative_error for row in rows] == pytest.approx([math.sqrt(part) for part in (20 / 8, 2, 4, 5)])
    cosines = [4 / math.sqrt(8 * 20), 8 / math.sqrt(4 * 20), 2 / math.sqrt(2 * 10), 3 / math.sqrt(10)]
    assert [row.cosine_similarity for row in rows] == pytest.approx(cosines)


def test_what_is_not_finite_is_not_hidden() -> None:
    rows = activation_errors(TwoLayers(False), torch.tensor([[-1.0]]), torch.tensor([[torch.nan]]))
    assert all(math.isnan(row.relative_error) for row in rows)
    vanished = activation_errors(TwoLayers(False), torch.tensor([[-1.0]]), torch.tensor([[1.0]]))
    assert [row.relative_error for row in vanished] == [2, math.inf, 2, math.inf]


def test_nothing_is_left_behind() -> None:
    network = build(LeNetZhu(), classes=10, size=8, seed=0)
    activation_errors(network, images(0), images(1))
    with pytest.raises(RuntimeError):
        activation_errors(network, images(0), images(1)[:, :2])
    assert not any(module._forward_hooks for module in network.modules())
