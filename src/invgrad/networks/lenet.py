"""LeNet as changed by Zhu et al. (2019): sigmoids, no pooling, parameters drawn uniformly."""

from torch import nn

from invgrad.networks.settings import LeNetZhu


def lenet_zhu(_: LeNetZhu, *, classes: int, size: int) -> nn.Module:
    """Build the network, with all weights and biases uniform in ±0.5."""
    side = -(-size // 4)
    network = nn.Sequential(
        nn.Conv2d(3, 12, 5, padding=2, stride=2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2, stride=2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2, stride=1),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(12 * side * side, classes),
    )
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return network
