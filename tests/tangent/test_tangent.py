"""Tangent passes against automatic differentiation."""

import copy

import pytest
import torch
from _pytest.mark import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp, vmap

from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.networks.build import build
from invgrad.networks.efficientnet_lite import Renormalise
from invgrad.networks.settings import MLP, ConvNet, LeNetZhu, Network, ResNet
from invgrad.objective.autodiff import Objective
from invgrad.objective.build import objective_for
from invgrad.objective.by_tangents import TangentObjective
from invgrad.objective.compiled import CompiledObjective
from invgrad.objective.distances import squares
from invgrad.objective.layer_weights import layer_mask, layer_weights
from invgrad.objective.priors import total_variation, total_variation_gradient
from invgrad.objective.reference import objective_gradient
from invgrad.objective.settings import (
    L1,
    AllLayers,
    Cosine,
    Distance,
    FirstLayers,
    LargestLayers,
    Layers,
    LayerwiseCosine,
    Maximum,
    PrunedCosine,
    SquaredEuclidean,
    Weighting,
)
from invgrad.objective.targets import Targets
from invgrad.tangent import registry
from invgrad.tangent.convolutions import PassOptions
from invgrad.tangent.layers import Layer, PerTrial, Saved
from invgrad.tangent.registry import VALUE, layer_for, layer_for_call, layer_of
from invgrad.tangent.tracing import trace

CLOSE = {"rtol": 1e-9, "atol": 1e-15}
SHAPE = (2, 3, 16, 16)
EVERY_LAYER = AllLayers()
COSINE = Cosine()
GRADIENT = GradientClient()
DISTANCES: list[Distance] = [SquaredEuclidean(), L1(), Maximum(), Cosine(), LayerwiseCosine(), PrunedCosine()]
NETWORKS: dict[str, Network] = {
    "lenet": LeNetZhu(),
    "convnet-zeros": ConvNet(width=4),
    "convnet-circular": ConvNet(width=4, padding="circular"),
    "resnet20": ResNet(depth=20, width=4),
    "resnet18": ResNet(depth=18, width=4),
    "resnet50-max": ResNet(depth=50, width=2, pool="max"),
    "mlp": MLP(widths=(16, 8)),
}


def make(network: nn.Module) -> nn.Module:
    """In double precision and evaluation mode, with batch-norms that are not the identity."""
    network = network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine and module.running_mean is not None:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
    return network


def victim(name: str) -> nn.Module:
    torch.manual_seed(1)
    return make(build(NETWORKS[name], classes=5, size=16, seed=0))


def problem(
    network: nn.Module,
    trials: int,
    count: int,
    *,
    size: int = 16,
    soft: bool = False,
    layers: Layers = EVERY_LAYER,
    weighting: Weighting = "equal",
) -> tuple[Tensor, Tensor, Targets]:
    images = torch.randn(trials, count, 3, size, size, dtype=torch.float64)
    target = tuple(torch.randn(trials, *p.shape, dtype=torch.float64) for p in network.parameters())
    each = [[tensor[trial] for tensor in target] for trial in range(trials)]
    labels = torch.randn(trials, count, 5, dtype=torch.float64) if soft else torch.randint(5, (trials, count))
    masks = [layer_mask(layers, one, torch.Generator()) for one in each]
    return (
        images,
        labels,
        Targets(
            target=target,
            squares=squares(target),
            weights=torch.stack([layer_weights(weighting, one) for one in each]),
            chosen=torch.stack(masks),
        ),
    )


def objective(
    network: nn.Module, images: Tensor, distance: Distance = COSINE, client: Client = GRADIENT
) -> Objective | TangentObjective | CompiledObjective:
    return objective_for(network, client, distance, 0.1, images.shape[1:])


def agree(
    network: nn.Module,
    distance: Distance,
    images: Tensor,
    labels: Tensor,
    targets: Targets,
    client: Client = GRADIENT,
) -> None:
    fast = objective(network, images, distance, client)
    assert not isinstance(fast, Objective)
    slow = Objective(network, client, distance, 0.1)
    got, expected = fast.gradient(images, labels, targets), slow.gradient(images, labels, targets)
    assert (got.label_gradient is None) == (not labels.is_floating_point())
    for one, other in zip(got, expected, strict=True):
        if one is None or other is None:
            assert one is other
            continue
        scale = other.abs().max().clamp_min(1e-4)  # one of zero is so up to rounding
        torch.testing.assert_close(one / scale, other / scale, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        fast.matching_cost(images, labels, targets), slow.matching_cost(images, labels, targets), **CLOSE
    )


