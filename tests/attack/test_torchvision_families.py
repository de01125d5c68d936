"""Torchvision's families of classification networks, by name, the smallest of each."""

import pytest
import torch
from torch import nn

from invgrad.attack.run import reconstruct
from invgrad.attack.settings import SGD, Attack
from invgrad.clients.protocols import sharing
from invgrad.clients.settings import GradientClient
from invgrad.clients.shared import Shared
from invgrad.networks.build import build
from invgrad.networks.copying import copied
from invgrad.networks.settings import Torchvision
from invgrad.objective.reference import objective_gradient
from invgrad.objective.settings import Cosine

SIZES = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_s": 32,
    "googlenet": 32,
    "inception_v3": 80,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 32,
    "swin_v2_t": 32,
    "vgg11": 32,
    "vit_b_32": 32,
    "wide_resnet50_2": 32,
}
"""A small side of images that each takes."""
STEP = Attack(
    iterations=1, optimiser=SGD(step_size=1), total_variation=0, box=False, step_decay=False, precision="float64"
)


@torch.no_grad()
def in_range(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """The network with the batch-norm statistics of some noise and logits of size 1 for these images; without them the
    gradient of an untrained one vanishes.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = 1.0
    network(torch.rand(8, *images.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    network.eval()
    *_, last = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    if not last.weight.any():  # as of an untrained vision transformer
        nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(2))
    size = network(images).abs().max()
    for parameter in last.parameters():
        parameter /= size
    return network


@pytest.mark.night
@pytest.mark.parametrize("model", SIZES)
def test_a_step_is_that_of_the_double_backward(model: str) -> None:
    shape = (3, SIZES[model], SIZES[model])
    image, start = torch.rand(2, 1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = build(Torchvision(model=model), classes=10, size=SIZES[model], seed=0).double()
    network = in_range(network, torch.cat([image, start]))
    label, client = torch.tensor([3]), GradientClient()
    target, _ = sharing(client, network)(image, label)
    _, slope = objective_gradient(copied(network), start, label, target, Cosine(), 0)
    largest = slope.abs().max().item()
    shared = Shared.by_one_client(target, shape=shape, labels=label)
    attack = STEP.with_(optimiser=SGD(step_size=1 / largest))
    found = reconstruct(network, client, shared, attack, seed_key="families", start=start[None, None]).images[0]
    torch.testing.assert_close(found - start, -1.9 * slope / largest, rtol=1e-6, atol=1e-7)
