"""What a GPU records, as far as it shows without one; tests/agreement/test_cuda.py has the rest."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.networks.build import build
from invgrad.networks.settings import MLP, ConvNet, LeNetZhu, Network, ResNet
from invgrad.objective.build import objective_for
from invgrad.objective.cuda_graph import repeated
from invgrad.objective.distances import squares
from invgrad.objective.settings import Cosine, Distance, SquaredEuclidean
from invgrad.objective.targets import Targets

aten = torch.ops.aten
WAITING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.lift_fresh, aten.equal}
"""Operations that ask a GPU for a value, or bring it one from the CPU: neither can be recorded."""


class Waiting(TorchDispatchMode):
    """Notes the operations that a GPU could not record."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = function is aten.index.Tensor and any(
            each.dtype == torch.bool for each in args[1] if each is not None
        )
        if function.overloadpacket in WAITING or by_mask:
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("client", [GradientClient(), FederatedAveraging(steps=2)], ids=lambda client: client.kind)
@pytest.mark.parametrize("distance", [Cosine(), SquaredEuclidean()], ids=lambda distance: distance.kind)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
@pytest.mark.parametrize(
    "network",
    [
        LeNetZhu(),
        ConvNet(width=4, padding="circular"),
        ConvNet(width=8),  # wide: its local steps are taken by tangent passes, one trial at a time
        ResNet(depth=20, width=4),
        MLP(widths=(8,)),
    ],
    ids=lambda network: network.name,
)
def test_an_evaluation_can_be_recorded(
    network: Network, soft: bool, distance: Distance, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invgrad.tangent.kernels.library.library", lambda name: None)  # the formulas that a GPU takes
    victim = build(network, classes=5, size=16, seed=0)
    images, labels = torch.rand(3, 2, 3, 16, 16), torch.rand(3, 2, 5) if soft else torch.zeros(3, 2, dtype=torch.long)
    target = tuple(torch.rand(3, *each.shape) for each in victim.parameters())
    ones = torch.ones(3, len(target))
    targets = Targets(target=target, squares=squares(target), weights=ones, chosen=ones)
    objective = objective_for(victim, client, distance, 0.01, images.shape[1:])
    evaluate = repeated(partial(objective.gradient, images, labels, targets), images.device)
    evaluate()
    with Waiting() as waiting:
        evaluate()
    assert waiting.seen == []


def test_waiting_is_noticed() -> None:
    with Waiting() as waiting:
        values = torch.ones(3)
        values[values > 0].sum().item()
    assert waiting.seen == ["aten.index.Tensor", "aten._local_scalar_dense.default"]
