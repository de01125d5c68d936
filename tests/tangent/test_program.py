"""The compiled program agrees with automatic differentiation, and a trial's result depends on nothing but the trial."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from invgrad.clients.settings import FederatedAveraging, GradientClient
from invgrad.networks.build import build
from invgrad.networks.settings import MLP, ConvNet, LeNetZhu, Network, ResNet
from invgrad.objective.autodiff import Objective
from invgrad.objective.build import objective_for
from invgrad.objective.by_tangents import TangentObjective
from invgrad.objective.compiled import CompiledObjective
from invgrad.objective.distances import squares
from invgrad.objective.evaluation import Evaluation
from invgrad.objective.settings import L1, Cosine, Distance, LayerwiseCosine, Maximum, SquaredEuclidean
from invgrad.objective.targets import Targets
from invgrad.tangent import registry
from invgrad.tangent.kernels.library import library
from invgrad.tangent.layers import Saved, Sigmoid

pytestmark = [
    pytest.mark.skipif(library("program") is None, reason="installed without a C++ compiler"),
    pytest.mark.usefixtures("generation"),
]

GRADIENT = GradientClient()
DISTANCES: list[Distance] = [Cosine(), LayerwiseCosine(), SquaredEuclidean()]


def compiled(network: nn.Module, images: Tensor, distance: Distance) -> CompiledObjective:
    found = objective_for(network, GRADIENT, distance, 0.1, images.shape[1:])
    assert isinstance(found, CompiledObjective)
    return found


def problem(
    network: nn.Module, trials: int, count: int, size: int, soft: bool = False
) -> tuple[Tensor, Tensor, Targets]:
    """Of a network with five classes; every layer of every trial has a weight of its own, and some do not count."""
    dtype = next(network.parameters()).dtype
    target = tuple(torch.randn(trials, *each.shape, dtype=dtype) for each in network.parameters())
    weights, chosen = torch.rand(trials, len(target), dtype=dtype), torch.rand(trials, len(target)) < 0.8
    chosen[:, 0] = True
    images = torch.randn(trials, count, 3, size, size + 1, dtype=dtype)
    labels = torch.randn(trials, count, 5, dtype=dtype) if soft else torch.randint(5, (trials, count))
    return (
        images,
        labels,
        Targets(target=target, squares=squares(target), weights=weights, chosen=chosen.to(dtype)),
    )


def in_double(network: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms that are not the identity."""
    network = network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)  # type: ignore[operator, union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[operator, union-attr]
    return network


