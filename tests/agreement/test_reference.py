"""The attack against a slow and obvious one (reference.py), over generated networks, clients, settings and shapes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from invgrad.attack.options import RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import LBFGS, SGD, Adam, Attack, FromImage, Normal, Uniform, Zeros
from invgrad.clients.protocols import STEPS_AT_ONCE
from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.clients.shared import Shared
from invgrad.objective.autodiff import Objective
from invgrad.objective.build import objective_for
from invgrad.objective.by_tangents import TangentObjective
from invgrad.objective.compiled import CompiledObjective
from invgrad.objective.settings import (
    L1,
    AllLayers,
    Cosine,
    Distance,
    FirstLayers,
    LargestLayers,
    LastLayers,
    LayerwiseCosine,
    ListedLayers,
    Maximum,
    PrunedCosine,
    RandomLayers,
    SquaredEuclidean,
)
from invgrad.settings import SettingsError
from invgrad.tangent.kernels.library import library

CLASSES = 5
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
JITTER, DRAWS, STABLE, CLOSE = 1e-12, 5, 1e-7, 1e-6


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.branch(inputs)


class Twice(nn.Module):
    """One convolution, applied twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.convolution(self.convolution(inputs).tanh())


KNOWN = {
    "conv 3x3": lambda c: [nn.Conv2d(c, c + 1, 3, padding=1)],
    "conv 3x3 strided": lambda c: [nn.Conv2d(c, c + 1, 3, stride=2, padding=1, bias=False)],
    "conv 5x5 circular": lambda c: [nn.Conv2d(c, c + 1, 5, stride=(1, 2), padding=2, padding_mode="circular")],
    "conv 2x1": lambda c: [nn.Conv2d(c, c, (2, 1), stride=(3, 1), padding=(1, 0))],
    "conv 1x1": lambda c: [nn.Conv2d(c, 2, 1)],
    "batch-norm": lambda c: [nn.BatchNorm2d(c)],
    "relu": lambda c: [nn.ReLU()],
    "conv and relu": lambda c: [nn.Conv2d(c, c + 1, 3, padding=1), nn.ReLU(inplace=True)],
    "sigmoid": lambda c: [nn.Sigmoid()],
    "max-pool": lambda c: [nn.MaxPool2d(2, ceil_mode=True)],
    "max-pool overlapping": lambda c: [nn.MaxPool2d(3, stride=1, padding=1)],
    "average-pool": lambda c: [nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False)],
    "dropout": lambda c: [nn.Dropout()],
    "residual": lambda c: [Residual(nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), nn.Sigmoid()), nn.ReLU()],
    "residual identity": lambda c: [Residual(nn.Identity())],
}
UNKNOWN = {
    "gelu": lambda c: [nn.GELU()],
    "leaky": lambda c: [nn.LeakyReLU(0.2)],
    "group-norm": lambda c: [nn.GroupNorm(1, c)],
    "instance-norm": lambda c: [nn.InstanceNorm2d(c, affine=True)],
    "grouped": lambda c: [nn.Conv2d(c, 2 * c, 3, padding=1, groups=c)],
    "dilated": lambda c: [nn.Conv2d(c, c, 3, padding=2, dilation=2)],
    "reflected": lambda c: [nn.Conv2d(c, c, 3, padding=1, padding_mode="reflect")],
    "transposed": lambda c: [nn.ConvTranspose2d(c, 2, 2, stride=2)],
    "residual global": lambda c: [Residual(nn.AdaptiveAvgPool2d(1))],
    "twice": lambda c: [Twice(c)],
    "batch-norm without parameters": lambda c: [nn.BatchNorm2d(c, affine=False)],
}
HEADS = {
    "linear": lambda features: [nn.Linear(features, CLASSES)],
    "linear without bias": lambda features: [nn.Linear(features, CLASSES, bias=False)],
    "sigmoid and linear without bias": lambda features: [nn.Sigmoid(), nn.Linear(features, CLASSES, bias=False)],
    "two": lambda features: [nn.Linear(features, 4), nn.Sigmoid(), nn.Linear(4, CLASSES)],
}
UNKNOWN_HEADS = {
    "layer-norm": lambda features: [nn.LayerNorm(features), nn.Linear(features, CLASSES)],
    "batch-norm": lambda features: [nn.Linear(features, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, CLASSES)],
}
POOLS = {"average": nn.AdaptiveAvgPool2d(1), "max": nn.AdaptiveMaxPool2d(1), "none": nn.Identity()}


