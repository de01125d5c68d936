"""Reading the golden cases: networks with their parameters loaded by position."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invgrad.networks.build import build
from invgrad.networks.settings import ConvNet, LeNetZhu, Network, ResNet

FOLDER = Path(__file__).parent / "golden"

NETWORKS: dict[str, Network] = {
    "LeNetZhu": LeNetZhu(),
    "ConvNet-width8": ConvNet(width=8),
    "ResNet18-width8": ResNet(depth=18, width=8),
    "ResNet20-width8": ResNet(depth=20, width=8),
    "ResNet50-width4": ResNet(depth=50, width=4),
}


def read(case: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    settings = json.loads((FOLDER / f"{case}.json").read_text())
    path = FOLDER / f"{case}.npz"
    if not path.exists():
        return settings, {}
    with np.load(path) as arrays:
        return settings, {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def cases(prefix: str) -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.json"))


def load_network(name: str) -> nn.Module:
    _, arrays = read(f"network_{name}")
    network = build(NETWORKS[name], classes=10, size=32, seed=0).double()
    floating = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            parameter.copy_(arrays[f"param{index:03d}"])
        for index, buffer in enumerate(floating):
            buffer.copy_(arrays[f"buffer{index:03d}"])
    assert f"param{len(list(network.parameters())):03d}" not in arrays
    assert f"buffer{len(floating):03d}" not in arrays
    return network