class Residual(nn.Module):
    """A branch, a shortcut with or without layers of its own, and layers after the sum."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None, after: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.after = branch, shortcut, after

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.shortcut is None else self.shortcut(features)
        summed: Tensor = self.after(shortcut + self.branch(features))
        return summed


AFTER: dict[str, Callable[[], list[nn.Module]]] = {
    "nothing": lambda: [],
    "norm": lambda: [nn.BatchNorm2d(4)],
    "sigmoid": lambda: [nn.Sigmoid()],
    "relu": lambda: [nn.ReLU(inplace=True)],
    "norm-relu": lambda: [nn.BatchNorm2d(4), nn.ReLU()],
    "relu-norm-sigmoid": lambda: [nn.ReLU(), nn.BatchNorm2d(4), nn.Sigmoid()],
    "sigmoid-relu": lambda: [nn.Sigmoid(), nn.ReLU()],
    "max": lambda: [nn.MaxPool2d((2, 3), stride=(1, 2), padding=1, ceil_mode=True), nn.ReLU()],
    "average": lambda: [nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=True)],
    "average-inside": lambda: [nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)],
    "average-by": lambda: [nn.AvgPool2d(2, divisor_override=3)],
}


@given(
    seed=st.integers(0, 2**16),
    first=st.sampled_from(list(AFTER)),
    blocks=st.lists(
        st.tuples(
            st.tuples(st.integers(1, 5), st.integers(1, 5)),  # kernel
            st.tuples(st.integers(1, 3), st.integers(1, 3)),  # stride
            st.booleans(),  # bias
            st.booleans(),  # residual
            st.sampled_from(list(AFTER)),
        ),
        min_size=1,
        max_size=3,
    ),
    end=st.sampled_from(["flatten", "average", "max"]),
    hidden=st.booleans(),
    distance=st.sampled_from(DISTANCES),
    trials=st.integers(1, 19),
    count=st.integers(1, 9),
    soft=st.booleans(),
)
@example(
    seed=65535,  # all ReLUs are dead, so that the soft labels change nothing
    first="nothing",
    blocks=[
        ((1, 3), (1, 1), True, True, "nothing"),
        ((1, 3), (2, 2), False, True, "nothing"),
        ((1, 3), (1, 1), False, True, "relu"),
    ],
    end="flatten",
    hidden=False,
    distance=Cosine(),
    trials=1,
    count=1,
    soft=True,
)
@settings(max_examples=40, deadline=None)
def test_random_networks(
    seed: int,
    first: str,
    blocks: list[tuple[tuple[int, int], tuple[int, int], bool, bool, str]],
    end: str,
    hidden: bool,
    distance: Distance,
    trials: int,
    count: int,
    soft: bool,
) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 1), *AFTER[first]()]
    for kernel, stride, bias, residual, then in blocks:
        inner = nn.Conv2d(4, 4, kernel, stride, (kernel[0] // 2, kernel[1] // 2), bias=bias)
        if residual:
            branch = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1))
            layers.append(Residual(branch, nn.Conv2d(4, 4, 1, 2, bias=bias), nn.ReLU(inplace=True)))
            layers.append(Residual(nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)), None, nn.ReLU()))
        layers += [inner, *AFTER[then]()]
    layers += {"flatten": [], "average": [nn.AdaptiveAvgPool2d(1)], "max": [nn.AdaptiveMaxPool2d(1)]}[end]
    layers.append(nn.Flatten())
    try:
        features = nn.Sequential(*layers).eval()(torch.zeros(1, 3, 12, 13)).shape[1]
    except RuntimeError:  # nothing is left of the image
        reject()
    layers += [nn.Linear(features, 7), nn.Sigmoid(), nn.Linear(7, 5)] if hidden else [nn.Linear(features, 5)]
    network = in_double(nn.Sequential(*layers))
    images, labels, targets = problem(network, trials, count, 12, soft)
    expected = Objective(network, GRADIENT, distance, 0.1).gradient(images, labels, targets)
    if not expected.objective.isfinite().all():  # no gradient comes through: the distance is 0/0
        reject()
    agrees(compiled(network, images, distance).gradient(images, labels, targets), expected)


def agrees(got: Evaluation, expected: Evaluation, tolerance: float = 1e-9) -> None:
    for one, other in zip(got, expected, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            scale = other.abs().max().clamp_min(1e-4)  # a gradient of zero, as behind dead ReLUs, is one up to rounding
            torch.testing.assert_close(one / scale, other / scale, rtol=tolerance, atol=tolerance / 100)


NETWORKS: dict[str, Network] = {"lenet": LeNetZhu(), "convnet": ConvNet(width=4), "resnet": ResNet(depth=20, width=4)}


COUNTS = [1, 2, 5, 16, 17]
EVERY_CASE = list(product(NETWORKS, DISTANCES, COUNTS))
PAIRS = [  # every two of network, distance and count meet
    (name, distance, count)
    for name, distance, count in EVERY_CASE
    if (list(NETWORKS).index(name) + DISTANCES.index(distance) + COUNTS.index(count)) % 3 == 0
]


@cache  # for all generations of processors
def in_both_precisions(
    name: str, distance: Distance, count: int
) -> tuple[nn.Module, Tensor, Tensor, Targets, Evaluation]:
    """A problem in single precision, and what automatic differentiation in double precision says to it."""
    torch.manual_seed(0)
    network = build(NETWORKS[name], classes=5, size=16, seed=0).eval()
    images, labels, targets = problem(network, 18, count, 16)
    images = images[..., :16]
    double = replace(
        targets,
        target=tuple(each.double() for each in targets.target),
        squares=squares([each.double() for each in targets.target]),
        weights=targets.weights.double(),
        chosen=targets.chosen.double(),
    )
    slow = Objective(copy.deepcopy(network).double(), GRADIENT, distance, 0.1)
    return network, images, labels, targets, slow.gradient(images.double(), labels, double)


@pytest.mark.parametrize(
    ("name", "distance", "count"),
    [pytest.param(*case, marks=() if case in PAIRS else pytest.mark.night) for case in EVERY_CASE],
    ids=lambda each: getattr(each, "kind", str(each)),
)
def test_single_precision(name: str, distance: Distance, count: int) -> None:
    network, images, labels, targets, expected = in_both_precisions(name, distance, count)
    got = compiled(network, images, distance).gradient(images, labels, targets)
    for one, other in zip(got, expected, strict=True):
        if one is not None and other is not None:
            assert (one - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_trial_depends_on_nothing_else(name: str, count: int) -> None:
    """Neither on the other trials, nor on their number, nor on the number of threads: the same bits."""
    torch.manual_seed(0)
    network = build(NETWORKS[name], classes=5, size=16, seed=0).eval()
    images, labels, targets = problem(network, 37, count, 16)
    images = images[..., :16].contiguous()
    objective = compiled(network, images, Cosine())
    together = objective.gradient(images, labels, objective.prepared(targets))
    try:
        torch.set_num_threads(2)
        same(objective.gradient(images, labels, targets), together, slice(None))
    finally:
        torch.set_num_threads(1)
    one = slice(20, 21)
    alone = objective.gradient(images[one], labels[one], targets.part(one))
    same(Evaluation(*(None if each is None else each[one] for each in together)), alone, slice(None))
    broken = torch.where(torch.arange(37).view(-1, 1, 1, 1, 1) == 20, images, torch.nan)
    same(objective.gradient(broken, labels, targets), together, one)


def same(one: Evaluation, other: Evaluation, which: slice) -> None:
    assert torch.equal(one.image_gradient[which], other.image_gradient[which])
    assert torch.equal(one.objective[which], other.objective[which])
    assert torch.equal(one.matching[which], other.matching[which])


def test_a_failed_trial_is_not_a_number() -> None:
    network = in_double(build(ConvNet(width=4), classes=5, size=16, seed=0))
    images, labels, targets = problem(network, 3, 2, 16)
    images = images[..., :16].contiguous()
    images[1] = torch.nan
    for each in compiled(network, images, Cosine()).gradient(images, labels, targets):
        assert each is None or each[1].isnan().all()
        assert each is None or each[[0, 2]].isfinite().all()


def test_a_layer_without_gradient_counts_as_the_distances_say() -> None:
    """Behind a ReLU that lets nothing through, the first layers' gradients vanish."""
    network = in_double(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 10 * 11, 5)))
    with torch.no_grad():
        network[0].bias.fill_(-100)
    images, labels, targets = problem(network, 2, 1, 12)
    targets = replace(targets, chosen=torch.ones_like(targets.chosen))
    for distance in DISTANCES:
        expected = Objective(network, GRADIENT, distance, 0.1).gradient(images, labels, targets)
        agrees(compiled(network, images, distance).gradient(images, labels, targets), expected)