def at_night(*values: object) -> ParameterSet:
    return pytest.param(*values, marks=pytest.mark.night)


def without_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invgrad.tangent.kernels.library.library", lambda name: None)


@pytest.mark.parametrize(("trials", "count"), [(1, 1), (3, 2), at_night(1, 3), at_night(3, 1)])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", ["compiled", "in torch", "one by one", "one by one in torch"])
def test_networks(name: str, trials: int, count: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way.endswith("in torch"):
        without_compiled_kernels(monkeypatch)
    if way.startswith("one by one"):
        for module in ("autodiff", "build"):
            monkeypatch.setattr(f"invgrad.objective.{module}.runs_together", lambda network: False)
    network = victim(name)
    agree(network, Cosine(), *problem(network, trials, count))


@pytest.mark.parametrize("weighting", ["equal", "exponential"])
@pytest.mark.parametrize("layers", [EVERY_LAYER, FirstLayers(count=4), LargestLayers(count=2)], ids=lambda x: x.kind)
@pytest.mark.parametrize("distance", DISTANCES, ids=lambda x: x.kind)
def test_distances_layer_choices_and_weightings(distance: Distance, layers: Layers, weighting: Weighting) -> None:
    network = victim("lenet")
    agree(network, distance, *problem(network, 3, 2, layers=layers, weighting=weighting))


@pytest.mark.parametrize("distance", [SquaredEuclidean(), Cosine()], ids=lambda x: x.kind)
@pytest.mark.parametrize("name", ["lenet", "resnet20"])
def test_soft_labels(name: str, distance: Distance) -> None:
    network = victim(name)
    agree(network, distance, *problem(network, 2, 3, soft=True))


LAYERS: dict[str, nn.Module] = {
    "conv": nn.Conv2d(3, 4, 3, padding=1),
    "conv-no-bias-strided": nn.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0), bias=False),
    "conv-circular": nn.Conv2d(3, 4, 5, stride=2, padding=(2, 1), padding_mode="circular"),
    "conv-1x1": nn.Conv2d(3, 4, 1, stride=2),
    "conv-depthwise": nn.Conv2d(3, 3, 5, stride=2, padding=2, groups=3, bias=False),
    "conv-groups": nn.Conv2d(3, 6, (3, 2), stride=(1, 2), padding=(0, 1), groups=3),
    "conv-groups-circular": nn.Conv2d(3, 6, 3, stride=2, padding=(2, 1), padding_mode="circular", groups=3),
    "batch-norm": nn.BatchNorm2d(3),
    "linear": nn.Linear(9, 4),
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "zero-pad": nn.ZeroPad2d((0, 1, 2, 3)),
    "zero-pad-negative": nn.ZeroPad2d((0, -1, 2, 0)),
    "renormalise": Renormalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    "max-pool": nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
    "max-pool-global": nn.AdaptiveMaxPool2d(1),
    "average-pool": nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "average-pool-global": nn.AdaptiveAvgPool2d((1, 1)),
    "flatten": nn.Flatten(),
}


