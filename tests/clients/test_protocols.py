"""What clients compute, against plain torch: many local steps in little memory, batch-norm in training mode."""

import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from invgrad.clients.loss import Loss, Parameters, cross_entropy
from invgrad.clients.protocols import STEPS_AT_ONCE, loss_of, sent_statistics, share
from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.networks.build import build
from invgrad.networks.settings import MLP, ConvNet, LeNetZhu
from invgrad.settings import SettingsError

EXACT = {"rtol": 1e-10, "atol": 1e-12}
TRIALS, IMAGES = 2, 4


def small_network() -> nn.Module:
    """Convolutions, batch-norm with statistics unlike those of any batch, dropout; in evaluation mode."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.Sigmoid(),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(5 * 9, 10),
    )
    for index in (1, 4):
        nn.init.uniform_(network[index].running_mean, -0.5, 0.5)
        nn.init.uniform_(network[index].running_var, 0.5, 2)
    return network.double().eval()


def in_training_mode(network: nn.Module) -> nn.Module:
    """Plain torch: a copy with its batch-norm layers, and these only, in training mode."""
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return copy


def parameters_of(network: nn.Module) -> Parameters:
    return {name: value.detach() for name, value in network.named_parameters()}


def images_and_labels(soft: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(TRIALS, IMAGES, 3, 12, 12, generator=generator, dtype=torch.float64)
    if soft:
        return images, torch.randn(TRIALS, IMAGES, 10, generator=generator, dtype=torch.float64).softmax(-1)
    return images, torch.randint(10, (TRIALS, IMAGES), generator=generator)


def measure(shared: tuple[Tensor, ...]) -> Tensor:
    """Some scalar that depends on everything shared."""
    return torch.stack([(tensor * torch.cos(10 * tensor + 1)).sum() for tensor in shared]).sum()


def measure_of(client: Client, loss: Loss, parameters: Parameters) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, labels: measure(share(client, loss, parameters, images, labels))


def unrolled(network: nn.Module, client: FederatedAveraging, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """The local steps with torch.autograd, their whole graph kept."""
    before = [value.detach().requires_grad_() for value in network.parameters()]
    local, names = before, [name for name, _ in network.named_parameters()]
    size = client.batch_size or len(images)
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    for step in range(client.steps or client.epochs * len(batches)):
        x, y = batches[step % len(batches)]
        loss = F.cross_entropy(functional_call(network, dict(zip(names, local, strict=True)), (x,)), y)
        slopes = torch.autograd.grad(loss, local, create_graph=True)
        local = [value - client.learning_rate * slope for value, slope in zip(local, slopes, strict=True)]
    return tuple(after - start for after, start in zip(local, before, strict=True))


@pytest.mark.parametrize(
    ("settings", "soft", "at_once"),
    [
        ({"steps": 1}, False, STEPS_AT_ONCE),
        ({"steps": 7, "batch_size": 2, "batch_norm": "training"}, False, STEPS_AT_ONCE),
        ({"epochs": 6, "batch_size": 2}, True, STEPS_AT_ONCE),
        ({"steps": 100, "batch_size": 2, "batch_norm": "training"}, True, STEPS_AT_ONCE),
        ({"steps": 30}, False, 2),  # parts of parts
    ],
)
def test_local_steps_and_their_gradient_are_those_of_the_whole_graph(
    settings: dict[str, Any], soft: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invgrad.clients.protocols.STEPS_AT_ONCE", at_once)
    network, (images, labels) = small_network(), images_and_labels(soft)
    client = FederatedAveraging(learning_rate=0.1, **settings)
    loss, parameters = loss_of(client, network), parameters_of(network)
    reference = network if client.batch_norm == "evaluation" else in_training_mode(network)
    function = grad(measure_of(client, loss, parameters), argnums=(0, 1) if soft else (0,))
    together = vmap(function)(images, labels)
    for trial in range(TRIALS):
        leaves = [images[trial].clone().requires_grad_(), labels[trial].clone().requires_grad_(soft)]
        update = unrolled(reference, client, *leaves)
        expected = torch.autograd.grad(measure(update), [leaf for leaf in leaves if leaf.requires_grad])
        alone = function(images[trial], labels[trial])
        for ours, theirs in zip(share(client, loss, parameters, images[trial], labels[trial]), update, strict=True):
            torch.testing.assert_close(ours, theirs.detach(), **EXACT)
        for one, among, theirs in zip(alone, together, expected, strict=True):
            torch.testing.assert_close(one, theirs, **EXACT)
            torch.testing.assert_close(among[trial], theirs, **EXACT)


class PeakMemory(TorchDispatchMode):
    """The largest number of bytes that tensors made within it took at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not hasattr(storage := tensor.untyped_storage(), "counted"):
                storage.counted = True
                self.change(storage.nbytes())
                weakref.finalize(storage, self.change, -storage.nbytes())
        return result

    def change(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)


