"""The same on a GPU, where there is one."""

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor

from invgrad.attack.batching import fitting
from invgrad.attack.options import Checkpointer, RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import LBFGS, Attack
from invgrad.clients.protocols import loss_of, share
from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.clients.shared import Shared
from invgrad.networks.build import build
from invgrad.networks.settings import ConvNet, LeNetZhu, Network, ResNet
from invgrad.objective.branches import SIDE_BY_SIDE
from invgrad.objective.build import objective_for
from invgrad.objective.cuda_graph import CALLS_BEFORE, repeated
from invgrad.objective.distances import squares
from invgrad.objective.evaluation import Evaluation
from invgrad.objective.settings import Cosine, RandomLayers, SquaredEuclidean
from invgrad.objective.targets import Targets

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def attacked(
    network: Network, client: Client, attack: Attack, device: str, checkpoint: Checkpointer | None = None
) -> Reconstruction:
    victim = build(network, classes=10, size=32, seed=0).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 1, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[3], [8]])
    parameters = {name: value.detach() for name, value in victim.named_parameters()}
    loss = loss_of(client, victim)
    each = [share(client, loss, parameters, x, y) for x, y in zip(images, labels, strict=True)]
    tensors = tuple(torch.stack(tensors) for tensors in zip(*each, strict=True))
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    shared = Shared(tensors=tensors, images=1, shape=(3, 32, 32), mean=zeros, std=ones, labels=labels)
    return reconstruct(
        victim.to(device), client, shared, attack, seed_key="k", options=RunOptions(checkpoint=checkpoint)
    )


@pytest.mark.parametrize("network", [LeNetZhu(), ConvNet(width=8), ResNet(depth=18, width=8)], ids=lambda x: x.name)
@pytest.mark.parametrize(
    ("client", "attack"),
    [
        (GradientClient(), Attack(iterations=6, precision="float64", restarts=2)),
        (GradientClient(), Attack(iterations=6, precision="float64", layers=RandomLayers(count=3))),
        (GradientClient(), Attack(iterations=1, precision="float64", distance=SquaredEuclidean(), optimiser=LBFGS())),
        (FederatedAveraging(steps=2), Attack(iterations=6, precision="float64", median_filter_every=2)),
    ],
    ids=["signed Adam", "random layers", "L-BFGS", "federated averaging"],
)
def test_a_gpu_finds_what_a_cpu_finds(network: Network, client: Client, attack: Attack) -> None:
    there, here = (attacked(network, client, attack, device) for device in ("cuda", "cpu"))
    torch.testing.assert_close(there.matching_cost.cpu(), here.matching_cost, rtol=1e-6, atol=1e-9)
    assert torch.isclose(there.images.cpu(), here.images, atol=1e-6).double().mean() > 0.999


@pytest.mark.parametrize("client", [GradientClient(), FederatedAveraging(steps=2)], ids=lambda client: client.kind)
@pytest.mark.parametrize("trials", [1, 3, SIDE_BY_SIDE + 2])
@pytest.mark.parametrize("network", [LeNetZhu(), ConvNet(width=8, padding="circular"), ResNet(depth=18, width=8)])
def test_a_replay_computes_what_was_recorded(network: Network, trials: int, client: Client) -> None:
    victim = build(network, classes=10, size=32, seed=0).double().cuda()
    images, labels = torch.rand(trials, 2, 3, 32, 32).double().cuda(), torch.zeros(trials, 2, dtype=torch.long).cuda()
    target = tuple(torch.rand(trials, *each.shape).double().cuda() for each in victim.parameters())
    ones = target[0].new_ones(trials, len(target))
    against = Targets(target=target, squares=squares(target), weights=ones, chosen=ones)
    objective = objective_for(victim, client, Cosine(), 0.01, images.shape[1:])
    fresh = partial(objective.gradient, images, labels, against)
    replayed = repeated(fresh, images.device)
    for _ in range(CALLS_BEFORE + 3):
        images.add_(torch.rand_like(images))
        before = replayed()
        torch.testing.assert_close(before, fresh())
        kept = before.image_gradient.clone()
        images.add_(1)
        replayed()
        assert torch.equal(before.image_gradient, kept)  # another replay does not write over what was returned
    assert replayed._graph is not None


def test_deterministic_attacks_repeat() -> None:
    attack = Attack(iterations=20, deterministic=True)
    once, again = (attacked(ConvNet(width=8), GradientClient(), attack, "cuda") for _ in range(2))
    assert torch.equal(once.images, again.images)


class StopsOnce:
    """Keeps the state after the seventh iteration, and stops there the first time."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}
        self.iterations = 0

    def kept(self) -> Mapping[str, Tensor] | None:
        return self.state or None

    def due(self) -> bool:
        self.iterations += 1
        return self.iterations == 7

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        self.state = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
        if self.iterations == 7:
            raise KeyboardInterrupt


def test_a_deterministic_attack_that_was_stopped_ends_as_if_it_had_not_been() -> None:
    attack, checkpoint = Attack(iterations=20, deterministic=True), StopsOnce()
    whole = attacked(ConvNet(width=8), GradientClient(), attack, "cuda")
    with pytest.raises(KeyboardInterrupt):
        attacked(ConvNet(width=8), GradientClient(), attack, "cuda", checkpoint)
    rest = attacked(ConvNet(width=8), GradientClient(), attack, "cuda", checkpoint)
    assert checkpoint.iterations > 7
    assert torch.equal(whole.images, rest.images)


def test_tf32_is_taken_only_if_asked_for() -> None:
    exact, reduced = (
        attacked(ConvNet(width=64), GradientClient(), Attack(iterations=1, precision=precision), "cuda")
        for precision in ("float32", "tf32")
    )
    assert not torch.equal(exact.matching_cost, reduced.matching_cost)


def test_measured_memory_grows_with_the_trials() -> None:
    def attempt(count: int) -> Tensor:
        return torch.zeros(count, 2**20, device="cuda")

    assert fitting(attempt, 100, torch.device("cuda"), 40 * 2**20) == 10


def test_what_cannot_be_recorded_is_called() -> None:
    ones = torch.ones(2, device="cuda")

    def waits() -> Evaluation:
        total = torch.full_like(ones, ones.sum().item())
        return Evaluation(total, None, total, total)

    function, stream = repeated(waits, ones.device), torch.cuda.current_stream()
    for value in range(1, CALLS_BEFORE + 4):
        ones.fill_(value)
        assert function().objective.tolist() == [2 * value] * 2
    assert function._graph is None
    assert torch.cuda.current_stream() == stream
