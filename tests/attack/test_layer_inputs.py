"""Fully connected layers that give their inputs away, beside what a forward pass says that these are."""

import pytest
import torch
from torch import Tensor, nn

from invgrad.attack.layer_inputs import joined, layer_leaks
from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.clients.sharing import shared_by
from invgrad.data.images import normalise
from invgrad.defences.settings import Pruning

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def network(*, first: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, first, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(first * 36, 7), nn.ReLU(), nn.Linear(7, 4)
    ).eval()


def leaks(victim: nn.Module, client: Client, clients: int, images: int):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (clients, images, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (clients, images), generator=generator)
    seeds = [(number,) for number in range(clients)]
    shared = shared_by(client, victim, pixels, labels, mean=MEAN, std=STD, labels_known=True, seeds=seeds)
    given = normalise(pixels, MEAN, STD, torch.float32, "cpu")
    return layer_leaks(victim, client, shared, given), given


def test_the_inputs_of_single_images_are_found_exactly() -> None:
    victim = network()
    found, given = leaks(victim, GradientClient(), clients=3, images=1)
    assert [(leak.layer, leak.inputs, leak.of_pixels) for leak in found] == [("3", 216, False), ("5", 7, False)]
    for leak, part in zip(found, (victim[:3], victim[:5]), strict=True):
        true: Tensor = part(given[:, 0]).detach()
        torch.testing.assert_close(leak.found[:, 0].float(), true, atol=1e-4, rtol=1e-4)
        assert (leak.errors < 1e-4).all()


def test_a_first_layer_gives_the_pixels() -> None:
    victim = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    (leak,), given = leaks(victim, GradientClient(), clients=2, images=1)
    assert leak.of_pixels
    torch.testing.assert_close(leak.found.float().unflatten(2, (3, 8, 8)), given, atol=1e-4, rtol=1e-4)


def test_several_images_are_mixed() -> None:
    found, _ = leaks(network(), GradientClient(), clients=2, images=3)
    assert found[0].errors.shape == (2, 3)
    assert (found[0].errors > 0.01).any()


@pytest.mark.parametrize(
    ("client", "exact"),
    [
        (FederatedAveraging(steps=1), True),
        (FederatedAveraging(steps=1, learning_rate=0.1, shared="parameters"), True),
        (FederatedAveraging(steps=3, learning_rate=1.0), False),
        (GradientClient(defence=Pruning(share=0.9)), False),
    ],
)
def test_the_inputs_are_those_that_the_shared_update_shows(client: Client, exact: bool) -> None:
    found, _ = leaks(network(), client, clients=2, images=1)
    assert (found[1].errors < 1e-3).all() == exact


def test_layers_without_a_bias_and_frozen_ones_and_those_of_many_vectors_are_left_out() -> None:
    victim = nn.Sequential(
        nn.Linear(8, 8), nn.Flatten(), nn.Linear(192, 5, bias=False), nn.Linear(5, 6), nn.Linear(6, 4)
    )
    victim[3].requires_grad_(False)
    found, _ = leaks(victim.eval(), GradientClient(), clients=1, images=1)
    assert [leak.layer for leak in found] == ["4"]


def test_a_layer_that_shows_nothing_has_no_error_but_infinity() -> None:
    """Of a layer behind which nothing is active the gradient is zero."""
    victim = network()
    with torch.no_grad():
        victim[3].bias.fill_(-1e3)
    found, _ = leaks(victim, GradientClient(), clients=1, images=1)
    assert found[0].errors.isinf().all()


def test_groups_of_clients_are_put_together() -> None:
    found, _ = leaks(network(), GradientClient(), clients=3, images=1)
    together = joined([found, found])
    assert [leak.layer for leak in together] == ["3", "5"]
    assert together[0].errors.shape == (6, 1)
