"""Victims: the same seed gives the same network, training learns, crops and flips are what they say, a state of a
training is all that its future depends on.
"""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invgrad.data.splits import Split
from invgrad.defences.settings import Defence, Noise, Pruning, Quantisation, Sign
from invgrad.networks.build import build
from invgrad.networks.settings import IRevNet, LeNetZhu, Network, ResNet, Training
from invgrad.networks.training import State, accuracy, augment, train
from invgrad.seeds import generator
from invgrad.settings import SettingsError


def coloured(count: int) -> Split:
    """Images whose class is their brightest channel."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 80, (count, 3, 32, 32), generator=generator)
    images[torch.arange(count), labels] += 120
    return Split(
        dataset="coloured",
        split="train",
        source="made here",
        images=images.to(torch.uint8),
        labels=labels,
        index=torch.arange(count),
        lossy=torch.zeros(count, dtype=torch.bool),
        classes=3,
        mean=(0.3, 0.3, 0.3),
        std=(0.2, 0.2, 0.2),
    )


def test_training_learns_and_repeats() -> None:
    data = coloured(256)
    recipe = Training(epochs=4, batch_size=32, learning_rate=0.01)
    networks = [build(LeNetZhu(), classes=3, size=32, seed=1) for _ in range(2)]
    before = accuracy(networks[0], data)
    curves = [list(train(State(network, recipe, seed=1), data, data)) for network in networks]
    assert curves[0] == curves[1]
    assert curves[0][-1].validation_accuracy > max(0.9, before)
    assert curves[0][-1].training_loss < curves[0][0].training_loss
    assert not networks[0].training


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, two, other = (build(LeNetZhu(), classes=10, size=32, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    first, second, third = (next(network.parameters()) for network in (one, two, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_augmentation_crops_and_flips() -> None:
    images = torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(1, 3, 8, 8).expand(200, 3, 8, 8)
    padded = torch.nn.functional.pad(images[0], (2, 2, 2, 2))
    windows = [padded[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
    allowed = {tuple(each.flatten().tolist()) for window in windows for each in (window, window.flip(2))}
    seen = augment(images, Training(crop_padding=2), torch.Generator().manual_seed(0))
    found = {tuple(image.flatten().tolist()) for image in seen}
    assert found <= allowed
    assert len(found) > 40
    plain = augment(images, Training(crop_padding=0, flip=False), torch.Generator().manual_seed(0))
    assert torch.equal(plain, images)


@pytest.mark.parametrize(("pad", "flip"), [(4, True), (2, False), (0, True)])
def test_each_crop_and_flip_is_the_one_that_was_drawn(pad: int, flip: bool) -> None:
    images = torch.randint(256, (20, 3, 6, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    seen = augment(images, Training(crop_padding=pad, flip=flip), torch.Generator().manual_seed(2))
    random = torch.Generator().manual_seed(2)
    corners = torch.randint(2 * pad + 1, (2, 20), generator=random).T.tolist()
    mirrored = (torch.rand(20, generator=random) < 0.5).tolist()
    padded = torch.nn.functional.pad(images, (pad, pad, pad, pad))
    for crop, whole, (down, right), turned in zip(seen, padded, corners, mirrored, strict=True):
        expected = whole[:, down : down + 6, right : right + 9]
        assert torch.equal(crop, expected.flip(2) if turned and flip else expected)


def test_the_recipe_is_that_of_the_released_code() -> None:
    """Against plain torch, step by step, across two falls of the learning rate, without augmentation."""
    data = coloured(24)
    recipe = Training(epochs=3, batch_size=24, milestones=(1, 2), crop_padding=0, flip=False)
    ours, theirs = (build(LeNetZhu(), classes=3, size=32, seed=2).double().float() for _ in range(2))
    list(train(State(ours, recipe, seed=0), data, data))
    images = (data.images.float() / 255 - 0.3) / 0.2
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for rate in (0.1, 0.01, 0.001):
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(theirs(images), data.labels).backward()
        optimiser.step()
    for mine, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-6)


def test_half_of_the_loss_is_half_the_rate_and_twice_the_weight_decay() -> None:
    """As the released code trained until March 2021: half of the cross-entropy, no batches that are not full."""
    data = coloured(40)
    recipe = Training(
        epochs=2, batch_size=16, learning_rate=0.05, weight_decay=1e-3, crop_padding=0, flip=False, drop_last=True
    )
    ours, theirs = (build(LeNetZhu(), classes=3, size=32, seed=2) for _ in range(2))
    state = State(ours, recipe, seed=0)
    orders: list[Tensor] = []
    curve = list(train(state, data, data, lambda: orders.append(state.under_way.order)))
    assert len(orders) == 4
    images = (data.images.float() / 255 - 0.3) / 0.2
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    losses = []
    for step, order in enumerate(orders):
        batch = order[16 * (step % 2) : 16 * (step % 2) + 16]
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(images[batch]), data.labels[batch])
        (0.5 * loss).backward()
        optimiser.step()
        losses.append(loss.item())
    for mine, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-6)
    assert [epoch.training_loss for epoch in curve] == pytest.approx(
        [np.mean(losses[:2]), np.mean(losses[2:])], rel=1e-4
    )


def slowly_defended(defence: Defence, vector: np.ndarray, step: int) -> np.ndarray:
    """What a client shares in place of its gradient, by the definitions; `step`: from 0, two in each of two epochs."""
    match defence:
        case Noise():
            drawn = generator("defence", "training", 0, 1 + step // 2, step % 2)
            noise = torch.randn(len(vector), generator=drawn, dtype=torch.float64).numpy()
            norm = sum(value * value for value in vector.tolist()) ** 0.5
            return vector / max(1.0, norm / defence.clip) + defence.multiplier * defence.clip * noise
        case Pruning():
            kept = sorted(np.abs(vector))[int(defence.share * len(vector)) :]
            return np.where(np.abs(vector) >= kept[0], vector, 0)
        case Quantisation():
            levels = np.linspace(-1, 1, 2**defence.bits - 1) * np.abs(vector).max()
            return np.array([levels[np.abs(levels - value).argmin()] for value in vector])
        case Sign():
            return np.where(vector > 0, 1, -1) * np.abs(vector).mean()


@pytest.mark.parametrize(
    "defence", [Noise(clip=0.5, multiplier=0.01), Pruning(share=0.75), Quantisation(bits=4), Sign()]
)
def test_every_step_is_by_the_defended_gradient_of_its_batch(defence: Defence) -> None:
    """Against plain SGD that is written out, with weight decay and momentum after the defence."""
    data = coloured(40)
    recipe = Training(
        epochs=2, batch_size=20, learning_rate=0.05, weight_decay=1e-3, crop_padding=0, flip=False, defence=defence
    )
    ours, slow = (build(LeNetZhu(), classes=3, size=32, seed=2) for _ in range(2))
    state = State(ours, recipe, seed=0)
    orders: list[Tensor] = []
    list(train(state, data, data, lambda: orders.append(state.under_way.order)))
    images = (data.images.float() / 255 - 0.3) / 0.2
    parameters = list(slow.parameters())
    momentum = np.zeros(sum(each.numel() for each in parameters))
    for step, order in enumerate(orders):
        batch = order[20 * (step % 2) : 20 * (step % 2) + 20]
        loss = torch.nn.functional.cross_entropy(slow(images[batch]), data.labels[batch])
        gradient = torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters)).double().numpy()
        weights = torch.nn.utils.parameters_to_vector(parameters).detach().double().numpy()
        change = slowly_defended(defence, gradient, step) + 1e-3 * weights
        momentum = 0.9 * momentum + change
        weights = weights - 0.05 * (change + 0.9 * momentum)
        torch.nn.utils.vector_to_parameters(torch.tensor(weights, dtype=torch.float32), parameters)
    for mine, written_out in zip(ours.parameters(), parameters, strict=True):
        torch.testing.assert_close(mine, written_out, rtol=1e-3, atol=1e-5)


def test_a_training_without_defence_has_the_settings_of_before() -> None:
    assert "defence" not in Training().model_dump()
    recipe = Training(defence=Pruning(share=0.9))
    assert Training.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_batch_larger_than_the_data_is_refused_where_only_full_ones_count() -> None:
    recipe = Training(epochs=1, batch_size=64, drop_last=True)
    state = State(build(LeNetZhu(), classes=3, size=32, seed=2), recipe, seed=0)
    with pytest.raises(SettingsError, match=r"batch_size: 64 images \(nearest: 40"):
        list(train(state, coloured(40), coloured(40)))


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("network", [LeNetZhu(), ResNet(depth=20, width=2), IRevNet(blocks=(1, 1), width=4)])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_training_goes_on_from_its_state_as_if_never_stopped(network: Network, momentum: float) -> None:
    """Bit by bit, with batch statistics, dropout, random crops, a fall of the learning rate, wherever it stops: within
    an epoch, after its last step, between two epochs.
    """
    data, recipe = coloured(48), Training(epochs=4, batch_size=16, milestones=(3,), momentum=momentum)

    def fresh(seed: int) -> State:
        return State(build(network, classes=3, size=32, seed=seed), recipe, seed=1)

    whole = fresh(1)
    states = [whole.tensors()]
    curve = []
    for epoch in train(whole, data, data, lambda: states.append(whole.tensors())):
        curve.append(epoch)
        states.append(whole.tensors())
    assert len(states) == 1 + 4 * (3 + 1)
    for number, state in enumerate(states[:-1]):
        if number in (0, 2, 3, 4, 9):
            resumed = fresh(2)
            resumed.restore(state)
            torch.rand(3)  # others may use the global generator
            assert [epoch.epoch for epoch in train(resumed, data, data)] == list(range(number // 4 + 1, 5))
            assert resumed.curve == whole.curve == curve
            assert same(resumed.tensors(), whole.tensors())
            assert not same(state, whole.tensors())


def test_training_leaves_the_global_random_state_alone() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.Dropout(), nn.Linear(64, 3))
    before = torch.get_rng_state()
    list(train(State(network, Training(epochs=1, batch_size=8), seed=0), coloured(16), coloured(16)))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_epochs_leave_the_network_as_it_is() -> None:
    state = State(build(LeNetZhu(), classes=3, size=32, seed=0), Training(epochs=0), seed=0)
    assert list(train(state, coloured(3), coloured(3))) == []
    assert same(state.network.state_dict(), build(LeNetZhu(), classes=3, size=32, seed=0).state_dict())


def test_the_learning_rate_falls_after_its_milestones() -> None:
    """As by torch's own scheduler, to the last bit."""
    recipe = Training(epochs=6, learning_rate=0.3, milestones=(1, 3, 4))
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(recipe.milestones), gamma=0.1)
    for epoch in range(1, 7):
        assert recipe.rate(epoch) == optimiser.param_groups[0]["lr"]
        optimiser.step()
        schedule.step()
