"""Defences of a client, beside slow code of their definitions and closed forms."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy import integrate, stats

from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.defences.settings import Noise, Pruning, Quantisation, Sign
from invgrad.defences.updates import defended, delta_of, epsilon_of


def update(seed: int = 0, size: int = 60) -> tuple[torch.Tensor, ...]:
    vector = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return vector[: size // 2].reshape(2, -1), vector[size // 2 :]


def flat(tensors: tuple[torch.Tensor, ...]) -> list[float]:
    return torch.cat([each.flatten() for each in tensors]).tolist()


def test_clients_without_defence_have_the_settings_of_before() -> None:
    assert GradientClient().model_dump_json() == '{"batch_norm":"evaluation","statistics":"withheld","kind":"gradient"}'
    assert "defence" not in FederatedAveraging(steps=1).model_dump()
    assert flat(defended(None, update())) == flat(update())


@pytest.mark.parametrize("defence", [Noise(clip=1, multiplier=0.1), Pruning(share=0.9), Quantisation(bits=4), Sign()])
def test_a_defence_survives_json(defence: Noise | Pruning | Quantisation | Sign) -> None:
    client = GradientClient(defence=defence)
    assert TypeAdapter(Client).validate_python(json.loads(client.model_dump_json())) == client


def test_a_defence_covers_all_that_is_sent() -> None:
    with pytest.raises(ValidationError, match="nearest: statistics"):
        GradientClient(defence=Sign(), batch_norm="training", statistics="sent")
    with pytest.raises(ValidationError, match="nearest: shared"):
        FederatedAveraging(defence=Sign(), steps=1, shared="parameters")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.31, 0.99])
def test_pruning(seed: int, share: float) -> None:
    values = flat(update(seed))
    for position in sorted(range(60), key=lambda each: abs(values[each]))[: math.floor(Fraction(str(share)) * 60)]:
        values[position] = 0.0
    assert flat(defended(Pruning(share=share), update(seed))) == values


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_quantisation_takes_the_nearest_level(bits: int) -> None:
    values, most = flat(update()), max(map(abs, flat(update())))
    levels = np.linspace(-most, most, 2**bits - 1)
    expected = [min(levels, key=lambda level: abs(level - value)) for value in values]
    assert flat(defended(Quantisation(bits=bits), update())) == pytest.approx(expected, abs=1e-6)


def test_sign() -> None:
    values = flat(update())
    mean = sum(map(abs, values)) / len(values)
    assert flat(defended(Sign(), update())) == pytest.approx([math.copysign(mean, value) for value in values])


def test_noise_is_seeded_and_shrinks_the_cosine_as_expected() -> None:
    given, defence = update(size=200_000), Noise(clip=2.0, multiplier=0.004)
    one, same, other = (torch.tensor(flat(defended(defence, given, name))) for name in "aab")
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    clipped = torch.tensor(flat(given))
    clipped *= 2 / clipped.norm()
    squared = 0.008**2 * 200_000
    assert float((one - clipped).square().sum()) == pytest.approx(squared, rel=0.02)
    cosine = float(torch.cosine_similarity(one, clipped, dim=0))
    assert cosine == pytest.approx(1 / math.sqrt(1 + squared / 4), abs=0.01)


@pytest.mark.parametrize("multiplier", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_delta_is_the_hockey_stick_divergence(epsilon: float, multiplier: float) -> None:
    one, other = stats.norm(0, multiplier), stats.norm(2, multiplier)
    end = 1 - epsilon * multiplier**2 / 2  # where one density is e^ε times the other
    start = end - 40 * multiplier
    points = [start + 40 * multiplier * part for part in (0.5, 0.8, 0.9, 0.95)]
    slow, _ = integrate.quad(lambda x: one.pdf(x) - math.exp(epsilon) * other.pdf(x), start, end, points=points)
    assert delta_of(epsilon, multiplier) == pytest.approx(slow, abs=1e-9)
    assert delta_of(epsilon_of(1e-5, multiplier), multiplier) == pytest.approx(1e-5, rel=1e-3)
