"""Prop. 3.1: exact for one image, a known mixture for a batch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from invgrad.attack.analytic import first_layer, recover_inputs, row_quotients
from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import Analytic
from invgrad.clients.loss import cross_entropy
from invgrad.clients.protocols import share
from invgrad.clients.settings import FederatedAveraging, GradientClient
from invgrad.clients.shared import Shared
from invgrad.metrics.image_quality import psnr
from invgrad.networks.build import build
from invgrad.networks.settings import MLP, LeNetZhu
from invgrad.settings import SettingsError

EXACT = Analytic(precision="float64")


def shared_by(network: nn.Module, images: Tensor, labels: Tensor) -> Shared:
    """What clients with these images [clients, n, 3, h, w] and labels [clients, n] share."""
    loss, parameters = cross_entropy(network), {name: value.detach() for name, value in network.named_parameters()}
    each = [share(GradientClient(), loss, parameters, x, y) for x, y in zip(images, labels, strict=True)]
    tensors = tuple(torch.stack(tensors) for tensors in zip(*each, strict=True))
    zeros, ones = (0.0,) * 3, (1.0,) * 3
    return Shared(tensors=tensors, images=images.shape[1], shape=(3, *images.shape[-2:]), mean=zeros, std=ones)


def attacked(network: nn.Module, shared: Shared, attack: Analytic = EXACT) -> Reconstruction:
    return reconstruct(network, GradientClient(), shared, attack, seed_key="k")


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 1000), widths=st.lists(st.integers(4, 40), min_size=0, max_size=3))
@settings(max_examples=20, deadline=None)
def test_one_image_is_recovered_exactly(seed: int, widths: list[int]) -> None:
    network = build(MLP(widths=tuple(widths)), classes=5, size=6, seed=seed).double()
    images, labels = random_images(2, 1, 3, 6, 6, seed=seed), torch.tensor([[seed % 5], [0]])
    shared = shared_by(network, images, labels)
    assume(bool((shared.tensors[1] != 0).any(1).all()))
    result = attacked(network, shared)
    torch.testing.assert_close(result.images, images, rtol=1e-10, atol=1e-10)
    assert result.selected.tolist() == [0, 0]
    assert result.labels.tolist() == [[-1], [-1]]
    assert result.iterations.tolist() == [[0], [0]]
    assert result.matching_cost.isnan().all()


def test_one_image_is_recovered_in_single_precision() -> None:
    network = build(MLP(widths=(64, 32)), classes=10, size=32, seed=0)
    images = random_images(4, 1, 3, 32, 32).sigmoid().float()
    result = attacked(network, shared_by(network, images, torch.arange(4)[:, None]), Analytic())
    assert result.images.dtype == torch.float32
    assert psnr(result.images[:, 0], images[:, 0]).min() > 80


@given(seed=st.integers(0, 1000), count=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_a_batch_gives_different_mixtures(seed: int, count: int) -> None:
    network = build(MLP(widths=(30,)), classes=10, size=4, seed=seed).double()
    images = random_images(1, count, 3, 4, 4, seed=seed)
    found = attacked(network, shared_by(network, images, torch.arange(count)[None])).images[0].flatten(1)
    originals = images[0].flatten(1)
    weights = torch.linalg.lstsq(originals.T, found.T).solution
    torch.testing.assert_close(originals.T @ weights, found.T, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(weights.sum(0), torch.ones(count, dtype=torch.float64), rtol=1e-8, atol=1e-8)
    assert torch.pdist(found).min() > 1e-3


def test_the_mixtures_are_known() -> None:
    network = build(MLP(widths=()), classes=4, size=4, seed=0).double()
    images, labels = random_images(3, 3, 4, 4, seed=1), torch.tensor([0, 1, 2])
    weight, bias = (each[0] for each in shared_by(network, images[None], labels[None]).tensors)
    slopes = network(images).softmax(1) - torch.eye(4, dtype=torch.float64)[labels]
    mixtures = (slopes / slopes.sum(0)).T @ images.flatten(1)
    torch.testing.assert_close(row_quotients(weight, bias), mixtures, rtol=1e-9, atol=1e-9)
    strongest = slopes.sum(0).abs().argsort(descending=True)
    torch.testing.assert_close(recover_inputs(weight, bias, 3), mixtures[strongest[:3]], rtol=1e-9, atol=1e-9)


def test_rows_that_only_one_image_activates_show_the_images() -> None:
    """Three rows, of which two show the same image: each image is recovered once."""
    inputs = torch.tensor([[1.0, 0, 2, 0], [0, 3, 0, 1]])
    slopes = torch.tensor([[5.0, 0], [4.0, 0], [0, 1.0], [0, 0]])
    bias = slopes.sum(1)
    weight = slopes @ inputs * (1 + 1e-6 * torch.tensor([[0.0], [1], [0], [0]]))
    assert recover_inputs(weight, bias, 2).tolist() == inputs.tolist()
    assert recover_inputs(weight, bias, 3).isnan().all(1).tolist() == [False, False, True]
    assert row_quotients(weight, bias).isnan().all(1).tolist() == [False, False, False, True]


def test_a_client_without_a_trace_fails_alone() -> None:
    network = build(MLP(widths=(8,)), classes=4, size=4, seed=0).double()
    images = random_images(3, 1, 3, 4, 4)
    shared = shared_by(network, images, torch.zeros(3, 1, dtype=torch.long))
    for tensor in shared.tensors:
        tensor[1] = 0
        tensor[2] = torch.nan
    result = attacked(network, shared)
    assert result.selected.tolist() == [0, -1, -1]
    assert result.images[1:].isnan().all()
    torch.testing.assert_close(result.images[0], images[0])


class Turned(nn.Module):
    """Flattens the images with the channels last."""

    def forward(self, images: Tensor) -> Tensor:
        return images.movedim(1, -1).flatten(1)


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([nn.Conv2d(3, 2, 4), nn.Flatten()], r"not a Conv2d of \[3, 4, 4\]"),
        ([nn.Flatten(), nn.Linear(48, 2, bias=False)], "not a Linear"),
        ([nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(48, 2)], "not a Linear"),
        ([Turned(), nn.Linear(48, 2)], "not a Linear"),
        ([nn.Flatten(0, 2), nn.Linear(4, 2), nn.Flatten(0), nn.Unflatten(0, (1, 24))], r"not a Linear of \[4\]"),
        ([nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2)], "not a BatchNorm1d"),
    ],
)
def test_another_first_layer_is_refused(layers: list[nn.Module], what: str) -> None:
    with pytest.raises(SettingsError, match=f"first layer is a biased Linear of the flattened image, {what}"):
        first_layer(nn.Sequential(*layers).eval(), (3, 4, 4))


class Functional(nn.Module):
    """Counts its calls, and has a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(48, 2), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return F.linear(images.flatten(1), self.layer.weight, self.layer.bias)


