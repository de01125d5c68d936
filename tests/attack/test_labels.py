"""Labels are read off the last layer that the logits come from, whatever it is and wherever it is registered."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from invgrad.attack.labels import infer_labels
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import Attack
from invgrad.clients.settings import GradientClient
from invgrad.clients.shared import Shared
from invgrad.settings import SettingsError

SHAPE = (3, 8, 8)


class HeadFirst(nn.Module):
    """Its head is registered before its body, whose matrix has the shape of a head."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.head = nn.Linear(10, 10, bias=bias)
        self.body = nn.Linear(192, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(images.flatten(1))))


class Functional(nn.Module):
    """Its head is no module, and divides the logits by a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.weight = nn.Parameter(torch.zeros(10)), nn.Parameter(torch.randn(192, 10) / 10)

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weight + self.bias) / 2


def wide(*after: nn.Module, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), *after, nn.Linear(32, 10, bias=bias))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": lambda: wide(nn.LayerNorm(32)),
    "tanh": lambda: wide(nn.Tanh()),
    "batch norm": lambda: wide(nn.BatchNorm1d(32)),
    "nothing between": wide,
    "relu without bias": lambda: wide(nn.ReLU(), bias=False),
    "sigmoid without bias": lambda: wide(nn.Sigmoid(), bias=False),
    "head first": lambda: HeadFirst(bias=True),
    "head first without bias": lambda: HeadFirst(bias=False),
    "functional": Functional,
    "convolution": lambda: nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "log-softmax": lambda: nn.Sequential(wide(), nn.LogSoftmax(1)),
}


def gradient_of(network: nn.Module, labels: Sequence[int], seed: int = 0) -> tuple[Tensor, ...]:
    images = torch.randn(len(labels), *SHAPE, generator=torch.Generator().manual_seed(seed))
    loss = F.cross_entropy(network(images), torch.tensor(labels))
    return torch.autograd.grad(loss, [each for each in network.parameters() if each.requires_grad])


def inferred(network: nn.Module, gradient: Sequence[Tensor], images: int = 1) -> list[int]:
    shared = Shared.of(network, gradient, shape=SHAPE, images=images)
    found: list[int] = (
        reconstruct(network, GradientClient(), shared, Attack(iterations=1), seed_key="k").labels[0].tolist()
    )
    return found


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_the_label_of_one_image_is_inferred_exactly(make: Callable[[], nn.Module]) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        network = make().eval()
        assert inferred(network, gradient_of(network, [(3 * seed) % 10], seed)) == [(3 * seed) % 10]


@pytest.mark.parametrize(
    "network",
    [
        wide(nn.LayerNorm(32), bias=False),
        nn.Sequential(nn.Conv2d(3, 10, 8, bias=False), nn.Flatten()),
        nn.Sequential(wide(), nn.Softmax(1)),
        nn.Sequential(wide(), nn.Linear(10, 10).requires_grad_(False)),
    ],
    ids=["signed inputs", "images as inputs", "probabilities for logits", "frozen head"],
)
def test_a_gradient_that_does_not_tell_the_label_is_refused(network: nn.Module) -> None:
    network.eval()
    with pytest.raises(SettingsError, match="give labels, or optimise them"):
        inferred(network, gradient_of(network, [3]))


def test_a_last_layer_of_which_nothing_is_shared_tells_no_label() -> None:
    network = wide().eval()
    with pytest.raises(SettingsError, match="nothing is shared for a last layer"):
        inferred(network, [*gradient_of(network, [3])[:2], None, None])


@given(data=st.data(), labels=st.lists(st.integers(0, 9), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_labels_of_a_batch_are_found_where_the_total_probabilities_are_close(
    data: st.DataObject, labels: list[int]
) -> None:
    seed = data.draw(st.integers(0, 10**6))
    logits = torch.randn(len(labels), 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    probabilities = (logits / len(labels)).softmax(1)
    totals = probabilities.sum(0)
    assume(totals.max() - totals.min() < 0.999)
    gradient = (probabilities - F.one_hot(torch.tensor(labels), 10)).mean(0)
    assert infer_labels(gradient, len(labels)).tolist() == sorted(labels)


def test_a_class_that_takes_more_than_its_images_can_explain_is_there() -> None:
    """Even where the estimate errs: a negative entry is evidence."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        probabilities = (5 * torch.randn(6, 10, generator=generator)).softmax(1)
        labels = torch.randint(10, (6,), generator=generator)
        gradient = (probabilities - F.one_hot(labels, 10)).mean(0)
        found = torch.bincount(infer_labels(gradient, 6), minlength=10)
        assert bool((found >= -6 * gradient - 1e-5).all())


@pytest.mark.parametrize("labels", [[7, 2, 9, 4], [7, 2, 7, 9, 7, 2], [5, 5, 5, 5]])
@pytest.mark.parametrize("bias", [True, False])
def test_the_labels_of_a_batch_are_inferred_repeated_or_not(bias: bool, labels: list[int]) -> None:
    torch.manual_seed(0)
    network = wide(nn.Sigmoid(), bias=bias).eval()
    with torch.no_grad():
        network[-1].weight /= 10  # without a preference for a class
    assert inferred(network, gradient_of(network, labels), len(labels)) == sorted(labels)


def test_a_network_of_one_class_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 1)).eval()
    with pytest.raises(SettingsError, match=r"1 output.*2 classes or more"):
        inferred(network, [torch.ones(1, 192), torch.ones(1)])
