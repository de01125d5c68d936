"""The classification networks of torchvision, untrained or with published weights."""

import re
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import torch
from torch import nn

from invgrad.networks.catalogue import WITH_AUXILIARY_HEADS
from invgrad.networks.settings import Torchvision
from invgrad.settings import SettingsError, one_line

FORMER_NAME = re.compile(r"(\.denselayer\d+\.[a-z]+)\.(?=\d\.)")
"""Names of tensors in the published DenseNets: `denselayer1.norm.1.weight` for `denselayer1.norm1.weight`."""


def of_torchvision(settings: Torchvision, *, classes: int, size: int) -> nn.Module:
    """Build the network with torchvision's initialisation; vision transformers are built for images of this `size`.

    Raises `SettingsError` if the published weights are for another number of classes.
    """
    if settings.weights is not None and (published := len(_entry(settings).meta["categories"])) != classes:
        raise SettingsError(f"{settings!r}: the weights are for {published} classes, the data has {classes}")
    try:
        network: nn.Module = _models().get_model(settings.model, num_classes=classes, **_arguments(settings, size))
    except (AssertionError, ValueError) as error:
        raise SettingsError(f"{settings!r}: takes no {size}×{size} images: {one_line(error)}") from error
    return network


def load_published(settings: Torchvision, network: nn.Module) -> None:
    """Replace the parameters by the published ones, if the settings name some.

    Raises `SettingsError` if these are neither cached nor reachable, or do not fit.
    """
    if settings.weights is None:
        return
    entry = _entry(settings)
    try:
        state = entry.get_state_dict(progress=False, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        place = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
        reason = f"cannot read {entry.url} ({one_line(error)}); put that file at {place}"
        raise SettingsError(f"{settings!r}: {reason}") from error
    for name in list(state):
        state[FORMER_NAME.sub(r"\1", name)] = state.pop(name)
    if settings.model in WITH_AUXILIARY_HEADS:
        state = {name: tensor for name, tensor in state.items() if not name.lower().startswith("aux")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise SettingsError(f"{settings!r}: the published weights do not fit: {one_line(error)}") from error


def _entry(settings: Torchvision) -> Any:
    return _models().get_model_weights(settings.model)[settings.weights]


def _arguments(settings: Torchvision, size: int) -> dict[str, Any]:
    """Return what the builder of this model takes besides the number of classes."""
    if settings.model.startswith("vit_"):
        return {"image_size": size}
    if settings.model.startswith("maxvit_"):
        return {"input_size": (size, size)}
    if settings.model in WITH_AUXILIARY_HEADS:  # whose published weights take images of another normalisation
        return {"aux_logits": False, "init_weights": True, "transform_input": settings.weights is not None}
    return {}


def _models() -> ModuleType:
    # imported here because it takes seconds, which every job would pay
    from torchvision import models

    return models  # type: ignore[no-any-return]
