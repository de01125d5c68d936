"""Blind check of the rule of an audit: 100 reconstructions from noise to exact, judged by the features of a network.

The rule compares pixels. The check asks two trained networks, of which the rule knows nothing, whether the original is
the one of 1,001 images whose features are nearest to those of the reconstruction.

    python docs/recovery.py FOLDER    # the folder of data sets, with CIFAR-10; five minutes on a core

It writes docs/recovery.csv, from which docs/refresh.py makes the table of docs/audit.md.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

from invgrad.attack.run import reconstruct
from invgrad.attack.settings import Attack
from invgrad.clients.settings import GradientClient
from invgrad.clients.sharing import shared_by
from invgrad.data.images import denormalise, standardise, to_unit
from invgrad.data.registry import describe
from invgrad.data.samples import MOST_OTHERS
from invgrad.data.sources import load
from invgrad.defences.settings import Noise
from invgrad.metrics.recovery import judge
from invgrad.networks.build import build
from invgrad.networks.checkpoint import load_victim
from invgrad.networks.settings import EfficientNetLite
from invgrad.seeds import generator

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs/recovery.csv"
VICTIMS = ROOT / "data/victims"
SEED, EACH = 21, 20
"""Seed of all draws, and number of reconstructions of each kind, each of an image of its own."""

Features = Callable[[Tensor], Tensor]
"""Function of images [n, 3, 32, 32] in [0, 1] that gives what a network makes of them, [n, features]."""


def reconstructions(images: Tensor, labels: Tensor, strangers: Tensor) -> pd.DataFrame:
    """Make `EACH` reconstructions of each kind, in the order of `images` [100, 3, 32, 32]: kind, strength, image.

    `strangers` are as many other images, with which the third kind mixes them. Images are uint8; reconstructions are
    in [0, 1].
    """
    kinds: dict[str, tuple[list[float], Callable[[Tensor, Tensor, Tensor, float], Tensor]]] = {
        "noise": (_levels(0.01, 2), _noisy),
        "blur": (_levels(0.3, 8), _blurred),
        "mixture with another image": (np.linspace(0, 1, EACH).tolist(), _mixed),
        "attack after so many iterations": (_levels(1, 4800), _attacked_for),
        "attack on a gradient with noise": (_levels(1e-4, 0.1), _attacked_through),
    }
    order = iter(range(len(images)))
    rows = [
        {"kind": kind, "strength": strength, "image": make(images[row], labels[row], strangers[row], strength)}
        for kind, (strengths, make) in kinds.items()
        for strength, row in zip(strengths, order, strict=False)
    ]
    return pd.DataFrame(rows)


def _levels(least: float, most: float) -> list[float]:
    levels: list[float] = np.geomspace(least, most, EACH).tolist()
    return levels


def _unit(image: Tensor) -> Tensor:
    return to_unit(image, torch.float32, "cpu")


def _noisy(image: Tensor, _: Tensor, __: Tensor, strength: float) -> Tensor:
    noise = torch.randn(image.shape, generator=generator("check", SEED, strength))
    return (_unit(image) + strength * noise).clamp(0, 1)


def _blurred(image: Tensor, _: Tensor, __: Tensor, strength: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(_unit(image).numpy(), (0, strength, strength)))


def _mixed(image: Tensor, _: Tensor, stranger: Tensor, strength: float) -> Tensor:
    return (1 - strength) * _unit(image) + strength * _unit(stranger)


def _attacked_for(image: Tensor, label: Tensor, _: Tensor, strength: float) -> Tensor:
    return _attacked(image, label, GradientClient(), Attack(iterations=round(strength)))


def _attacked_through(image: Tensor, label: Tensor, _: Tensor, strength: float) -> Tensor:
    noise = Noise(clip=1, multiplier=strength)
    return _attacked(image, label, GradientClient(defence=noise), Attack(iterations=1000))


def _attacked(image: Tensor, label: Tensor, client: GradientClient, attack: Attack) -> Tensor:
    network, about = load_victim(VICTIMS / "lenet-trained/seed0.safetensors", torch.device("cpu"))
    shared = shared_by(
        client,
        network,
        image[None, None],
        label[None, None],
        mean=about.mean,
        std=about.std,
        labels_known=True,
        seeds=[("check", SEED)],
    )
    found = reconstruct(network, client, shared, attack, seed_key=f"check/{SEED}").images[0, 0]
    return denormalise(found, about.mean, about.std).clamp(0, 1)


def features_of_imagenet() -> Features:
    """Return the features of EfficientNet-Lite0 with published weights, of images enlarged to 224 pixels."""
    network = build(EfficientNetLite(weights="packaged"), classes=1000, size=224, seed=0)
    statistics = describe("imagenet").statistics
    assert statistics
    last = _last_inputs(network)
    return lambda images: last(standardise(interpolate(images, 224, mode="bilinear"), statistics.mean, statistics.std))


def features_of_cifar() -> Features:
    """Return the features of the packaged ResNet-20 that was trained on CIFAR-10."""
    network, about = load_victim(VICTIMS / "resnet20-4-trained/seed0.safetensors", torch.device("cpu"))
    last = _last_inputs(network)
    return lambda images: last(standardise(images, about.mean, about.std))


def _last_inputs(network: nn.Module) -> Features:
    """Return the function that computes the input of the network's last fully connected layer."""
    seen: list[Tensor] = []
    layer = [each for each in network.modules() if isinstance(each, nn.Linear)][-1]
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        for part in images.split(50):
            network.eval()(part)
        found = torch.cat(seen)
        seen.clear()
        return found

    return features


def retrieved(features: Features, found: Tensor, originals: Tensor, others: Tensor) -> list[bool]:
    """Tell for each reconstruction if its features are nearer to its original's than to any of the others'."""
    ours, true, theirs = features(found), features(originals), features(others)
    nearest = cosine_similarity(ours[:, None], theirs[None], dim=2).amax(1)
    hits: list[bool] = (cosine_similarity(ours, true) > nearest).tolist()
    return hits


def check(root: Path) -> pd.DataFrame:
    """Judge the 100 reconstructions by the rule and by both networks, each with `MOST_OTHERS` images of its own."""
    split = load("cifar10", "validation", "folder", root)
    parts = torch.randperm(len(split.images), generator=generator("check", SEED)).split(
        [100, 100, MOST_OTHERS, MOST_OTHERS, len(split.images) - 200 - 2 * MOST_OTHERS]
    )
    own, strangers, rules, networks, _ = (split.images[part] for part in parts)
    made = reconstructions(own, split.labels[parts[0]], strangers)
    found = torch.stack(made.pop("image").tolist())
    judged = judge(found, _unit(own), _unit(rules))[["recovery", "psnr", "ssim", "correlation"]]
    return made.join(judged).assign(
        imagenet=retrieved(features_of_imagenet(), found, _unit(own), _unit(networks)),
        cifar=retrieved(features_of_cifar(), found, _unit(own), _unit(networks)),
    )


if __name__ == "__main__":
    check(Path(sys.argv[1])).round(4).to_csv(TABLE, index=False)