def network_of(stages: Sequence[str], pool: str, head: str, shape: tuple[int, int, int], seed: int) -> nn.Module:
    """In evaluation mode and double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential()
        probe = torch.zeros(1, *shape)
        for stage in stages:
            for layer in (KNOWN | UNKNOWN)[stage](probe.shape[1]):
                layers.append(layer)
                probe = layer.eval()(probe)
        layers.extend([POOLS[pool], nn.Flatten()])
        layers.extend((HEADS | UNKNOWN_HEADS)[head](POOLS[pool](probe).numel()))
        for module in layers.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.uniform_(module.bias, -0.3, 0.3)
        return layers.double().eval()


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is drawn."""

    stages: tuple[str, ...]
    pool: str
    head: str
    shape: tuple[int, int, int]
    clients: int
    images: int
    labels_known: bool
    client: Client
    attack: Attack
    seed: int

    def network(self) -> nn.Module:
        return network_of(self.stages, self.pool, self.head, self.shape, self.seed)

    def shared(self, network: nn.Module) -> Shared:
        """From images with pixels in [0, 1]."""
        generator = torch.Generator().manual_seed(self.seed)
        pixels = torch.rand(self.clients, self.images, *self.shape, generator=generator, dtype=torch.float64)
        images = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        labels = torch.randint(CLASSES, (self.clients, self.images), generator=generator)
        try:
            tensors = [reference.share(network, self.client, *each) for each in zip(images, labels, strict=True)]
        except ValueError:  # a batch-norm layer in training mode gets a single value per channel
            reject()
        statistics = [reference.statistics(network, self.client, each) for each in images]
        return Shared(
            tensors=tuple(torch.stack(each).detach() for each in zip(*tensors, strict=True)),
            statistics=tuple(torch.stack(each).detach() for each in zip(*statistics, strict=True)),
            images=self.images,
            shape=self.shape,
            mean=MEAN,
            std=STD,
            labels=labels if self.labels_known else None,
            names=tuple(f"client-{number}" for number in range(self.clients)),
        )


def attacks(layers: int, picture: Path) -> st.SearchStrategy[Attack]:
    """Every setting that changes what is computed, for a network with so many parameter tensors."""
    step, count, listed = st.sampled_from([0.01, 0.1, 0.5]), st.integers(1, 6), st.integers(0, layers - 1)
    return st.builds(
        partial(Attack, precision="float64"),
        distance=st.sampled_from([Cosine(), SquaredEuclidean(), L1(), Maximum(), LayerwiseCosine(), PrunedCosine()]),
        layers=st.one_of(
            st.just(AllLayers()),
            *(st.builds(kind, count=count) for kind in (FirstLayers, LastLayers, LargestLayers, RandomLayers)),
            st.lists(listed, min_size=1, max_size=3).map(lambda chosen: ListedLayers(layers=tuple(chosen))),
        ),
        weighting=st.sampled_from(["equal", "linear", "exponential"]),
        optimiser=st.one_of(
            st.builds(Adam, step_size=step, signed=st.booleans()),
            st.builds(SGD, step_size=step, signed=st.booleans()),
            st.builds(LBFGS, step_size=step),
        ),
        step_decay=st.booleans(),
        start=st.sampled_from([Normal(), Uniform(), Zeros(), FromImage(path=picture)]),
        iterations=st.integers(1, 6),
        tolerance=st.one_of(st.none(), st.sampled_from([0.0, 0.3, 0.9, 1.0])),
        restarts=st.integers(1, 3),
        total_variation=st.sampled_from([0.0, 0.01, 1.0]),
        box=st.booleans(),
        median_filter_every=st.one_of(st.none(), st.integers(1, 3)),
        selection=st.sampled_from(["matching-cost", "total-variation", "pixel-mean", "pixel-median"]),
        unknown_labels=st.sampled_from(["inferred", "optimised"]),
    )


