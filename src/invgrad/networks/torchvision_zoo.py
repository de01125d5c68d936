"""The classification networks of torchvision, untrained or with published weights."""

import re
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, Literal

import torch
from pydantic import ValidationInfo, field_validator
from torch import nn

from invgrad.networks.base import NetworkSettings, one_line
from invgrad.settings import SettingsError, unknown

WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")

FORMER_NAME = re.compile(r"(\.denselayer\d+\.[a-z]+)\.(?=\d\.)")
"""Of the tensors in the published DenseNets: `denselayer1.norm.1.weight` for `denselayer1.norm1.weight`."""


class Torchvision(NetworkSettings):
    """A network of torchvision by its name there, e.g. `resnet18` with `weights: IMAGENET1K_V1`.

    `weights` names a published entry; they are downloaded to torch's cache when the victim is made, without executing
    code. `DEFAULT` becomes the name of the entry that it stands for.
    """

    name: Literal["torchvision"] = "torchvision"
    model: str
    weights: str | None = None

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        models = _models()
        known = models.list_models(module=models, exclude=WITH_AUXILIARY_HEADS)
        if model in WITH_AUXILIARY_HEADS:
            raise ValueError(f"'{model}' has auxiliary heads, whose parameters have no gradient in evaluation mode")
        if model not in known:
            raise ValueError(unknown("model", model, known))
        return model

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: str | None, info: ValidationInfo) -> str | None:
        if weights is None or "model" not in info.data:
            return weights
        entries = _models().get_model_weights(info.data["model"]).__members__
        known = {name: entry for name, entry in entries.items() if entry.meta["categories"]}
        if weights not in known:
            raise ValueError(unknown("weights", weights, known))
        return str(known[weights].name)

    @property
    def title(self) -> str:
        """Its name there, and whether it has published weights."""
        name = f"ResNet-{self.model[6:]}" if re.fullmatch(r"resnet\d+", self.model) else self.model
        return f"{name} of torchvision, {'published weights' if self.weights else 'untrained'}"

    def build(self, *, classes: int, size: int) -> nn.Module:
        """torchvision's initialisation; vision transformers are built for images of this `size`.

        Raises `SettingsError` if the published weights are for another number of classes.
        """
        if self.weights is not None and (published := len(self._entry.meta["categories"])) != classes:
            raise SettingsError(f"{self!r}: the weights are for {published} classes, the data has {classes}")
        try:
            network: nn.Module = _models().get_model(self.model, num_classes=classes, **self._sizes(size))
        except (AssertionError, ValueError) as error:
            raise SettingsError(f"{self!r}: takes no {size}×{size} images: {one_line(error)}") from error
        return network

    def load_published(self, network: nn.Module) -> None:
        """Replace the parameters by the published ones; `SettingsError` if these are neither cached nor reachable."""
        if self.weights is None:
            return
        url = self._entry.url
        try:
            state = self._entry.get_state_dict(progress=False, map_location="cpu", check_hash=True, weights_only=True)
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            place = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
            raise SettingsError(f"{self!r}: cannot read {url} ({one_line(error)}); put that file at {place}") from error
        for name in list(state):
            state[FORMER_NAME.sub(r"\1", name)] = state.pop(name)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise SettingsError(f"{self!r}: the published weights do not fit: {one_line(error)}") from error

    @property
    def _entry(self) -> Any:
        return _models().get_model_weights(self.model)[self.weights]

    def _sizes(self, size: int) -> dict[str, Any]:
        """What the builders of networks for one image size call it."""
        if self.model.startswith("vit_"):
            return {"image_size": size}
        return {"input_size": (size, size)} if self.model.startswith("maxvit_") else {}


def _models() -> ModuleType:
    # imported here because it takes seconds, which every job would pay
    from torchvision import models

    return models  # type: ignore[no-any-return]
