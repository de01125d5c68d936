"""A gradient is taken in every form in which people hold one; what cannot be is refused in one line."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from invgrad.attack.options import RunOptions
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import Attack
from invgrad.clients.settings import GradientClient
from invgrad.clients.shared import Shared
from invgrad.objective.priors import total_variation, total_variation_gradient
from invgrad.settings import SettingsError

SHAPE = (3, 8, 8)
IMAGES = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([3, 1])


def network(frozen: tuple[str, ...] = ()) -> nn.Module:
    """A network with buffers and with a parameter of two names; those named are frozen."""
    torch.manual_seed(2)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 12))
    layers.extend([nn.Sigmoid(), nn.Linear(12, 12), nn.Linear(12, 12)])
    layers[7].weight = layers[6].weight
    for name in frozen:
        layers.get_parameter(name).requires_grad_(False)
    return layers.eval()


def gradient_of(network: nn.Module) -> dict[str, Tensor]:
    trained = {name: each for name, each in network.named_parameters() if each.requires_grad}
    loss = F.cross_entropy(network(IMAGES), LABELS)
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


def shared(network: nn.Module, held: Any, **changes: Any) -> Shared:
    return Shared.of(network, held, **{"shape": SHAPE, "labels": LABELS, **changes})


def equal(one: Shared, other: Shared) -> bool:
    pairs = zip(one.tensors, other.tensors, strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and torch.equal(one.labels, other.labels)


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda each: each,
    "parameter": lambda each: nn.Parameter(each.clone()),
    "part of a graph": lambda each: each.clone().requires_grad_() * 1,
    "not contiguous": lambda each: each.flip(0).contiguous().flip(0),
    "sparse": lambda each: each.to_sparse(),
    "array": lambda each: each.numpy(),
    "reversed array": lambda each: np.ascontiguousarray(each.numpy()[::-1])[::-1],
    "array of the other byte order": lambda each: each.numpy().astype(">f4"),
    "read-only array": lambda each: np.frombuffer(each.numpy().tobytes(), np.float32).reshape(each.shape),
    "nested lists": lambda each: each.tolist(),
}
PREFIXES = ["", "module.", "_module.", "_orig_mod.", "_orig_mod.module."]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_form_is_the_list_bit_for_bit(data: st.DataObject) -> None:
    every = [name for name, _ in network().named_parameters()]
    net = network(tuple(data.draw(st.lists(st.sampled_from(every), max_size=3))))
    gradient = gradient_of(net)
    unused = data.draw(st.lists(st.sampled_from(list(gradient)), max_size=2))
    expected = shared(net, [0 * each if name in unused else each for name, each in gradient.items()])
    kinds = st.sampled_from(list(KINDS.values()))
    held = {name: None if name in unused else data.draw(kinds)(each) for name, each in gradient.items()}
    frozen = data.draw(st.sampled_from([lambda name: None, lambda name: torch.zeros_like(net.get_parameter(name))]))
    of_all = {name: held[name] if name in held else frozen(name) for name in every}
    for each in (held, of_all):
        assert equal(shared(net, tuple(each.values())), expected)
        assert equal(shared(net, (value for value in each.values())), expected)
        names, prefix = data.draw(st.permutations(list(each))), data.draw(st.sampled_from(PREFIXES))
        for owner in (net, nn.DataParallel(net).eval()):
            assert equal(shared(owner, {prefix + name: each[name] for name in names}), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_attacked_as_what_it_holds(dtype: torch.dtype) -> None:
    net = network()
    halves = [each.to(dtype) for each in gradient_of(net).values()]
    assert equal(shared(net, halves), shared(net, [each.float() for each in halves]))
    for precision in ("float32", "float64"):
        attack = Attack(iterations=2, precision=precision)
        exact = shared(net, [each.double() for each in halves])
        one, other = (
            reconstruct(net, GradientClient(), each, attack, seed_key="k") for each in (shared(net, halves), exact)
        )
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": torch.tensor([[3.0, 1.0]])}, "labels: are torch.float32, not class indices"),
        ({"names": ("a", "b")}, "names: 2 of 1 clients"),
        ({"statistics": (torch.zeros(2, 4), torch.ones(2, 4))}, "statistics: not of 1 clients"),
    ],
)
def test_parts_of_several_clients_that_do_not_fit_are_refused(changed: dict[str, Any], words: str) -> None:
    net = network()
    with pytest.raises(SettingsError, match=words):
        reconstruct(net, GradientClient(), replace(shared(net, gradient_of(net)), **changed), Attack(), seed_key="k")


def test_an_image_of_one_row_has_a_total_variation_and_no_median_filter() -> None:
    row = torch.rand(1, 3, 1, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    variation = total_variation(row)
    assert variation.item() == pytest.approx(row.diff(dim=-1).abs().mean().item())
    (gradient,) = torch.autograd.grad(variation, row)
    assert torch.allclose(total_variation_gradient(row.detach()[None])[0], gradient)
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 12)).eval()
    nn.functional.cross_entropy(net(row.detach()), torch.tensor([3])).backward()
    held = Shared.of(net, [each.grad for each in net.parameters()], shape=(3, 1, 8))
    with pytest.raises(SettingsError, match="median_filter_every: takes images of 2×2 pixels and more"):
        reconstruct(net, GradientClient(), held, Attack(median_filter_every=2), seed_key="k")


def test_double_precision_is_kept() -> None:
    net = network().double()
    gradient = [each.double() / 3 for each in gradient_of(network()).values()]
    assert all(torch.equal(a[0], b) for a, b in zip(shared(net, gradient).tensors, gradient, strict=True))


@given(learning_rate=st.floats(1e-4, 10), frozen=st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_difference_of_state_dicts_by_its_learning_rate_is_the_gradient(learning_rate: float, frozen: bool) -> None:
    net = network(("0.weight", "0.bias") if frozen else ()).double()
    before = {name: each.clone() for name, each in net.state_dict().items()}
    images, labels = IMAGES.double(), LABELS
    torch.optim.SGD([each for each in net.parameters() if each.requires_grad], learning_rate).zero_grad()
    F.cross_entropy(net(images), labels).backward()
    gradient = [each.grad.clone() for each in net.parameters() if each.requires_grad]
    torch.optim.SGD([each for each in net.parameters() if each.requires_grad], learning_rate).step()
    difference = {name: each - before[name] for name, each in reversed(net.state_dict().items())}
    difference["1.running_mean"] = difference["1.running_mean"] + torch.nan  # buffers do not count
    net.load_state_dict(before)
    found = shared(net, difference, learning_rate=learning_rate)
    for ours, expected in zip(found.tensors, gradient, strict=True):
        torch.testing.assert_close(ours[0], expected, rtol=1e-6, atol=1e-12 / learning_rate)
    arrays = [difference[name].numpy() for name in before]  # as Flower sends them
    assert equal(shared(net, arrays, learning_rate=learning_rate), found)


@pytest.mark.parametrize(
    "labels", [[3, 1], (3, 1), LABELS.numpy(), LABELS.to(torch.uint8), LABELS.int(), np.uint16([3, 1])]
)
def test_labels_in_every_form_are_class_indices(labels: Any) -> None:
    found = shared(network(), gradient_of(network()), labels=labels)
    assert found.labels is not None
    assert found.labels.tolist() == [[3, 1]]
    assert found.labels.dtype == torch.long
    assert found.images == 2


@pytest.mark.parametrize("label", [3, np.int64(3), torch.tensor(3), [3], [torch.tensor(3)]])
def test_one_label_needs_no_list(label: Any) -> None:
    found = shared(network(), gradient_of(network()), labels=label)
    assert found.labels is not None
    assert found.labels.tolist() == [[3]]
    assert found.images == 1


@pytest.mark.parametrize("number", [2, np.int64(2), torch.tensor(2)])
def test_the_number_of_images_is_any_whole_number(number: Any) -> None:
    assert shared(network(), gradient_of(network()), labels=None, images=number).images == 2


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_mean_std_and_shape_are_taken_in_every_form(form: Callable[[list[float]], Any]) -> None:
    values = [0.25, 0.5, 0.75]
    found = shared(network(), gradient_of(network()), mean=form(values), std=form(values), shape=form([3, 8, 8]))
    assert (found.mean, found.std, found.shape) == ((0.25, 0.5, 0.75), (0.25, 0.5, 0.75), (3, 8, 8))


def test_a_gradient_by_name_is_attacked_as_the_list() -> None:
    net = network()
    gradient = gradient_of(net)
    by_name = dict(reversed(gradient.items()))
    attack = Attack(iterations=3)
    one, other = (
        reconstruct(net, GradientClient(), shared(net, held), attack, seed_key="k")
        for held in (by_name, list(gradient.values()))
    )
    assert torch.equal(one.images, other.images)


Change = Callable[[dict[str, Tensor]], Any]
GRADIENTS: dict[str, Change] = {
    "a Tensor; give a list of tensors": lambda gradient: torch.zeros(5),
    "a ndarray; give a list of tensors": lambda gradient: np.zeros(5),
    "a int; give a list": lambda gradient: 3,
    "8 tensors, but the network has 9 parameters to train": lambda gradient: list(gradient.values())[1:],
    "10 tensors, but the network has 9": lambda gradient: [*gradient.values(), None],
    "no parameter '0.wieght'; nearest: '0.weight'": lambda gradient: gradient | {"0.wieght": gradient["0.weight"]},
    "it holds a dict of tensors as 'gradient'; give that one": lambda gradient: {"epoch": 1, "gradient": gradient},
    "it holds a tuple of tensors as 'g'; give that one": lambda gradient: {"g": tuple(gradient.values())},
    "no parameter '5'; nearest": lambda gradient: {5: gradient["0.weight"]},
    "0.bias is missing; give None": lambda gradient: {n: each for n, each in gradient.items() if n != "0.bias"},
    "0.bias is not finite": lambda gradient: gradient | {"0.bias": gradient["0.bias"] / 0},
    "4.weight is not finite": lambda gradient: gradient | {"4.weight": gradient["4.weight"] * torch.nan},
    "is zero everywhere": lambda gradient: {name: 0 * each for name, each in gradient.items()},
    "gradient: is zero everywhere": lambda gradient: [None] * len(gradient),
    "0.bias is of torch.int64; give floating-point numbers, quantised ones times": lambda gradient: (
        gradient | {"0.bias": gradient["0.bias"].long()}
    ),
    "0.bias is of torch.complex64; give": lambda gradient: gradient | {"0.bias": gradient["0.bias"] * 1j},
    "0.bias: a str that holds no numbers": lambda gradient: gradient | {"0.bias": "zero"},
    "0.bias: a list that holds no numbers": lambda gradient: gradient | {"0.bias": [[1.0], [1.0, 2.0]]},
    "0.bias: a Linear that holds no numbers": lambda gradient: gradient | {"0.bias": nn.Linear(1, 1)},
    r"0.bias is \[1, 5\] instead of \[1, 4\]": lambda gradient: gradient | {"0.bias": torch.ones(5)},
    r"0.bias is \[1\] instead of \[1, 4\]": lambda gradient: gradient | {"0.bias": 1.0},
}


@pytest.mark.parametrize("words", GRADIENTS)
def test_what_is_no_gradient_is_refused(words: str) -> None:
    net = network()
    with pytest.raises(SettingsError, match=words):
        attacked(net, GRADIENTS[words](gradient_of(net)))


ARGUMENTS: dict[str, Mapping[str, Any]] = {
    "labels: a str that holds no numbers": {"labels": "cat"},
    r"labels: \[2\] of torch.float32; give one class index": {"labels": torch.tensor([3.0, 1.0])},
    r"labels: \[2\] of torch.bool": {"labels": torch.tensor([True, False])},
    r"labels: \[2, 12\] of torch.int64": {"labels": F.one_hot(LABELS, 12)},
    r"must lie in 0..11, got 12 \(nearest: 11\)": {"labels": [3, 12]},
    r"labels: \[1, 2\] instead of \[1, 3\]": {"images": 3},
    r"images: 0 \(nearest: 1\)": {"images": 0},
    r"images: 2.0; give a whole number": {"images": 2.0},
    r"shape: \(8, 8\); give three": {"shape": (8, 8)},
    "shape: 8; give three": {"shape": 8},
    "mean and std must have 3 values": {"mean": [0.5]},
    "must be finite, and std positive": {"mean": [0.5] * 3, "std": [1, 1, 0]},
    "mean .* must be finite": {"mean": [0.5, torch.nan, 0.5]},
    "mean: a str": {"mean": "imagenet"},
    "learning_rate: must be positive, got 0": {"learning_rate": 0},
    "learning_rate: must be positive, got -0.1": {"learning_rate": -0.1},
}


@pytest.mark.parametrize("words", ARGUMENTS)
def test_what_does_not_belong_to_the_gradient_is_refused(words: str) -> None:
    net = network()
    with pytest.raises(SettingsError, match=words):
        attacked(net, gradient_of(net), **ARGUMENTS[words])


def test_a_gradient_of_a_frozen_parameter_is_refused() -> None:
    gradient = gradient_of(network())
    net = network(("0.weight",))
    with pytest.raises(SettingsError, match=r"0.weight changes, but requires no gradient; call requires_grad_"):
        shared(net, gradient)
    after = {name: each.detach() for name, each in net.named_parameters()}  # as clients that share their parameters
    assert len(shared(net, after).tensors) == len(gradient) - 1


def test_a_part_of_the_network_may_be_called_module() -> None:
    net = nn.ModuleDict({"module": nn.Linear(2, 3), "head": nn.Linear(3, 2).requires_grad_(False)})
    gradient = {"module.bias": torch.ones(3), "module.weight": torch.ones(3, 2)}
    assert [list(each.shape) for each in shared(net, gradient).tensors] == [[1, 3, 2], [1, 3]]


def test_a_mapping_needs_the_network() -> None:
    with pytest.raises(SettingsError, match=r"is by name; give Shared.of\(network, gradient"):
        Shared.by_one_client(gradient_of(network()), shape=SHAPE)  # type: ignore[arg-type]


def attacked(net: nn.Module, held: Any, **changes: Any) -> None:
    """Attack what is held, which must be refused before the first iteration."""

    def progress(*_: object) -> None:
        raise AssertionError("work began")

    options = RunOptions(progress=progress)
    reconstruct(
        net, GradientClient(), shared(net, held, **changes), Attack(iterations=1), seed_key="k", options=options
    )