@pytest.mark.parametrize(("network", "together"), [(LeNetZhu(), True), (MLP(widths=(64,)), False)])
def test_memory_does_not_grow_with_the_steps(network: LeNetZhu | MLP, together: bool) -> None:
    """Most of it is for activations in the first network, for parameters in the second."""
    built = build(network, classes=10, size=32, seed=0)
    loss, parameters = cross_entropy(built), parameters_of(built)
    images, labels = torch.rand(TRIALS, 1, 3, 32, 32), torch.zeros(TRIALS, 1, dtype=torch.long)

    def peak(steps: int) -> int:
        function = grad(measure_of(FederatedAveraging(steps=steps), loss, parameters))
        with PeakMemory() as memory:
            vmap(function)(images, labels) if together else function(images[0], labels[0])
        return memory.peak

    few, many = peak(STEPS_AT_ONCE), peak(10 * STEPS_AT_ONCE)
    assert few > STEPS_AT_ONCE * sum(value.nbytes for value in parameters.values()), "nothing was counted"
    assert many < 2 * few, "the whole graph takes 10 times as much"


def test_a_hundred_steps_of_a_deep_network() -> None:
    network = build(ConvNet(width=2), classes=10, size=16, seed=0)
    client = FederatedAveraging(steps=100)
    function = grad(measure_of(client, loss_of(client, network), parameters_of(network)))
    slope = function(torch.rand(1, 3, 16, 16), torch.tensor([3]))
    assert bool(slope.isfinite().all())
    assert bool(slope.any())


def test_training_mode_is_torchs_and_leaves_the_network_alone() -> None:
    network, (images, labels) = small_network(), images_and_labels()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    client = GradientClient(batch_norm="training", statistics="sent")
    sent_statistics(client, network)(parameters_of(network), images[0])
    shared = share(client, loss_of(client, network), parameters_of(network), images[0], labels[0])
    plain = in_training_mode(network)
    expected = torch.autograd.grad(F.cross_entropy(plain(images[0]), labels[0]), list(plain.parameters()))
    for ours, theirs in zip(shared, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)
    assert not any(module.training for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_evaluation_mode_is_the_default_and_takes_the_network_as_it_is() -> None:
    network, (images, labels) = small_network(), images_and_labels()
    loss = loss_of(GradientClient(), network)(parameters_of(network), images[0], labels[0])
    torch.testing.assert_close(loss, F.cross_entropy(network(images[0]), labels[0]).detach(), rtol=0, atol=0)
    assert sent_statistics(GradientClient(), network)(parameters_of(network), images[0]) == ()


def test_sent_statistics_are_those_of_each_layers_input() -> None:
    network, (images, _) = small_network(), images_and_labels()
    sent = sent_statistics(GradientClient(batch_norm="training", statistics="sent"), network)
    plain = in_training_mode(network)
    expected = []
    for index in (1, 4):
        inputs = plain[:index](images[0]).transpose(0, 1).flatten(1)
        mean = inputs.sum(1) / inputs.shape[1]
        expected += [mean, (inputs - mean[:, None]).square().sum(1) / inputs.shape[1]]
    for ours, theirs in zip(sent(parameters_of(network), images[0]), expected, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), **EXACT)


def test_training_mode_of_trials_together_is_that_of_each() -> None:
    network, (images, labels) = small_network(), images_and_labels()
    client, parameters = GradientClient(batch_norm="training", statistics="sent"), parameters_of(network)
    loss, sent = loss_of(client, network), sent_statistics(client, network)

    def everything(images: Tensor, labels: Tensor) -> Tensor:
        return measure((*share(client, loss, parameters, images, labels), *sent(parameters, images)))

    together = vmap(grad(everything))(images, labels)
    for trial in range(TRIALS):
        torch.testing.assert_close(together[trial], grad(everything)(images[trial], labels[trial]), **EXACT)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (GradientClient, {"statistics": "sent"}, "needs batch_norm: 'training'"),
        (FederatedAveraging, {"steps": 1, "batch_norm": "training", "statistics": "sent"}, "that share a gradient"),
    ],
)
def test_statistics_that_are_not_there_cannot_be_sent(
    kind: type[GradientClient | FederatedAveraging], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        kind(**settings)


def test_networks_and_images_without_batch_statistics_are_refused() -> None:
    client = GradientClient(batch_norm="training")
    with pytest.raises(SettingsError, match="no batch-norm layers"):
        loss_of(client, build(LeNetZhu(), classes=10, size=32, seed=0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)).eval()
    loss, label = loss_of(client, network), torch.tensor([1])
    with pytest.raises(SettingsError, match=r"more than one value per channel, but a layer gets \(1, 4\)"):
        share(client, loss, parameters_of(network), torch.rand(1, 3, 2, 2), label)
    assert share(client, loss, parameters_of(network), torch.rand(2, 3, 2, 2), label.expand(2))