@st.composite
def cases(draw: st.DrawFn, kind: str, pictures: Path) -> Case:
    """Cases of one of `KINDS`, or with "many local steps"."""
    shape, images = (3, draw(st.integers(8, 16)), draw(st.integers(8, 16))), draw(st.integers(1, 3))
    stages = draw(st.lists(st.sampled_from(list(KNOWN)), max_size=2 if kind == "many local steps" else 4))
    head, pool = draw(st.sampled_from(list(HEADS))), draw(st.sampled_from(list(POOLS)))
    if kind == "unknown layers":
        stages.insert(draw(st.integers(0, len(stages))), draw(st.sampled_from(list(UNKNOWN))))
        head = draw(st.sampled_from([*HEADS, *UNKNOWN_HEADS]))
    client: Client = GradientClient()
    if kind == "batch-norm in training mode":
        stages.insert(draw(st.integers(0, len(stages))), "batch-norm")
        client = GradientClient(batch_norm="training", statistics=draw(st.sampled_from(["withheld", "sent"])))
    if kind in ("local steps", "many local steps"):
        few, many = st.integers(1, 3), st.integers(STEPS_AT_ONCE + 1, STEPS_AT_ONCE + 3)
        training = any("batch" in stage for stage in stages) and draw(st.booleans())
        client = FederatedAveraging(
            **{draw(st.sampled_from(["steps", "epochs"])): draw(few if kind == "local steps" else many)},
            batch_size=draw(st.sampled_from([None, *(size for size in (1, 2, 3) if images % size == 0)])),
            learning_rate=draw(st.sampled_from([1e-3, 0.1])),
            shared=draw(st.sampled_from(["difference", "parameters"])),
            batch_norm="training" if training else "evaluation",
        )
    seed = draw(st.integers(0, 1000))
    try:
        network = network_of(stages, pool, head, shape, seed)
    except (RuntimeError, ValueError):  # a layer's input is smaller than it can take
        reject()
    attack = draw(attacks(len(list(network.parameters())), _picture(pictures, *shape[1:])))
    if attack.optimiser.kind == "lbfgs" or kind == "many local steps":  # to be fast
        attack = attack.with_(iterations=min(attack.iterations, 2), restarts=min(attack.restarts, 2))
    hidden = client.kind != "gradient" or head == "linear without bias"
    labels_known = draw(st.booleans()) or (hidden and attack.unknown_labels == "inferred")
    if client.statistics == "sent":
        attack = attack.with_(batch_statistics=draw(st.sampled_from([0.0, 0.1])))
    return Case(
        stages=tuple(stages),
        pool=pool,
        head=head,
        shape=shape,
        clients=draw(st.integers(1, 2)),
        images=images,
        labels_known=labels_known,
        client=client,
        attack=attack,
        seed=seed,
    )


def _picture(folder: Path, height: int, width: int) -> Path:
    path = folder / f"{height}x{width}.png"
    if not path.exists():
        pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def differences(one: Reconstruction, other: Reconstruction, close: float) -> list[str]:
    """Where two results differ by more than `close`."""
    found = []
    for name, relative, absolute in (
        ("matching_cost", close, close * 1e-3),
        ("images", close, close),
        ("labels", 0, 0),
        ("iterations", 0, 0),
    ):
        pair = [getattr(each, name) for each in (one, other)]
        if name == "matching_cost":  # whether a trial that failed ends at infinity or not a number, rounding decides
            pair = [torch.where(each.isfinite(), each, torch.nan) for each in pair]
        if name == "labels":  # neither do those mean anything that such trials found
            lost = ~(one.matching_cost.isfinite().any(1) | other.matching_cost.isfinite().any(1))
            pair = [torch.where(lost[:, None], -1, each) for each in pair]
        try:
            torch.testing.assert_close(*pair, rtol=relative, atol=absolute, equal_nan=True)
        except AssertionError as error:
            found.append(f"{name}: {' '.join(str(error).split())}")
    if not torch.equal(one.selected < 0, other.selected < 0):
        found.append(f"selected: {one.selected.tolist()} or {other.selected.tolist()}")
    elif not torch.allclose(cost_of(one.selected, one), cost_of(other.selected, one), equal_nan=True):
        found.append(f"selected: {one.selected.tolist()} or {other.selected.tolist()} of {one.matching_cost.tolist()}")
    return found


def cost_of(selected: Tensor, result: Reconstruction) -> Tensor:
    """Of the selected restarts; two that started from one picture tie."""
    return result.matching_cost.gather(1, selected.clamp(0)[:, None])


def tied(result: Reconstruction) -> bool:
    """Whether some restarts of a client cost the same, say since no image changes what is matched."""
    gaps = result.matching_cost.sort(1).values.diff(dim=1)
    return bool((gaps < STABLE * (1 + result.matching_cost[:, 1:].abs())).any())


def agrees(case: Case, result: Reconstruction, network: nn.Module, shared: Shared) -> None:
    """With the reference; where rounding alone changes its result or its choice, nothing can be said."""
    expected = reference.reconstruct(network, case.client, shared, case.attack, seed_key="k")
    found = differences(result, expected, CLOSE)
    if found:
        moved = partial(reference.reconstruct, network, case.client, shared, case.attack, seed_key="k", jitter=JITTER)
        # A tie, as between the equal neighbours that the median filter leaves, may fall by chance as it did before.
        if any(differences(moved(draw=draw), expected, STABLE) for draw in range(DRAWS)):
            reject()
        if tied(expected):  # which of them is selected, and so shown, is left open
            found = [each for each in found if each.startswith(("matching_cost", "iterations"))]
    assert not found, "\n".join(found)


WAYS = ("as it is", "one by one", "without compiled kernels")


