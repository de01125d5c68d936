"""Classification networks of torchvision and their published weights, by name. Imports no torch."""

from importlib.metadata import version

from pydantic import TypeAdapter

from invgrad.networks.cache import kept

Catalogue = dict[str, dict[str, str]]
"""Names of each model's published weights, each with the entry that it stands for (`DEFAULT` for another one)."""

WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Models that are built without these heads, which take part in training only."""


def catalogue() -> Catalogue:
    """List the models; torchvision itself is asked once."""
    return kept("torchvision", {"torchvision": version("torchvision")}, "classifiers", TypeAdapter(Catalogue), _asked)


def _asked() -> Catalogue:
    # imported here because it takes seconds, which every job would pay
    from torchvision import models

    found = {}
    for model in models.list_models(module=models):
        entries = models.get_model_weights(model).__members__
        found[model] = {name: str(entry.name) for name, entry in entries.items() if entry.meta["categories"]}
    return found
