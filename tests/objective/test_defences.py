"""What defences do to the distances that attacks minimise, at the true image: beside closed forms."""

import math

import pytest
import torch
from torch import Tensor

from invgrad.defences.settings import Defence, Noise, Pruning, Quantisation, Sign
from invgrad.defences.updates import defended
from invgrad.objective.distances import distance_of
from invgrad.objective.settings import Cosine, Distance, PrunedCosine, SquaredEuclidean

SIZE = 50_000
GRADIENT = torch.randn(SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64).pow(3)


def at_the_true_image(distance: Distance, defence: Defence, gradient: Tensor = GRADIENT) -> float:
    """The distance of a gradient of two layers from what is shared of it."""
    layers = gradient.split(SIZE // 2)
    target = [each[None] for each in defended(defence, layers, "some seed")]
    ones = torch.ones(1, 2, dtype=torch.float64)
    return float(distance_of(distance)(tuple(each[None] for each in layers), tuple(target), ones, ones))


@pytest.mark.parametrize("multiplier", [1e-3, 1e-2, 1e-1])
def test_noise(multiplier: float) -> None:
    """Of a gradient g that is clipped to the norm C, with noise of standard deviation σ in each of n entries: the noise
    is orthogonal to g but for 1/√n, and its norm is σ√n but for 1/√(2n).
    """
    defence = Noise(clip=2, multiplier=multiplier)
    clipped, spread = 2 * GRADIENT / GRADIENT.norm(), multiplier * 2
    expected = 1 - 2 / math.sqrt(2**2 + SIZE * spread**2)
    assert at_the_true_image(Cosine(), defence) == pytest.approx(expected, abs=3 / math.sqrt(SIZE))
    euclidean = at_the_true_image(SquaredEuclidean(), defence, clipped)
    assert euclidean == pytest.approx(SIZE * spread**2, rel=5 * math.sqrt(2 / SIZE))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_pruning_costs_the_energy_that_is_left_out(share: float) -> None:
    defence = Pruning(share=share)
    energies = sorted(value * value for value in GRADIENT.tolist())
    lost = math.fsum(energies[: round(share * SIZE)])
    kept = 1 - lost / math.fsum(energies)
    assert at_the_true_image(Cosine(), defence) == pytest.approx(1 - math.sqrt(kept), abs=1e-9)
    assert at_the_true_image(SquaredEuclidean(), defence) == pytest.approx(lost, rel=1e-9)
    assert at_the_true_image(PrunedCosine(), defence) == pytest.approx(0, abs=1e-12)


def test_the_sign_keeps_the_ratio_of_two_norms() -> None:
    one, two = math.fsum(map(abs, GRADIENT.tolist())), float(GRADIENT.norm())
    assert at_the_true_image(Cosine(), Sign()) == pytest.approx(1 - one / (math.sqrt(SIZE) * two), abs=1e-9)
    assert at_the_true_image(SquaredEuclidean(), Sign()) == pytest.approx(two**2 - one**2 / SIZE, rel=1e-9)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_fine_quantisation_is_noise_of_a_twelfth_of_a_squared_step(bits: int) -> None:
    """Of entries that are spread evenly over many steps (Bennett 1948)."""
    gradient = torch.rand(SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2 - 1
    step = 2 / (2**bits - 2)
    lost = at_the_true_image(SquaredEuclidean(), Quantisation(bits=bits), gradient)
    assert lost == pytest.approx(SIZE * step**2 / 12, rel=0.05)


def test_without_zeros_the_pruned_cosine_is_the_cosine() -> None:
    assert at_the_true_image(PrunedCosine(), Sign()) == pytest.approx(at_the_true_image(Cosine(), Sign()), abs=1e-12)
