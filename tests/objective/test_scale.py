"""The cosine does not depend on the scale of a gradient, in single precision either; other distances do."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from examples import shared_by
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import Attack
from invgrad.clients.settings import GradientClient
from invgrad.networks.build import build
from invgrad.networks.settings import LeNetZhu
from invgrad.objective.autodiff import Objective
from invgrad.objective.build import _matching, objective_for
from invgrad.objective.by_tangents import TangentObjective
from invgrad.objective.compiled import CompiledObjective
from invgrad.objective.distances import squares
from invgrad.objective.settings import L1, Cosine, Distance, LayerwiseCosine, SquaredEuclidean
from invgrad.objective.targets import Targets
from invgrad.tangent.scale import at_unit_scale

NETWORK = build(LeNetZhu(), classes=10, size=32, seed=3)
SHARED = shared_by(NETWORK.double(), 2)
NETWORK.float()


def attacked(factor: float, distance: Distance, dtype: torch.dtype = torch.float32) -> Reconstruction:
    """Attack in single precision, where gradients of this precision are multiplied by `factor`."""
    shared = replace(SHARED, tensors=tuple(tensor.to(dtype) * factor for tensor in SHARED.tensors))
    return reconstruct(NETWORK, GradientClient(), shared, Attack(iterations=4, distance=distance), seed_key="k")


@pytest.mark.parametrize("distance", [Cosine(), LayerwiseCosine()])
@given(exponent=st.integers(-60, 96), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=5, deadline=None)
def test_a_power_of_two_changes_no_bit(distance: Distance, exponent: int, dtype: torch.dtype) -> None:
    exponent = 4 * exponent if dtype == torch.float64 else exponent
    plain, scaled = attacked(1, distance), attacked(2.0**exponent, distance, dtype)
    if dtype == torch.float64:
        plain = attacked(1, distance, dtype)
    assert torch.equal(scaled.images, plain.images)
    assert torch.equal(scaled.matching_cost, plain.matching_cost)


@pytest.mark.parametrize("distance", [Cosine(), LayerwiseCosine()])
@pytest.mark.parametrize("factor", [1e-30, 1e-22, 1e-10, 1e10, 1e20, 1e30])
def test_any_factor_changes_the_cost_by_rounding_only(distance: Distance, factor: float) -> None:
    norm = torch.cat([tensor.flatten(1) for tensor in SHARED.tensors], 1).norm(dim=1).max().item()
    plain, scaled = attacked(1, distance), attacked(factor / norm, distance)
    torch.testing.assert_close(scaled.matching_cost, plain.matching_cost, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distance", [SquaredEuclidean(), L1()])
def test_other_distances_depend_on_the_scale(distance: Distance) -> None:
    assert not torch.equal(attacked(2.0, distance).matching_cost, attacked(1.0, distance).matching_cost)


@given(
    entries=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=6),
    others=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=2),
)
def test_the_largest_entry_of_each_trial_at_unit_scale_is_between_half_and_one(
    entries: list[float], others: list[float]
) -> None:
    gradient = torch.tensor([entries, [0.0] * len(entries)]), torch.tensor([others, [0.0, 0.0]])
    scaled = at_unit_scale(gradient)
    largest = torch.cat(scaled, 1).abs().amax(1)
    assert largest[1] == 0
    if any(entries) or any(others):
        size = max(map(abs, entries + others))
        assert 0.5 <= largest[0] < 1 or size < torch.finfo(torch.float32).tiny
        before = torch.cat(gradient, 1)[0].double()
        ratios = torch.cat(scaled, 1)[0].double() / before
        large = before.abs() > 1e-30 * size
        assert torch.equal(ratios[large], ratios[large][:1].expand(int(large.sum())))
        assert torch.frexp(ratios[large]).mantissa.eq(0.5).all()


@pytest.mark.parametrize("distance", [Cosine(), LayerwiseCosine()])
@pytest.mark.parametrize("way", [CompiledObjective, TangentObjective, Objective])
def test_a_gradient_whose_square_underflows_is_matched(distance: Distance, way: type) -> None:
    """A network that is sure of the class: both the shared gradient and that of the candidates are tiny."""
    generator = torch.Generator().manual_seed(1)
    images, noise = torch.randn(2, 1, 1, 3, 32, 32, generator=generator)
    candidates, network = images + 0.1 * noise, build(LeNetZhu(), classes=10, size=32, seed=3)
    with torch.no_grad():
        best = network(images[0])[0].sort().values
        for parameter in network[-1].parameters():
            parameter *= 60 / (best[-1] - best[-2])
        labels = network(images[0]).argmax(1)[None]

    def gradient_at(each: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.cross_entropy(network(each[0]), labels[0]), list(network.parameters()))

    target, simulated = (gradient_at(each) for each in (images, candidates))
    assert 0 < torch.cat([each.flatten() for each in simulated]).abs().max() < 1e-20
    observed = at_unit_scale([each[None] for each in target])
    ones = torch.ones(1, len(target))
    targets = Targets(target=observed, squares=squares(observed), weights=ones, chosen=ones)
    whole = (network, GradientClient(), distance)
    objective: Objective | TangentObjective | CompiledObjective = Objective(*whole, 0)
    if way is TangentObjective and (matching := _matching(*whole, (1, 3, 32, 32), together=True)):
        objective = TangentObjective(matching, 0, None)
    elif way is CompiledObjective:
        objective = objective_for(*whole, 0, (1, 3, 32, 32))
    assert type(objective) is way
    found = objective.gradient(candidates, labels, objective.prepared(targets))
    pairs = [(one.double().flatten(), other.double().flatten()) for one, other in zip(simulated, target, strict=True)]
    if distance.kind == "cosine":
        pairs = [tuple(torch.cat(each) for each in zip(*pairs, strict=True))]
    expected = sum(1 - one @ other / (one.norm() * other.norm()) for one, other in pairs)
    assert found.matching.item() == pytest.approx(float(expected), rel=1e-3)
    smaller = objective.gradient(
        candidates - 0.05 * found.image_gradient / found.image_gradient.norm(), labels, targets
    )
    assert smaller.matching.item() < found.matching.item()