@contextmanager
def taking(way: str) -> Iterator[None]:
    """The paths that wide networks take, and installations without a compiler."""
    with pytest.MonkeyPatch.context() as patch:
        if way == "one by one":
            patch.setattr("invgrad.networks.parallelism.NARROW_UP_TO", 0)
        if way == "without compiled kernels":
            patch.setattr("invgrad.tangent.kernels.library.library", lambda name: None)
        yield


@pytest.fixture(scope="class")  # as long as one test, but not "function", which hypothesis refuses
def unmeasured() -> Iterator[None]:
    """Leave out measuring the memory of trials, which costs more than a short attack; at night it is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("invgrad.attack.optimisation.fitting", lambda attempt, most, device, allowed: min(most, allowed))
        yield


@contextmanager
def refused_as_dead() -> Iterator[None]:
    """Reject a network that is refused since no ReLU lets noise through."""
    try:
        yield
    except SettingsError as error:
        if "does not change with the images" in str(error):
            reject()
        raise


KINDS = ("known layers", "unknown layers", "batch-norm in training mode", "local steps")


def compare(kind: str, data: st.DataObject, pictures: Path) -> None:
    case, way = data.draw(cases(kind, pictures)), data.draw(st.sampled_from(WAYS))
    network = case.network()
    shared = case.shared(network)
    with taking(way), refused_as_dead():
        result = reconstruct(network, case.client, shared, case.attack, seed_key="k")
    agrees(case, result, network, shared)


generated = partial(
    settings,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.generate, Phase.shrink),
)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("kind", KINDS)
@generated(max_examples=12)
@given(data=st.data())
def test_attack(kind: str, pictures: Path, data: st.DataObject) -> None:
    compare(kind, data, pictures)


@pytest.mark.usefixtures("unmeasured")
@generated(max_examples=2)
@given(data=st.data())
def test_attack_on_many_local_steps(pictures: Path, data: st.DataObject) -> None:
    """So many that parts of them are computed again."""
    compare("many local steps", data, pictures)


@pytest.mark.night
@pytest.mark.parametrize("kind", KINDS)
@generated(max_examples=100)
@given(data=st.data())
def test_more_attacks(kind: str, pictures: Path, data: st.DataObject) -> None:
    compare(kind, data, pictures)


@pytest.mark.night
@generated(max_examples=15)
@given(data=st.data())
def test_more_attacks_on_many_local_steps(pictures: Path, data: st.DataObject) -> None:
    compare("many local steps", data, pictures)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("kind", KINDS)
@generated(max_examples=4)
@given(data=st.data())
def test_one_trial_at_a_time(kind: str, pictures: Path, data: st.DataObject) -> None:
    case = data.draw(cases(kind, pictures))
    network = case.network()
    shared = case.shared(network)
    alone = reconstruct(network, case.client, shared, case.attack, seed_key="k", options=RunOptions(memory=1))
    agrees(case, alone, network, shared)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("kind", KINDS)
@generated(max_examples=4)
@given(data=st.data())
def test_a_client_whose_update_is_not_a_number_leaves_the_others_alone(
    kind: str, pictures: Path, data: st.DataObject
) -> None:
    case = replace(data.draw(cases(kind, pictures)), clients=3)
    network = case.network()
    shared = case.shared(network)
    broken = replace(shared, tensors=tuple(tensor.clone() for tensor in shared.tensors))
    for tensor in broken.tensors:
        tensor[1] = torch.nan
    result = reconstruct(network, case.client, broken, case.attack, seed_key="k")
    assert result.matching_cost[1].isnan().all()
    assert result.images[1].isnan().all()
    others = replace(
        shared,
        tensors=tuple(tensor[[0, 2]] for tensor in shared.tensors),
        statistics=tuple(tensor[[0, 2]] for tensor in shared.statistics),
        labels=None if shared.labels is None else shared.labels[[0, 2]],
        names=(shared.name(0), shared.name(2)),
    )
    sound = replace(result, **{name: value[[0, 2]] for name, value in vars(result).items() if len(value)})
    agrees(case, sound, network, others)


@pytest.mark.parametrize(
    ("stages", "distance", "kind"),
    [
        (("conv 3x3", "sigmoid", "residual"), Cosine(), CompiledObjective if library("program") else TangentObjective),
        (("conv 3x3", "sigmoid", "residual"), L1(), TangentObjective),
        (("gelu",), Cosine(), Objective),
    ],
)
def test_the_networks_take_all_paths(stages: tuple[str, ...], distance: Distance, kind: type) -> None:
    network = network_of(stages, "average", "two", (3, 8, 8), 0)
    assert isinstance(objective_for(network, GradientClient(), distance, 0.1, (1, 3, 8, 8)), kind)