@pytest.mark.parametrize("first", [nn.Sigmoid, nn.ReLU, nn.Identity, lambda: nn.MaxPool2d(1)])
def test_nothing_is_read_before_it_is_written(first: Callable[[], nn.Module]) -> None:
    """Not even of a first layer without parameters: memory begins as numbers that are none."""
    layers = [first(), nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(4 * 10 * 11, 5)]
    network = in_double(nn.Sequential(*layers))
    images, labels, targets = problem(network, 3, 2, 12)
    expected = Objective(network, GRADIENT, Cosine(), 0.1).gradient(images, labels, targets)
    fast = compiled(network, images, Cosine())
    try:
        torch.use_deterministic_algorithms(True)  # torch then fills new memory so
        got = fast.gradient(images, labels, targets)
    finally:
        torch.use_deterministic_algorithms(False)
    agrees(got, expected)


class OnRows(nn.Module):
    """A linear layer of every row of a narrow image, and a convolution of what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.linear, self.second = nn.Conv2d(3, 1, (16, 1)), nn.Linear(16, 4), nn.Conv2d(1, 2, 1)
        self.flatten, self.head = nn.Flatten(), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.second(self.linear(self.first(images)))))
        return logits


def lenet() -> nn.Module:
    return build(LeNetZhu(), classes=5, size=16, seed=0)


@pytest.mark.parametrize("distance", [L1(), Maximum()], ids=lambda each: each.kind)
def test_other_distances_take_the_passes(distance: Distance) -> None:
    assert isinstance(objective_for(lenet(), GRADIENT, distance, 0.1, (1, 3, 16, 16)), TangentObjective)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
        nn.MaxPool2d(2, dilation=2),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.Linear(16, 4)),
        OnRows(),
    ],
    ids=["circular", "dilation", "linear of matrices", "linear of rows"],
)
def test_other_layers_take_the_passes(layer: nn.Module) -> None:
    features = nn.Sequential(layer, nn.Flatten())(torch.zeros(1, 3, 16, 16)).shape[1]
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(features, 5)).eval()
    assert isinstance(objective_for(network, GRADIENT, Cosine(), 0.1, (1, 3, 16, 16)), TangentObjective)


class Doubled(Sigmoid):
    """z = 2·σ(a): a user's layer that is made from one of ours."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        outputs, saved = super().forward(inputs, trials)
        return 2 * outputs, saved


