"""Trials are independent, repeatable, and stay where they may."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from examples import MEAN, STD, shared_by
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from invgrad.attack.constraints import box
from invgrad.attack.options import RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.selection import select
from invgrad.attack.settings import LBFGS, SGD, Adam, Attack
from invgrad.clients.settings import FederatedAveraging, GradientClient
from invgrad.clients.shared import Shared
from invgrad.networks.build import build
from invgrad.networks.settings import ConvNet, LeNetZhu, Network
from invgrad.objective.settings import RandomLayers, SquaredEuclidean
from invgrad.settings import SettingsError

Exact = partial(Attack, precision="float64")
IMAGES = 3


def victim(network: Network) -> nn.Module:
    return build(network, classes=10, size=32, seed=3).double()


def only(shared: Shared, client: int) -> Shared:
    assert shared.labels is not None
    one = slice(client, client + 1)
    tensors = tuple(tensor[one] for tensor in shared.tensors)
    return replace(shared, tensors=tensors, labels=shared.labels[one], names=shared.names[one])


@pytest.mark.parametrize(
    ("network", "attack"),
    [
        (LeNetZhu(), Exact(iterations=25, restarts=2)),
        (LeNetZhu(), Exact(iterations=25, optimiser=SGD())),
        (LeNetZhu(), Exact(iterations=3, optimiser=LBFGS(), distance=SquaredEuclidean(), box=False)),
        (ConvNet(width=4), Exact(iterations=4, restarts=2)),
    ],
)
def test_a_trial_alone_is_the_same_as_in_a_batch(network: Network, attack: Attack) -> None:
    net = victim(network)
    shared = shared_by(net, IMAGES)
    together = reconstruct(net, GradientClient(), shared, attack, seed_key="k")
    split = reconstruct(net, GradientClient(), shared, attack, seed_key="k", options=RunOptions(memory=1))
    torch.testing.assert_close(split.images, together.images, rtol=1e-6, atol=1e-6)
    for client in range(IMAGES):
        alone = reconstruct(net, GradientClient(), only(shared, client), attack, seed_key="k")
        torch.testing.assert_close(alone.images[0], together.images[client], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(alone.matching_cost[0], together.matching_cost[client], rtol=1e-6, atol=1e-9)


def test_seeds_repeat_and_differ() -> None:
    net = victim(LeNetZhu())
    shared, attack = shared_by(net, IMAGES), Exact(iterations=3, restarts=2)
    first, again = (reconstruct(net, GradientClient(), shared, attack, seed_key="a") for _ in range(2))
    other = reconstruct(net, GradientClient(), shared, attack, seed_key="b")
    torch.testing.assert_close(first.images, again.images, rtol=0, atol=0)
    assert not torch.equal(first.images, other.images)
    assert len(set(first.matching_cost.flatten().tolist())) == IMAGES * 2, "every restart has its own noise"


@given(step=st.floats(0.01, 5), signed=st.booleans())
@settings(max_examples=5, deadline=None)
def test_the_box_is_never_left(step: float, signed: bool) -> None:
    net = victim(LeNetZhu())
    attack = Exact(iterations=4, optimiser=Adam(step_size=step, signed=signed))
    images = reconstruct(net, GradientClient(), shared_by(net, IMAGES), attack, seed_key="k").images
    low, high = box(*(torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (MEAN, STD)))
    assert bool((images >= low).all())
    assert bool((images <= high).all())


def test_the_attack_reduces_the_matching_cost() -> None:
    net = victim(LeNetZhu())
    shared = shared_by(net, clients=1)
    short, long = (
        reconstruct(net, GradientClient(), shared, Exact(iterations=n), seed_key="k").matching_cost for n in (1, 200)
    )
    assert long.item() < short.item() / 5


@pytest.mark.parametrize("optimiser", [Adam(), SGD(), LBFGS()])
def test_a_trial_that_is_not_finite_fails_alone(optimiser: Adam | SGD | LBFGS) -> None:
    net = victim(LeNetZhu())
    shared, attack = shared_by(net, IMAGES), Exact(iterations=3, optimiser=optimiser)
    sound = reconstruct(net, GradientClient(), shared, attack, seed_key="k")
    tensors = tuple(tensor.clone() for tensor in shared.tensors)
    tensors[0][1] = torch.nan
    broken = reconstruct(net, GradientClient(), replace(shared, tensors=tensors), attack, seed_key="k")
    assert broken.selected.tolist() == [0, -1, 0]
    assert bool(broken.images[1].isnan().all())
    torch.testing.assert_close(broken.images[[0, 2]], sound.images[[0, 2]], rtol=1e-9, atol=1e-9)


def test_selection_takes_the_best_of_the_restarts_that_did_not_fail() -> None:
    candidates = torch.arange(3.0)[None, :, None, None, None, None].expand(1, 3, 1, 3, 4, 4).clone()
    cost = torch.tensor([[torch.nan, 2.0, 3.0]])
    images, selected = select(candidates, cost, "matching-cost")
    assert selected.tolist() == [1]
    assert images.unique().tolist() == [1.0]
    averaged, nobody = select(candidates, cost, "pixel-mean")
    assert averaged.unique().tolist() == [1.5]
    assert nobody.tolist() == [-1]
    candidates[0, 1, ..., 0] = 5
    assert select(candidates, cost, "total-variation")[1].tolist() == [2]


def test_inferred_labels_are_the_true_ones() -> None:
    net = victim(LeNetZhu())
    shared = shared_by(net, IMAGES)
    blind = replace(shared, labels=None)
    result = reconstruct(net, GradientClient(), blind, Exact(iterations=1), seed_key="k")
    assert shared.labels is not None
    assert result.labels.tolist() == shared.labels.tolist()
    with pytest.raises(ValueError, match="from a gradient only"):
        reconstruct(net, FederatedAveraging(steps=1), blind, Exact(iterations=1), seed_key="k")


def test_labels_of_a_batch_are_inferred() -> None:
    net = victim(LeNetZhu())
    generator = torch.Generator().manual_seed(8)
    images = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.tensor([7, 2, 9, 4])
    gradient = torch.autograd.grad(F.cross_entropy(net(images), labels), net.parameters())
    shared = Shared.of(net, gradient, shape=(3, 32, 32), images=4)
    result = reconstruct(net, GradientClient(), shared, Exact(iterations=1), seed_key="k")
    assert result.labels.tolist() == [[2, 4, 7, 9]]


def test_soft_labels_find_the_label() -> None:
    net = victim(LeNetZhu())
    shared = shared_by(net, IMAGES)
    attack = Exact(iterations=150, unknown_labels="optimised")
    result = reconstruct(net, GradientClient(), replace(shared, labels=None), attack, seed_key="k")
    assert shared.labels is not None
    assert result.labels.tolist() == shared.labels.tolist()


def test_precision_is_that_of_the_settings_and_leaves_the_network_alone() -> None:
    net = victim(LeNetZhu())
    result = reconstruct(net, GradientClient(), shared_by(net, IMAGES), Attack(iterations=2), seed_key="k")
    assert result.images.dtype == torch.float32
    assert next(net.parameters()).dtype == torch.float64
    with pytest.raises(SettingsError, match=r"tf32 needs a GPU.*nearest: float32"):
        reconstruct(net, GradientClient(), shared_by(net, IMAGES), Attack(iterations=2, precision="tf32"), seed_key="k")


def test_deterministic_mode_holds_during_the_attack_only() -> None:
    seen = []
    net = victim(LeNetZhu())

    def progress(done: int, total: int, matching: Tensor) -> None:
        seen.append((done, total, torch.are_deterministic_algorithms_enabled()))

    attack = Exact(iterations=2, deterministic=True)
    reconstruct(
        net, GradientClient(), shared_by(net, IMAGES), attack, seed_key="k", options=RunOptions(progress=progress)
    )
    assert seen == [(IMAGES, 2 * IMAGES, True), (2 * IMAGES, 2 * IMAGES, True)]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_trial_rests_at_the_tolerance() -> None:
    net = victim(LeNetZhu())
    shared = shared_by(net, IMAGES)
    whole = reconstruct(net, GradientClient(), shared, Exact(iterations=60), seed_key="k")
    limit = whole.matching_cost.median().item()
    rested = reconstruct(net, GradientClient(), shared, Exact(iterations=60, tolerance=limit), seed_key="k")
    reached = (whole.matching_cost < limit).flatten()
    assert bool((rested.iterations.flatten()[reached] < 60).all())
    assert bool((rested.matching_cost <= limit).flatten()[reached].all())


def test_batch_statistics_need_a_client_that_sends_them() -> None:
    net = victim(ConvNet(width=4))
    with pytest.raises(SettingsError, match="sent no batch-norm statistics"):
        reconstruct(net, GradientClient(), shared_by(net, IMAGES), Exact(batch_statistics=0.1), seed_key="k")


def test_batch_statistics_must_be_those_of_the_networks_layers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2)).eval()
    client, gradient = GradientClient(batch_norm="training", statistics="sent"), list(net.parameters())
    shared = Shared.of(net, gradient, shape=(3, 8, 8), labels=[1], statistics=[[0.1, 0.2]])
    with pytest.raises(
        SettingsError, match=r"shapes \[\[2\]\] instead of \[\[2\], \[2\]\]; give the mean and the variance"
    ):
        reconstruct(net, client, shared, Attack(batch_statistics=0.1), seed_key="k")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensors": (torch.zeros(IMAGES, 1),) * 7}, "7 tensors, but the network has 8"),
        ({"tensors": (torch.zeros(IMAGES, 1),) * 8}, r"0.weight is \[3, 1\] instead of \[3, 12, 3, 5, 5\]"),
        ({"labels": torch.tensor([[1], [10], [2]])}, r"must lie in 0..9, got 10 \(nearest: 9\)"),
        ({"labels": torch.tensor([[1], [-1], [2]])}, r"must lie in 0..9, got -1 \(nearest: 0\)"),
        ({"labels": torch.zeros(IMAGES, 2, dtype=torch.long)}, r"\[3, 2\] instead of \[3, 1\]"),
        ({"mean": (0.5,)}, "must have 3 values"),
        ({"images": 0}, r"images: 0 \(nearest: 1\)"),
        ({"std": (1, 1, 0)}, "std positive"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: dict[str, Any], words: str) -> None:
    net = victim(LeNetZhu())
    shared = replace(shared_by(net, IMAGES), **changes)
    with pytest.raises(SettingsError, match=words):
        reconstruct(net, GradientClient(), shared, Exact(iterations=1), seed_key="k")


def test_a_network_in_training_mode_is_refused() -> None:
    net = victim(ConvNet(width=4))
    shared = shared_by(net, IMAGES)
    with pytest.raises(SettingsError, match=r"training mode; call network.eval\(\)"):
        reconstruct(net.train(), GradientClient(), shared, Exact(iterations=1), seed_key="k")


def test_mini_batches_must_fill_the_images() -> None:
    net = victim(LeNetZhu())
    client = FederatedAveraging(steps=2, batch_size=2)
    with pytest.raises(SettingsError, match="does not divide 1 images"):
        reconstruct(net, client, shared_by(net, IMAGES), Exact(iterations=1), seed_key="k")


ADAM = Exact(iterations=7, restarts=2)
WATCHED = [
    ADAM,
    Exact(iterations=2, optimiser=LBFGS(), distance=SquaredEuclidean(), box=False),
    Exact(iterations=7, layers=RandomLayers(count=3)),
    Exact(iterations=7, unknown_labels="optimised"),
]


def followed(attack: Attack, shared: Shared | None = None, memory: int | None = None) -> Reconstruction:
    net = victim(LeNetZhu())
    return reconstruct(
        net, GradientClient(), shared or shared_by(net, IMAGES), attack, seed_key="k", options=RunOptions(memory=memory)
    )


@pytest.mark.parametrize("attack", WATCHED, ids=["adam", "lbfgs", "random layers", "soft labels"])
@pytest.mark.parametrize("memory", [None, 1])
def test_watching_an_attack_does_not_change_it(attack: Attack, memory: int | None) -> None:
    """Not even where memory is short."""
    shared = shared_by(victim(LeNetZhu()), IMAGES)
    if attack.unknown_labels == "optimised":
        shared = replace(shared, labels=None)
    plain, watched = (followed(each, shared, memory) for each in (attack, attack.with_(snapshots=3)))
    for name in ("images", "labels", "matching_cost", "iterations", "selected"):
        assert torch.equal(getattr(plain, name), getattr(watched, name)), name
    assert plain.trajectory.shape == (IMAGES, attack.restarts, 0, 1, 3, 32, 32)
    assert plain.trajectory_cost.shape == (IMAGES, attack.restarts, 0)
    assert watched.trajectory.shape == (IMAGES, attack.restarts, 3, 1, 3, 32, 32)
    assert torch.equal(watched.trajectory_cost[:, :, -1], watched.matching_cost)


@pytest.mark.parametrize(("iterations", "snapshots"), [(7, 8), (8, 3), (10, 4), (3, 9), (5, 1), (5, 0)])
def test_snapshots_are_evenly_spread(iterations: int, snapshots: int) -> None:
    kept = followed(Exact(iterations=iterations, snapshots=snapshots)).trajectory_iteration
    expected = {
        (7, 8): [0, 1, 2, 3, 4, 5, 6, 7],
        (8, 3): [0, 4, 8],
        (10, 4): [0, 3, 7, 10],
        (3, 9): [0, 1, 2, 3],
        (5, 1): [5],
        (5, 0): [],
    }
    assert kept.dtype == torch.int64
    assert kept.tolist() == expected[iterations, snapshots]


@pytest.mark.parametrize("attack", WATCHED[:2], ids=["adam", "lbfgs"])
def test_a_snapshot_is_what_a_shorter_attack_ends_with(attack: Attack) -> None:
    attack = attack.with_(step_decay=False, snapshots=attack.iterations + 1)
    watched = followed(attack)
    for done in range(1, attack.iterations + 1):
        short = followed(attack.with_(iterations=done, snapshots=1))
        assert torch.equal(watched.trajectory[:, :, done], short.trajectory[:, :, 0])
        torch.testing.assert_close(watched.trajectory_cost[:, :, done], short.matching_cost, rtol=1e-9, atol=1e-12)


def test_the_first_snapshot_is_the_start_and_each_cost_is_of_its_images() -> None:
    net = victim(LeNetZhu())
    shared = shared_by(net, IMAGES)
    start = torch.randn(IMAGES, 1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(2)).half()
    attack = Exact(iterations=6, snapshots=3, optimiser=Adam(step_size=0.125), box=False)
    watched = reconstruct(net, GradientClient(), shared, attack, seed_key="k", start=start.float())
    assert torch.equal(watched.trajectory[:, :, 0], start)
    assert shared.labels is not None
    for point, cost in zip(watched.trajectory[:, 0].unbind(1), watched.trajectory_cost[:, 0].unbind(1), strict=True):
        for client in range(IMAGES):
            loss = F.cross_entropy(net(point[client].double()), shared.labels[client])
            found = torch.cat([each.flatten() for each in torch.autograd.grad(loss, net.parameters())])
            target = torch.cat([each[client].flatten() for each in shared.tensors])
            assert 1 - F.cosine_similarity(found, target, dim=0).item() == pytest.approx(cost[client].item(), abs=1e-4)


def test_a_trial_that_rests_stays_in_its_snapshots() -> None:
    net = victim(LeNetZhu())
    shared = shared_by(net, IMAGES)
    attack = Exact(iterations=60, snapshots=13)
    limit = followed(attack).matching_cost.max().item()
    rested = followed(attack.with_(tolerance=limit), shared)
    assert bool((rested.iterations < 60).any()), "none rests: the case says nothing"
    for client, taken in enumerate(rested.iterations[:, 0].tolist()):
        after = rested.trajectory_iteration >= taken
        assert torch.equal(rested.trajectory[client, 0, after][-1], rested.images[client].half())
        assert len(rested.trajectory[client, 0, after].unique(dim=0)) == 1
        costs = rested.trajectory_cost[client, 0, after]
        torch.testing.assert_close(costs, costs[-1:].expand_as(costs), rtol=1e-9, atol=0)
        assert bool((rested.trajectory_cost[client, 0, ~after] > limit).all())
    at_once = followed(attack.with_(tolerance=100.0), shared)
    assert at_once.iterations.unique().tolist() == [0]
    assert len(at_once.trajectory[0, 0].unique(dim=0)) == 1
    assert torch.equal(at_once.trajectory_cost, at_once.matching_cost[:, :, None].expand(-1, -1, 13))