@pytest.mark.parametrize("size", [9, 13])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("way", "trials"),
    [
        *((way, trials) for way in ("compiled", "in torch") for trials in (1, 2, 9)),
        *((way, 1) for way in ("one by one", "one by one in torch")),
    ],
)
def test_formulas_of_a_layer(name: str, trials: int, size: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against automatic differentiation of the module itself: its value, its vector-Jacobian products, and the
    derivatives of both along (ȧ, v); every trial with its own v.
    """
    together = not way.startswith("one by one")
    if way.endswith("in torch"):
        without_compiled_kernels(monkeypatch)
    torch.manual_seed(2)
    module = make(copy.deepcopy(LAYERS[name]))
    size = 9 if name == "linear" else size
    layer = layer_of(module, torch.Size((2, 3, size, size)), PassOptions(together=together))
    assert layer is not None
    inputs, tangent = 4 * torch.randn(2, trials * 2, 3, size, size, dtype=torch.float64)
    outputs = module(inputs).detach()
    grad_output, grad_tangent = torch.randn(2, *outputs.shape, dtype=torch.float64)
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    direction = {key: torch.randn(trials, *value.shape, dtype=torch.float64) for key, value in parameters.items()}

    with torch.no_grad():
        got, saved = layer.forward(inputs, trials)
        got_back = layer.backward(saved, grad_output)
        got_gradient = layer.gradient(saved, grad_output, trials)
        got_tangent = layer.tangent_forward(saved, tangent, tuple(direction.values()))
        got_back_tangent = layer.tangent_backward(saved, tangent, grad_output, grad_tangent, tuple(direction.values()))
        moving = parameters and (saved, tangent, grad_output, grad_tangent, trials)
        got_gradient_tangent = layer.gradient_tangent(*moving) if moving else ()
    torch.testing.assert_close(got, outputs, **CLOSE)
    for trial in range(trials):
        part = slice(2 * trial, 2 * trial + 2)

        def value_and_back(parameters: dict[str, Tensor], a: Tensor, d: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            value, pull = vjp(lambda p, x: functional_call(module, p, (x,)), parameters, a)
            return value, pull(d)

        (_, (gradient, back)), (forward_tangent, (gradient_tangent, back_tangent)) = jvp(
            value_and_back,
            (parameters, inputs[part], grad_output[part]),
            ({key: value[trial] for key, value in direction.items()}, tangent[part], grad_tangent[part]),
        )
        torch.testing.assert_close(got_back[part], back, **CLOSE)
        torch.testing.assert_close(got_tangent[part], forward_tangent, **CLOSE)
        torch.testing.assert_close(got_back_tangent[part], back_tangent, **CLOSE)
        for one, other in zip(got_gradient, gradient.values(), strict=True):
            torch.testing.assert_close(one[trial], other, **CLOSE)
        for one, other in zip(got_gradient_tangent, gradient_tangent.values(), strict=True):
            torch.testing.assert_close(one[trial], other, **CLOSE)


@pytest.mark.parametrize("options", [PassOptions(), PassOptions(together=True)], ids=["one", "together"])
@pytest.mark.parametrize("name", NETWORKS)
def test_passes_at_other_parameters(name: str, options: PassOptions) -> None:
    """Are those of a network that has them."""
    network = victim(name)
    elsewhere = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in elsewhere.parameters():
            parameter.mul_(1.5).add_(0.1)
    images, labels = torch.randn(1, 2, 3, 16, 16, dtype=torch.float64), torch.tensor([[3, 1]])
    target = tuple(torch.randn(1, *each.shape, dtype=torch.float64) for each in network.parameters())
    found = []
    for passes in (trace(network, SHAPE, options), trace(elsewhere, SHAPE, options)):
        assert passes is not None
        passes.bind([each.detach() for each in elsewhere.parameters()])
        with torch.no_grad():
            tape = passes.forward_backward(images, labels)
            found.append([*passes.products(tape, target).squares, tape.probabilities])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


UPDATES = {
    "one step": FederatedAveraging(steps=1, learning_rate=1e-3),
    "three steps": FederatedAveraging(steps=3, learning_rate=1e-3),
    "mini-batches": FederatedAveraging(epochs=2, batch_size=2, learning_rate=1e-3),
    "parameters": FederatedAveraging(steps=2, learning_rate=1e-3, shared="parameters"),
}


LOCAL = [*((client, False) for client in UPDATES), ("mini-batches", True)]
STEPPING = ["lenet", "convnet-zeros", "convnet-circular", "resnet20", "mlp"]


@pytest.mark.parametrize(
    ("way", "name", "client", "soft"),
    [  # by day each network with each client in one of the ways
        (way, name, *local) if (i + j + k) % 2 == 0 else at_night(way, name, *local)
        for i, way in enumerate(["one by one", "one by one in torch"])
        for j, name in enumerate(STEPPING)
        for k, local in enumerate(LOCAL)
    ],
)
def test_local_steps(way: str, name: str, client: str, soft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if way.endswith("in torch"):
        without_compiled_kernels(monkeypatch)
    for module in ("autodiff", "build"):
        monkeypatch.setattr(f"invgrad.objective.{module}.runs_together", lambda network: False)
    network = victim(name)
    agree(network, Cosine(), *problem(network, 2, 4, soft=soft), client=UPDATES[client])


@pytest.mark.parametrize("client", [GRADIENT, *UPDATES.values()], ids=["gradient", *UPDATES])
def test_the_released_algorithm_that_is_timed(client: Client) -> None:
    network = victim("convnet-zeros")
    images, labels, targets = problem(network, 1, 4)
    target = [each[0] for each in targets.target]
    objective, gradient = objective_gradient(network, images[0], labels[0], target, COSINE, 0.1, client)
    expected = Objective(network, client, COSINE, 0.1).gradient(images, labels, targets)
    torch.testing.assert_close(objective, expected.objective[0], **CLOSE)
    torch.testing.assert_close(gradient, expected.image_gradient[0], rtol=1e-9, atol=1e-12)


@given(
    seed=st.integers(0, 2**16),
    blocks=st.lists(
        st.tuples(
            st.sampled_from([1, 2, 3, 5]),  # kernel
            st.sampled_from([1, 2]),  # stride
            st.sampled_from(["zeros", "circular"]),
            st.booleans(),  # bias
            st.sampled_from(["none", "norm", "sigmoid", "relu", "norm-relu", "max", "average"]),
        ),
        min_size=1,
        max_size=3,
    ),
    end=st.sampled_from(["flatten", "average", "max"]),
    trials=st.integers(1, 3),
    count=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_random_networks(
    seed: int, blocks: list[tuple[int, int, str, bool, str]], end: str, trials: int, count: int
) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    channels = 3
    for kernel, stride, padding, bias, after in blocks:
        layers.append(nn.Conv2d(channels, 4, kernel, stride, kernel // 2, bias=bias, padding_mode=padding))
        channels = 4
        layers += [nn.BatchNorm2d(4)] if "norm" in after else []
        layers += [nn.ReLU(inplace=bias)] if "relu" in after else []
        layers += [nn.Sigmoid()] if after == "sigmoid" else []
        layers += [nn.MaxPool2d(2, stride=1, padding=1)] if after == "max" else []
        layers += [nn.AvgPool2d(2, stride=1, padding=1)] if after == "average" else []
    layers += {"flatten": [], "average": [nn.AdaptiveAvgPool2d(1)], "max": [nn.AdaptiveMaxPool2d(1)]}[end]
    layers.append(nn.Flatten())
    features = nn.Sequential(*layers)(torch.zeros(1, 3, 12, 12)).shape[1]
    network = make(nn.Sequential(*layers, nn.Linear(features, 5)))
    agree(network, SquaredEuclidean(), *problem(network, trials, count, size=12))


class Overwriting(nn.Module):
    """The in-place ReLU also changes what the shortcut adds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.flatten, self.head = nn.Flatten(), nn.Linear(3 * 16 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.conv(images)
        return self.head(self.flatten(self.relu(stem) + stem))


class OverwritingView(Overwriting):
    """The same, through the memory that a flattened view shares."""

    def forward(self, images: Tensor) -> Tensor:
        stem = self.conv(images)
        return self.head(self.relu(self.flatten(stem)) + torch.flatten(stem, 1))


class OverwritingIdentity(Overwriting):
    """The same, through the memory that a layer returns which does nothing."""

    def __init__(self, idle: nn.Module) -> None:
        super().__init__()
        self.idle = idle

    def forward(self, images: Tensor) -> Tensor:
        stem = self.conv(images)
        return self.head(self.flatten(self.relu(self.idle(stem)) + stem))


class Cube(nn.Module):
    """A user's activation."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs**3


class CubeLayer(Layer):
    """z = a³."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        return inputs**3, (inputs,)

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        return 3 * saved[0] ** 2 * grad_output

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        return 3 * saved[0] ** 2 * input_tangent

    def tangent_backward(
        self, saved: Saved, input_tangent: Tensor | None, grad_output: Tensor, grad_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        back = self.backward(saved, grad_tangent)
        return back if input_tangent is None else back + 6 * saved[0] * input_tangent * grad_output


def test_a_registered_module_takes_the_tangent_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make(nn.Sequential(nn.Conv2d(3, 4, 3), Cube(), nn.Flatten(), Cube(), nn.Linear(4 * 14 * 14, 5)))
    assert isinstance(objective(network, torch.zeros(1, 1, 3, 16, 16)), Objective)
    monkeypatch.setattr(registry, "_MODULES", registry._MODULES.copy())
    layer_for(Cube)(lambda module, shape, options: CubeLayer())
    agree(network, Cosine(), *problem(network, 2, 2))


class WithNegative(nn.Module):
    """A user's function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.flatten, self.head = nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.flatten(torch.neg(self.conv(images))))


class NegativeLayer(Layer):
    """z = −a."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        return -inputs, ()

    def backward(self, saved: Saved, grad_output: Tensor) -> Tensor:
        return -grad_output

    def push(self, saved: Saved, input_tangent: Tensor) -> Tensor:
        return -input_tangent


def test_a_registered_function_takes_the_tangent_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make(WithNegative())
    assert isinstance(objective(network, torch.zeros(1, 1, 3, 16, 16)), Objective)
    monkeypatch.setattr(registry, "_CALLS", registry._CALLS.copy())
    layer_for_call(torch.neg)(lambda arguments: NegativeLayer() if arguments == (VALUE,) else None)
    agree(network, Cosine(), *problem(network, 2, 2))


class Twice(nn.Module):
    """One convolution, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3 * 16 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.flatten(self.conv(self.conv(images)), 1))


class Branching(nn.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 16 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)) if images.mean() > 0 else self.head(-images.flatten(1))


class DoublingLinear(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.LayerNorm(8), nn.Linear(8, 5)),
        nn.Sequential(nn.Conv2d(3, 6, 3, dilation=2, padding=1), nn.Flatten(), nn.Linear(6 * 14 * 14, 5)),
        nn.Sequential(nn.Flatten(), DoublingLinear(768, 5)),
        Overwriting(),
        OverwritingView(),
        OverwritingIdentity(nn.Identity()),
        OverwritingIdentity(nn.Dropout()),
        Twice(),
        Branching(),
    ],
    ids=[
        "layer-norm",
        "dilation",
        "subclass",
        "in-place",
        "in-place-view",
        "in-place-identity",
        "in-place-dropout",
        "shared-parameters",
        "control-flow",
    ],
)
def test_other_networks_take_the_general_path(network: nn.Module) -> None:
    assert isinstance(objective(make(network), torch.zeros(1, 1, 3, 16, 16)), Objective)


def test_hooks_take_the_general_path() -> None:
    network = make(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5)))
    assert trace(network, SHAPE, PassOptions()) is not None
    network[0].register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    assert trace(network, SHAPE, PassOptions()) is None


def test_training_mode_and_local_steps_of_many_trials_take_the_general_path(monkeypatch: pytest.MonkeyPatch) -> None:
    network = victim("resnet20")
    assert isinstance(objective_for(network, FederatedAveraging(steps=2), Cosine(), 0.1, SHAPE), Objective)
    for module in ("autodiff", "build"):
        monkeypatch.setattr(f"invgrad.objective.{module}.runs_together", lambda network: False)
    training = FederatedAveraging(steps=2, batch_norm="training")
    assert isinstance(objective_for(network, training, Cosine(), 0.1, SHAPE), Objective)
    assert trace(network, SHAPE, PassOptions()) is not None
    assert trace(network.train(), SHAPE, PassOptions()) is None


def test_a_failed_trial_does_not_disturb_the_others() -> None:
    network = victim("convnet-zeros")
    images, labels, targets = problem(network, 3, 2)
    fast = objective(network, images)
    expected = fast.gradient(images, labels, targets)
    broken = images.clone()
    broken[1] = torch.nan
    got = fast.gradient(broken, labels, targets)
    for one, other in zip(got, expected, strict=True):
        if one is None or other is None:
            continue
        assert one[1].isnan().all()
        torch.testing.assert_close(one[[0, 2]], other[[0, 2]], **CLOSE)


def test_arguments_are_left_alone() -> None:
    network = make(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(768, 5)))
    images, labels, targets = problem(network, 2, 2)
    before = images.clone()
    fast = objective(network, images)
    assert not isinstance(fast, Objective)
    fast.gradient(images, labels, targets)
    assert torch.equal(images, before)
    assert not any(tensor.requires_grad for tensor in (*targets.target, images))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradient_of_total_variation_is_zero_between_equal_neighbours() -> None:
    images = torch.randint(3, (2, 2, 3, 5, 7)).double()
    torch.testing.assert_close(total_variation_gradient(images), vmap(grad(total_variation))(images), **CLOSE)