def test_the_network_stays_as_it_is_also_where_it_is_refused() -> None:
    network = Functional().eval()
    shared = shared_by(network, random_images(1, 1, 3, 4, 4).float(), torch.tensor([[1]]))
    network.calls = 0
    with pytest.raises(SettingsError, match="not a Functional of"):
        attacked(network, shared)
    assert network.calls == 0
    with pytest.raises(SettingsError, match="takes no 5×5 images"):
        attacked(network, replace(shared, shape=(3, 5, 5)))


def test_the_first_layer_need_not_come_first_in_the_list_of_parameters() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Linear(7, 3)
            self.first = nn.Linear(48, 7)

        def forward(self, images: Tensor) -> Tensor:
            return F.softplus(self.first(images.flatten(1))) @ self.second.weight.T + self.second.bias

    torch.manual_seed(0)
    network, images = Crossed().double().eval(), random_images(1, 1, 3, 4, 4)
    found = attacked(network, shared_by(network, images, torch.tensor([[2]]))).images
    torch.testing.assert_close(found, images, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factor", [2.0**-900, 2.0**-100, 2.0**200])
def test_the_scale_of_the_gradient_does_not_matter(factor: float) -> None:
    network = build(MLP(widths=(8,)), classes=4, size=4, seed=0).double()
    shared = shared_by(network, random_images(1, 1, 3, 4, 4), torch.tensor([[1]]))
    scaled = replace(shared, tensors=tuple(factor * tensor for tensor in shared.tensors))
    single = Analytic(precision="float32")
    one, other = (
        reconstruct(network, GradientClient(), each, single, seed_key="k").images for each in (shared, scaled)
    )
    assert torch.equal(one, other)


def test_a_frozen_first_layer_shows_nothing() -> None:
    network = build(MLP(widths=(8,)), classes=4, size=4, seed=0)
    next(network.parameters()).requires_grad_(False)
    gradient = [torch.ones_like(each) for each in network.parameters() if each.requires_grad]
    shared = Shared.of(network, gradient, shape=(3, 4, 4))
    with pytest.raises(SettingsError, match="but it is frozen"):
        reconstruct(network, GradientClient(), shared, Analytic(), seed_key="k")


def test_what_does_not_belong_together_is_refused() -> None:
    network = build(MLP(widths=(8,)), classes=4, size=4, seed=0)
    shared = shared_by(network, random_images(1, 1, 3, 4, 4).float(), torch.tensor([[1]]))
    with pytest.raises(SettingsError, match=r"needs a gradient, not federated-averaging \(nearest: gradient\)"):
        reconstruct(network, FederatedAveraging(steps=1), shared, Analytic(), seed_key="k")
    with pytest.raises(SettingsError, match="the network has 8 parameters"):
        attacked(build(LeNetZhu(), classes=4, size=32, seed=0), shared)
