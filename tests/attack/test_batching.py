"""How many trials run at once: what they take is measured, and what does not fit is tried again in smaller batches."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from invgrad.attack.batching import Batch, fitting, in_batches, peak, side_by_side
from invgrad.attack.options import RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import LBFGS, Attack
from invgrad.clients.settings import FederatedAveraging, GradientClient
from invgrad.clients.shared import Shared
from invgrad.networks.build import build
from invgrad.networks.settings import ConvNet, LeNetZhu
from invgrad.objective.autodiff import Objective
from invgrad.objective.by_tangents import TangentObjective
from invgrad.objective.compiled import CompiledObjective
from invgrad.objective.settings import SquaredEuclidean

CPU = torch.device("cpu")
MEBI = 2**20


def take(*mebibytes: int) -> list[torch.Tensor]:
    return [torch.empty(each * MEBI, dtype=torch.uint8) for each in mebibytes]


def in_turn() -> None:
    for size in (3, 5, 2):
        take(size)


def kept() -> None:
    first = take(4, 1)
    del first[0]
    take(2)


def seen_twice() -> None:
    (whole,) = take(6)
    views = whole[:MEBI], whole.view(2, -1), whole.add_(1)
    assert len(views) == 3


@pytest.mark.parametrize(
    ("function", "mebibytes"),
    [(lambda: take(), 0), (lambda: take(1, 2, 3), 6), (in_turn, 5), (kept, 5), (seen_twice, 6)],
    ids=["nothing", "together", "in turn", "some let go", "views and in place"],
)
def test_peak_is_what_tensors_take_at_once(function: Callable[[], object], mebibytes: int) -> None:
    assert peak(function, CPU) == mebibytes * MEBI


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN nothing is packed")
def test_peak_sees_what_onednn_packs() -> None:
    def pack() -> None:
        weight = torch.empty(512, 512)  # 1 MiB
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
        del weight
        assert len((packed, *take(2))) == 2

    assert peak(pack, CPU) == 3 * MEBI


def test_peak_sees_gradients_and_vmap() -> None:
    number = torch.ones(4, MEBI // 4, requires_grad=True)

    def gradient() -> None:
        torch.autograd.grad(torch.vmap(torch.sin)(number).sum(), number)

    assert 2 * number.nbytes <= peak(gradient, CPU) <= 4 * number.nbytes


def test_peak_does_not_count_what_was_there_before() -> None:
    before = take(8)
    assert peak(lambda: before[0].sum(), CPU) < MEBI


@given(fixed=st.integers(0, 100), each=st.integers(1, 20), most=st.integers(1, 40), allowed=st.integers(0, 1000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_what_fits_stays_within_the_allowance(fixed: int, each: int, most: int, allowed: int) -> None:
    """As many as possible, where every trial takes the same."""

    def attempt(trials: int) -> object:
        return torch.empty(1024 * (fixed + each * trials), dtype=torch.uint8)

    trials = fitting(attempt, most, CPU, 1024 * allowed)
    assert 1 <= trials <= most
    if trials > 1:
        assert peak(lambda: attempt(trials), CPU) <= 1024 * allowed
    if trials < most:
        assert peak(lambda: attempt(trials + 1), CPU) > 1024 * allowed
    assert trials <= fitting(attempt, most, CPU, 1024 * allowed + 5000), "more memory, no fewer trials"


def outcomes(count: int, size: int, room: Callable[[int], int]) -> list[int]:
    """The trials that ran, where `room` says how many fit when a batch starts at a trial."""
    done = []
    for batch in in_batches(count, size):
        with batch as which:
            trials = range(count)[which]
            if len(trials) > room(which.start):
                raise torch.OutOfMemoryError
            done.extend(trials)
    return done


@given(count=st.integers(0, 50), size=st.integers(1, 60), data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_trial_is_lost_or_repeated(count: int, size: int, data: st.DataObject) -> None:
    rooms = data.draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    assert outcomes(count, size, rooms.__getitem__) == list(range(count))


def sizes(count: int, size: int, room: int) -> list[int]:
    """Those of the batches that are tried."""
    tried = []
    for batch in in_batches(count, size):
        with batch as which:
            tried.append(which.stop - which.start)
            if tried[-1] > room:
                raise torch.OutOfMemoryError
    return tried


def test_a_batch_without_room_is_halved_from_then_on() -> None:
    assert sizes(20, 8, room=100) == [8, 8, 4]
    assert sizes(20, 8, room=3) == [8, 4, *[2] * 10]
    assert sizes(5, 7, room=1) == [5, 3, 2, *[1] * 5], "what is halved is what was tried"


def test_a_single_trial_without_room_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        outcomes(3, 2, lambda first: 0 if first == 2 else 2)


def test_other_errors_are_passed_on() -> None:
    def fail(batch: Batch) -> None:
        with batch:
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        fail(next(in_batches(2, 2)))


CLIENTS, RESTARTS = 5, 3


@pytest.fixture(scope="module")
def lenet() -> nn.Module:
    return build(LeNetZhu(), classes=10, size=16, seed=3).double()


def shared_by(network: nn.Module, clients: int = CLIENTS) -> Shared:
    generator = torch.Generator().manual_seed(5)
    tensors = [
        torch.randn(clients, *each.shape, generator=generator, dtype=each.dtype) for each in network.parameters()
    ]
    labels = torch.randint(10, (clients, 1), generator=generator)
    return Shared(tensors=tuple(tensors), images=1, shape=(3, 16, 16), mean=(0, 0, 0), std=(1, 1, 1), labels=labels)


def same(one: Reconstruction, other: Reconstruction) -> None:
    for name, value in vars(one).items():
        torch.testing.assert_close(value, getattr(other, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("allowed", "expected"), [(0, 1), (4, 1), (8, 2), (11, 2), (40, 8), (1000, 8)])
def test_trials_side_by_side_keep_the_memory_of_each(allowed: int, expected: int) -> None:
    def attempt(count: int) -> None:
        for _ in range(count):  # what one has freed, another cannot use
            take(4)

    assert side_by_side(attempt, 8, CPU, allowed * MEBI) == expected


@pytest.mark.parametrize(("at_once", "expected"), [(1, [1] * 8), (3, [3, 3, 2])])
def test_no_more_trials_run_than_at_once(at_once: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(ConvNet(width=8), classes=4, size=16, seed=0)
    monkeypatch.setattr(TangentObjective, "at_once", property(lambda self: at_once, lambda self, value: None), False)
    sizes, original = [], TangentObjective.matching_cost

    def matching_cost(self, images, labels, targets):  # type: ignore[no-untyped-def]
        sizes.append(len(images))
        return original(self, images, labels, targets)

    monkeypatch.setattr(TangentObjective, "matching_cost", matching_cost)
    attack = Attack(iterations=2, restarts=8)
    gradient = [torch.randn_like(each) for each in network.parameters()]
    shared = Shared.by_one_client(gradient, shape=(3, 16, 16), labels=[1])
    reconstruct(network, FederatedAveraging(steps=2), shared, attack, seed_key="k")
    assert sizes[-len(expected) :] == expected


@pytest.mark.parametrize("room", [1, 2, 4, 7])
@pytest.mark.parametrize("client", [GradientClient(), FederatedAveraging(steps=2)], ids=lambda client: client.kind)
def test_an_attack_goes_on_after_running_out_of_memory(
    lenet: nn.Module, client: GradientClient | FederatedAveraging, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = shared_by(lenet)
    attack = Attack(iterations=3, restarts=RESTARTS, precision="float64")
    expected = reconstruct(lenet, client, shared, attack, seed_key="k")
    largest = []
    for kind in (Objective, TangentObjective, CompiledObjective):
        original = kind.gradient

        def gradient(self, images, labels, trials, original=original):  # type: ignore[no-untyped-def]
            if len(images) > room:
                raise torch.OutOfMemoryError
            largest.append(len(images))
            return original(self, images, labels, trials)

        monkeypatch.setattr(kind, "gradient", gradient)
    same(reconstruct(lenet, client, shared, attack, seed_key="k"), expected)
    assert room / 2 <= max(largest) <= room, "no smaller batches than needed"


@pytest.mark.parametrize(
    ("network", "attack", "client"),
    [
        (LeNetZhu(), Attack(), GradientClient()),
        (ConvNet(width=4), Attack(tolerance=0.0), GradientClient()),
        (LeNetZhu(), Attack(distance=SquaredEuclidean(), optimiser=LBFGS(), box=False), GradientClient()),
        (LeNetZhu(), Attack(), FederatedAveraging(steps=2)),
        (LeNetZhu(), Attack(unknown_labels="optimised", distance=SquaredEuclidean()), GradientClient()),
    ],
    ids=["adam", "tolerance", "lbfgs", "averaging", "soft labels"],
)
def test_an_attack_stays_within_its_memory(
    network: LeNetZhu | ConvNet, attack: Attack, client: GradientClient | FederatedAveraging
) -> None:
    """Its whole peak, all iterations and results included, with what the allowance lets run at once."""
    victim = build(network, classes=10, size=16, seed=3)
    attack = attack.with_(iterations=2)

    def taken(clients: int, memory: int | None) -> int:
        shared = shared_by(victim, clients)
        return peak(
            lambda: reconstruct(victim, client, shared, attack, seed_key="k", options=RunOptions(memory=memory)), CPU
        )

    allowed = 6 * taken(clients=1, memory=None)
    assert taken(clients=12, memory=allowed) <= 1.1 * allowed