def test_a_users_layer_takes_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MODULES", registry._MODULES.copy())
    registry.layer_for(nn.Sigmoid)(lambda module, shape, options: Doubled())
    assert isinstance(objective_for(lenet(), GRADIENT, Cosine(), 0.1, (1, 3, 16, 16)), TangentObjective)


def test_other_clients_and_wide_networks_do_not() -> None:
    averaging = objective_for(lenet(), FederatedAveraging(steps=2), Cosine(), 0.1, (1, 3, 16, 16))
    assert isinstance(averaging, Objective)
    wide = build(ConvNet(width=16), classes=5, size=16, seed=0)
    assert isinstance(objective_for(wide, GRADIENT, Cosine(), 0.1, (1, 3, 16, 16)), TangentObjective)


@pytest.mark.parametrize(
    ("network", "size", "images", "few", "many"),
    [
        (ResNet(depth=20, width=24), 32, 1, 0.7, 0.75),
        (ResNet(depth=20, width=24), 32, 4, 10, None),  # several images keep a core busy
        (ResNet(depth=20, width=48), 32, 1, 10, None),  # more than a core's cache holds
        (ResNet(depth=18, width=64), 16, 1, 10, None),  # too many parameters
        (MLP(widths=(256,)), 32, 2, 0.5, 1),  # narrow, but with many parameters
        (LeNetZhu(), 128, 4, 0.5, 1),  # the same, with large values
        (LeNetZhu(), 32, 1, None, 0.25),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_a_wide_network_is_compiled_for_many_trials(
    network: Network, size: int, images: int, few: float | None, many: float | None
) -> None:
    """Numbers of trials are multiples of a block's lanes."""
    lanes = compiled(lenet(), torch.zeros(1, 1, 3, 16, 16), Cosine())._program._lanes
    built = build(network, classes=10, size=size, seed=0)
    for trials, expected in ((few, TangentObjective), (many, CompiledObjective)):
        if trials is not None:
            shape = images, 3, size, size
            found = objective_for(built, GRADIENT, Cosine(), 0.1, shape, trials=math.floor(trials * lanes))
            assert type(found) is expected
